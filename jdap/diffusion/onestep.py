"""Depth from RGB in one step at the last timestep, as a plain function that can be trained through.

There a network sees nothing of the depth half but noise, so its answer is an estimate of the mean and the noise is a
nuisance. Fine-tuned end to end for that one step, it may as well start from a fixed input (E2E-FT, arXiv 2409.11355);
or, at a timestep at which the half is mostly signal, from depth that is roughly known: a head fitted to the picture.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Network, Pair
from jdap.diffusion.schedule import NoiseSchedule
from jdap.diffusion.timesteps import GIVEN_TIMESTEP

#: What the depth half may start from: the mean of the noise, noise, or the latents of a fitted head.
ZEROS, NOISE, HEAD_START = "zeros", "noise", "head"
DEPTH_STARTS = (ZEROS, NOISE, HEAD_START)
#: The timestep at which a fitted head stands, as a share of the schedule's (docs/fitted_depth.md says what else was
#: tried).
HEAD_AT = 0.4


def depth_start(kind: str, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The start of the depth half: zeros, noise drawn on the generator's device, or the latents themselves.

    ``like`` (B, C, h, w) are latents of pictures, or for ``head`` those of a fitted head's depth. Raises ValueError for
    a kind that is not one of :data:`DEPTH_STARTS`.
    """
    if kind == HEAD_START:
        return like
    if kind == ZEROS:
        return torch.zeros_like(like)
    if kind != NOISE:
        raise ValueError(f"the depth half starts from {', '.join(DEPTH_STARTS)}, not from {kind!r}")
    device = generator.device if generator is not None else like.device
    return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def start_timestep(schedule: NoiseSchedule, kind: str) -> int:
    """The timestep at which a start of this kind stands."""
    last = schedule.timesteps - 1
    return round(HEAD_AT * last) if kind == HEAD_START else last


def one_step_depth(
    denoiser: JointDenoiser, network: Network, rgb_BChw: Tensor, start_BChw: Tensor, kind: str = ZEROS
) -> Tensor:
    """Clean RGB latents → depth latents, predicted in one step from a start of this kind. Differentiable.

    Zeros and noise stand at the last timestep: with noise it equals :func:`jdap.diffusion.samplers.ddim` of one step
    with the RGB half known. A fitted head stands at :data:`HEAD_AT`, as strong as a signal is there, without noise.
    """
    at = start_timestep(denoiser.schedule, kind)
    t = Pair(*(torch.full((len(rgb_BChw),), tt, device=rgb_BChw.device) for tt in (GIVEN_TIMESTEP, at)))
    if kind == HEAD_START:
        start_BChw = denoiser.schedule.signal_noise(t.depth, start_BChw)[0] * start_BChw
    noisy = Pair(rgb_BChw, start_BChw)
    return denoiser.clean(noisy, Pair(*network(*noisy, *t)), t).depth
