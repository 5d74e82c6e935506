"""A membrane between values that are known: Laplace's equation, coarse to fine.

Shapes: H x W pixels, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.shape import compiled

#: Rounds of smoothing at each scale, and the smallest scale.
MEMBRANE_ROUNDS, COARSEST = 60, 8


def membrane(values_CHW: Tensor, known_HW: Tensor) -> Tensor:
    """Values where they are known, and between them a surface that is flat as can be (each the mean of its neighbours).

    Coarse to fine, with some rounds of smoothing at each scale.
    """
    height, width = known_HW.shape
    weight = known_HW.to(values_CHW)[None]
    if bool(known_HW.all()):
        return values_CHW
    if min(height, width) > COARSEST:
        share = F.avg_pool2d(weight, 2, ceil_mode=True)
        small = F.avg_pool2d(values_CHW * weight, 2, ceil_mode=True) / share.clamp_min(1e-6)
        rough = membrane(small * (share > 0), share[0] > 0)
        filled = F.interpolate(rough[None], (height, width), mode="bilinear", align_corners=False)[0]
    else:
        mean = (values_CHW * weight).sum((1, 2)) / weight.sum().clamp_min(1)
        filled = mean[:, None, None].expand_as(values_CHW)
    return relaxed(torch.where(known_HW, values_CHW, filled), known_HW, MEMBRANE_ROUNDS)


def relaxed(values_CHW: Tensor, known_HW: Tensor, rounds: int, *, by_numba: bool | None = None) -> Tensor:
    """So many times, each value that is not known becomes the mean of its neighbours.

    ``by_numba``: whether compiled loops do it, of float32 on the CPU and without gradients; None: where numba is
    installed. The bits are the same.
    """
    plain = values_CHW.device.type == "cpu" and values_CHW.dtype == torch.float32 and not values_CHW.requires_grad
    if compiled.is_there() and plain if by_numba is None else by_numba:
        return torch.from_numpy(compiled.relax(values_CHW.numpy(), known_HW.numpy(), rounds))
    for _ in range(rounds):
        around = F.pad(values_CHW[None], [1] * 4, mode="replicate")[0]
        mean = around[:, 1:-1, :-2] + around[:, 1:-1, 2:]
        mean = mean.add_(around[:, :-2, 1:-1]).add_(around[:, 2:, 1:-1]).mul_(0.25)  # the same sums, in place
        values_CHW = torch.where(known_HW, values_CHW, mean)
    return values_CHW
