"""Samplers: plain functions over (denoiser, network, known halves, steps)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Network, Pair
from jdap.diffusion.timesteps import KNOWN


@torch.no_grad()
def ddim(
    denoiser: JointDenoiser,
    network: Network,
    noise: Pair,
    *,
    known_rgb: Tensor | None = None,
    known_depth: Tensor | None = None,
    steps: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Pair:
    """Deterministic DDIM (arXiv 2010.02502) from ``noise`` (B, C, h, w) per half to clean latents.

    A known half is given as clean latents: it stays as it is, at timestep 0, while the other is drawn. One step
    predicts the clean half at the last timestep, where the network sees nothing but noise in its place.

    Args:
        denoiser: the schedule and its algebra.
        network: the v-prediction.
        noise: where each drawn half starts; the noise of a known half is not looked at.
        known_rgb, known_depth: clean latents of a half that is given.
        steps: 1 … T.
        on_step: called with (steps done, steps) after each.

    Returns:
        The clean latents of both halves.
    """
    known = Pair(known_rgb, known_depth)  # type: ignore[arg-type]
    z = Pair(*(n if k is None else k for n, k in zip(noise, known, strict=True)))
    times = denoiser.schedule.spaced(steps)
    batch = len(noise.rgb)

    def timesteps(t: int) -> Pair:
        return Pair(
            *(torch.full((batch,), t if k is None else KNOWN, device=z.rgb.device, dtype=torch.long) for k in known)
        )

    for i, time in enumerate(times):
        t = timesteps(time)
        v = Pair(*network(*z, *t))
        clean = denoiser.clean(z, v, t)
        if i + 1 < steps:
            drawn = denoiser.add_noise(clean, denoiser.noise(z, v, t), timesteps(times[i + 1]))
        else:
            drawn = clean
        z = Pair(*(d if k is None else k for d, k in zip(drawn, known, strict=True)))
        if on_step is not None:
            on_step(i + 1, steps)
    return z


def guided(with_reference: Network, without_reference: Network, scale: float) -> Network:
    """Classifier-free guidance over the reference (arXiv 2207.12598): v = v₀ + scale · (v₁ − v₀).

    The two are separate calls, so that the one without a reference pays for no reference keys. ``scale`` 1 is plain
    conditioning and costs one call.
    """
    if scale == 1:
        return with_reference

    def network(z_rgb: Tensor, z_depth: Tensor, t_rgb: Tensor, t_depth: Tensor) -> tuple[Tensor, Tensor]:
        free = without_reference(z_rgb, z_depth, t_rgb, t_depth)
        led = with_reference(z_rgb, z_depth, t_rgb, t_depth)
        rgb, depth = (f + scale * (x - f) for f, x in zip(free, led, strict=True))
        return rgb, depth

    return network
