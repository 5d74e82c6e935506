"""Depth from RGB in one step at the last timestep, as a plain function that can be trained through.

There a network sees nothing of the depth half but noise, so its answer is an estimate of the mean and the noise is a
nuisance. Fine-tuned end to end for that one step, it may as well start from a fixed input (E2E-FT, arXiv 2409.11355).

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Network, Pair
from jdap.diffusion.timesteps import GIVEN_TIMESTEP

#: What the depth half may start from: the mean of the noise, or noise.
ZEROS, NOISE = "zeros", "noise"
DEPTH_STARTS = (ZEROS, NOISE)


def depth_start(kind: str, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The start of the depth half for latents ``like`` (B, C, h, w): zeros, or noise drawn on the generator's device.

    Raises ValueError for a kind that is not one of :data:`DEPTH_STARTS`.
    """
    if kind == ZEROS:
        return torch.zeros_like(like)
    if kind != NOISE:
        raise ValueError(f"the depth half starts from {' or '.join(DEPTH_STARTS)}, not from {kind!r}")
    device = generator.device if generator is not None else like.device
    return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def one_step_depth(denoiser: JointDenoiser, network: Network, rgb_BChw: Tensor, start_BChw: Tensor) -> Tensor:
    """Clean RGB latents → depth latents, predicted at the last timestep from ``start``. Differentiable.

    With noise it equals :func:`jdap.diffusion.samplers.ddim` of one step with the RGB half known.
    """
    noisy = Pair(rgb_BChw, start_BChw)
    last = denoiser.schedule.timesteps - 1
    t = Pair(*(torch.full((len(rgb_BChw),), tt, device=rgb_BChw.device) for tt in (GIVEN_TIMESTEP, last)))
    return denoiser.clean(noisy, Pair(*network(*noisy, *t)), t).depth
