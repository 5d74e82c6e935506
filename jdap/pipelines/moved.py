"""References that were moved to where their heads are drawn, and how sampling looks at them.

Shapes: B pictures, C latent channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Network, Pair
from jdap.models.image.likeness_net import SEEN_CHANNELS, LikenessNet
from jdap.pipelines.pictures import check_pictures

#: What lies beyond is settled: where noise is less, the UNet sees the picture itself. Under the first, all is noise.
LOG_SNR_LED = (-5.0, 2.5)


class MovedReferences(NamedTuple):
    """* ``rgb`` (B, 3, S, S) in [-1, 1]: references with their heads where those of the portraits are
    * ``seen`` (B, 2, S, S) in [0, 1]: what of a pixel is of the face, and what of that the reference shows; all 0 where
      no head was found, in the reference or in the portrait
    """

    rgb: Tensor
    seen: Tensor

    @property
    def found(self) -> Tensor:
        """(B,) bool: which have a head."""
        return self.seen.flatten(1).amax(1) > 0


#: Drawn pictures (B, 3, S, S), or None where there is none yet, and their depth (B, 1, S, S) → the references, moved.
MoveReference = Callable[[Tensor | None, Tensor], MovedReferences]


class MovedLatents(NamedTuple):
    """The same as the network sees it: ``moved`` and the portraits' ``depth`` (B, C, h, w), ``seen`` (B, 2, h, w)."""

    moved: Tensor
    seen: Tensor
    depth: Tensor


def check_moved(moved: MovedReferences, count: int, size_px: int) -> None:
    """Raises ValueError where it is not of so many portraits of this size."""
    wanted = {"rgb": (count, 3, size_px, size_px), "seen": (count, SEEN_CHANNELS, size_px, size_px)}
    for name, shape in wanted.items():
        if tuple(getattr(moved, name).shape) != shape:
            raise ValueError(f"a moved reference's {name} must be {shape}, got {tuple(getattr(moved, name).shape)}")
    check_pictures(moved.rgb, "moved references")


def cells_of(seen_B2SS: Tensor, factor: int) -> Tensor:
    """What is seen of each latent cell: (B, 2, S, S) → (B, 2, S / factor, S / factor)."""
    return F.avg_pool2d(seen_B2SS, factor)


def likened(network: Network, net: LikenessNet, denoiser: JointDenoiser, at: MovedLatents) -> Network:
    """A network whose RGB is bettered by moved references, at all noise within :data:`LOG_SNR_LED`.

    With x the clean RGB that follows from its v, and x' what ``net`` makes of it, v' = (a z − x') / s. Pictures
    without a moved reference, and depth, are the network's own.
    """
    low, high = LOG_SNR_LED
    here = (at.seen.flatten(1).amax(1) > 0)[:, None, None, None]

    def bettered(z_rgb: Tensor, z_depth: Tensor, t_rgb: Tensor, t_depth: Tensor) -> tuple[Tensor, Tensor]:
        v = Pair(*network(z_rgb, z_depth, t_rgb, t_depth))
        log_snr = denoiser.schedule.snr(t_rgb).log()
        clean = denoiser.clean(Pair(z_rgb, z_depth), v, Pair(t_rgb, t_depth)).rgb
        better = net(z_rgb, clean, at.moved, at.seen, at.depth, log_snr.clamp_min(low))
        signal, noise = denoiser.schedule.signal_noise(t_rgb, z_rgb)
        led = here & (log_snr <= high)[:, None, None, None]
        return torch.where(led, (signal * z_rgb - better) / noise, v.rgb), v.depth

    return bettered
