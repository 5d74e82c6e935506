"""Depth from RGB in one step at the last timestep, as a plain function that can be trained through.

There a network sees nothing of the depth half but noise, so its answer is an estimate of the mean and the noise is a
nuisance. Fine-tuned end to end for that one step, it may as well start from a fixed input (E2E-FT, arXiv 2409.11355).
At a timestep at which the half is mostly signal, a step starts from depth that is roughly known: a head fitted to the
picture, which it betters.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Network, Pair
from jdap.diffusion.schedule import NoiseSchedule
from jdap.diffusion.timesteps import GIVEN_TIMESTEP

#: What the depth half may start from where nothing is known of it: the mean of the noise, or noise.
ZEROS, NOISE = "zeros", "noise"
DEPTH_STARTS = (ZEROS, NOISE)
#: The timestep at which a fitted head stands, as a share of the schedule's (docs/fitted_depth.md says what else was
#: tried).
HEAD_AT = 0.4


def depth_start(kind: str, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The start of the depth half like latents ``like`` (B, C, h, w): zeros, or noise drawn on the generator's device.

    Raises ValueError for a kind that is not one of :data:`DEPTH_STARTS`.
    """
    if kind == ZEROS:
        return torch.zeros_like(like)
    if kind != NOISE:
        raise ValueError(f"the depth half starts from {', '.join(DEPTH_STARTS)}, not from {kind!r}")
    device = generator.device if generator is not None else like.device
    return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def one_step_depth(denoiser: JointDenoiser, network: Network, rgb_BChw: Tensor, start_BChw: Tensor) -> Tensor:
    """Clean RGB latents → depth latents, predicted in one step from the last timestep. Differentiable.

    With noise as the start it equals :func:`jdap.diffusion.samplers.ddim` of one step with the RGB half known.
    """
    return _depth_from(denoiser, network, rgb_BChw, start_BChw, denoiser.schedule.timesteps - 1)


def head_timestep(schedule: NoiseSchedule) -> int:
    """The timestep at which a fitted head stands."""
    return round(HEAD_AT * (schedule.timesteps - 1))


def from_head(denoiser: JointDenoiser, network: Network, rgb_BChw: Tensor, head_BChw: Tensor) -> Tensor:
    """Clean RGB latents and those of a fitted head's depth → depth latents, predicted in one step. Differentiable.

    The head stands at :func:`head_timestep`, as strong as a signal is there, without noise.
    """
    at = head_timestep(denoiser.schedule)
    t = torch.full((len(rgb_BChw),), at, device=rgb_BChw.device)
    start = denoiser.schedule.signal_noise(t, head_BChw)[0] * head_BChw
    return _depth_from(denoiser, network, rgb_BChw, start, at)


def _depth_from(denoiser: JointDenoiser, network: Network, rgb_BChw: Tensor, start_BChw: Tensor, at: int) -> Tensor:
    t = Pair(*(torch.full((len(rgb_BChw),), tt, device=rgb_BChw.device) for tt in (GIVEN_TIMESTEP, at)))
    noisy = Pair(rgb_BChw, start_BChw)
    return denoiser.clean(noisy, Pair(*network(*noisy, *t)), t).depth
