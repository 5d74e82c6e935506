"""Samplers: plain functions over (denoiser, network, what is known, steps).

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from jdap.choices import CLEAN, METHODS
from jdap.diffusion.denoiser import Generators, JointDenoiser, Network, Pair, randn_pair
from jdap.diffusion.timesteps import GIVEN_TIMESTEP

#: How a half that is wholly known is given to the network, see :func:`ddim`.


class Step(NamedTuple):
    """A step that was done: network call ``number`` (from 0) at ``timestep``, and the ``latents`` that it left."""

    number: int
    timestep: int
    latents: Pair


#: What is told of a step says which latents to go on with.
OnStep = Callable[[Step], Pair]


@torch.no_grad()
def ddim(
    denoiser: JointDenoiser,
    network: Network,
    noise: Pair,
    *,
    known_rgb: Tensor | None = None,
    known_depth: Tensor | None = None,
    rgb_cells: Tensor | None = None,
    depth_cells: Tensor | None = None,
    start_rgb: Tensor | None = None,
    skip: int = 0,
    steps: int,
    method: str = CLEAN,
    resample: int = 1,
    jump: int = 1,
    generator: Generators | None = None,
    on_step: OnStep | None = None,
) -> Pair:
    """Deterministic DDIM (arXiv 2010.02502) from ``noise`` (B, C, h, w) per half to clean latents.

    What is known is given as clean latents, of a whole half or of some of its cells, and comes back as it is. In each
    sample, a half

    * of which **some cells** are known is inpainted as in RePaint (arXiv 2201.09865): before every step they are
      replaced by the known latents with fresh noise of the step's level;
    * that is **wholly known** is given by ``method``: ``clean`` as it is, at timestep 0, whatever the other half's
      timestep, as in training on image-to-depth and depth-to-image; ``repaint`` re-noised like known cells, at the
      timestep of the other half (the channel-wise inpainting of arXiv 2501.08649, which asks no more of a network
      than joint training).

    With both halves partly known the two methods are one. In one step ``repaint`` sees nothing of what is known: at
    the last timestep all is noise.

    Re-noised cells are drawn without regard to the others, so the drawn ones fit them only roughly. RePaint's remedy
    is ``resample`` > 1: from time to time go ``jump`` steps back up by adding noise, and come down again,
    ``resample`` times in all (see :func:`levels`); the number of network calls grows as many times.

    Args:
        denoiser: the schedule and its algebra.
        network: the v-prediction.
        noise: where each drawn half starts.
        known_rgb, known_depth: clean latents (B, C, h, w) of a half of which something is given.
        rgb_cells, depth_cells: (B, 1, h, w) bool, the cells that are known; None: all.
        start_rgb, skip: RGB latents to start from in place of noise alone, with the noise that is left after so many of
            the steps, which are not taken: 0 … ``steps`` − 1.
        steps: 1 … T.
        method: ``clean`` or ``repaint``.
        resample, jump: RePaint's r and j, from 1.
        generator: of the noise of known cells and of jumps; or one for each sample.
        on_step: told of each step, and gives the latents to go on with; :func:`network_calls` says how many there are.

    Returns:
        The clean latents of both halves.

    Raises:
        ValueError: for steps, methods or counts that do not exist, and cells of a half that is not given.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    times = denoiser.schedule.spaced(steps)
    if not 0 <= skip < steps or (skip and start_rgb is None):
        raise ValueError(f"skip must be 0 … steps − 1, with RGB to start from, got {skip} of {steps}")
    path = [skip + level for level in levels(steps - skip, resample, jump)]
    given = Pair(known_rgb, known_depth)  # type: ignore[arg-type]
    known = Pair(*(n if k is None else k for n, k in zip(noise, given, strict=True)))
    cells = Pair(*(_cells(k, c, noise.rgb) for k, c in zip(given, (rgb_cells, depth_cells), strict=True)))
    whole = Pair(*(c.flatten(1).all(1) & (method == CLEAN) for c in cells))  # (B,) each: at timestep 0, never noised
    noised = any(bool((c.flatten(1).any(1) & ~w).any()) for c, w in zip(cells, whole, strict=True))
    done = 0

    def timesteps(level: int) -> Pair:
        return Pair(*(torch.where(w, GIVEN_TIMESTEP, times[level]) for w in whole))

    def pasted(z: Pair, level: int) -> Pair:
        """``z`` with the known cells at the noise of ``level``; ``steps`` is none."""
        at_level = known
        if noised and level < steps:
            fresh = denoiser.add_noise(known, randn_pair(known, generator), timesteps(level))
            at_level = Pair(*(torch.where(_wide(w), k, f) for w, k, f in zip(whole, known, fresh, strict=True)))
        return Pair(*(torch.where(c, k, x) for c, k, x in zip(cells, at_level, z, strict=True)))

    if start_rgb is not None:
        begun = denoiser.add_noise(Pair(start_rgb, noise.depth), noise, timesteps(skip))
        noise = Pair(begun.rgb, noise.depth)
    z = pasted(noise, path[0])
    for level, to in pairwise(path):
        t = timesteps(level)
        if to < level:
            z = denoiser.noise_further(z, randn_pair(z, generator), t, timesteps(to))
        else:
            v = Pair(*network(*z, *t))
            clean = denoiser.clean(z, v, t)
            z = clean if to == steps else denoiser.add_noise(clean, denoiser.noise(z, v, t), timesteps(to))
            if on_step is not None:
                z = on_step(Step(done, times[level], z))
            done += 1
        z = pasted(z, to)
    return z


def levels(steps: int, resample: int = 1, jump: int = 1) -> list[int]:
    """The noise levels that sampling visits: 0 (noise) … ``steps`` (clean), up by one a network call.

    RePaint's schedule (arXiv 2201.09865, algorithm 1 and appendix): at every ``jump``-th level, counted from the last
    one before the clean latents, it goes back ``jump`` levels and comes again, ``resample`` − 1 times. With
    ``resample`` 1 it is 0, 1, …, steps. Raises ValueError for counts under 1.
    """
    if resample < 1 or jump < 1:
        raise ValueError(f"resample and jump must be at least 1, got {resample} and {jump}")
    left = {level: resample - 1 for level in range(steps - 1, jump - 1, -jump)}
    path = [0]
    while path[-1] < steps:
        here = path[-1]
        if left.get(here, 0) > 0:
            left[here] -= 1
            path.append(here - jump)
        else:
            path.append(here + 1)
    return path


def network_calls(steps: int, resample: int = 1, jump: int = 1) -> int:
    """How often :func:`ddim` asks its network."""
    return sum(to > level for level, to in pairwise(levels(steps, resample, jump)))


def guided(branches: Network, *scales: float, rescale: float = 0.0) -> Network:
    """Classifier-free guidance (arXiv 2207.12598) over one condition or several, each with a scale of its own.

    With v₀ the prediction without any condition and v_k that with the first k of them, v = v₀ + Σ_k scale_k (v_k −
    v_{k−1}), as in InstructPix2Pix (arXiv 2211.09800, equation 3). ``branches`` is asked for all in one batch: it is
    given every sample once for each, first all for v₀, then all for v₁ …

    Guidance makes v larger than any v that was learnt, which with zero terminal signal over-exposes pictures. A share
    ``rescale`` of the answer is brought back to the standard deviation of the last v_k, sample by sample and half by
    half (arXiv 2305.08891, equations 15 and 16).
    """
    count = len(scales) + 1

    def network(z_rgb: Tensor, z_depth: Tensor, t_rgb: Tensor, t_depth: Tensor) -> tuple[Tensor, Tensor]:
        stacked = branches(*(torch.cat([x] * count) for x in (z_rgb, z_depth, t_rgb, t_depth)))
        rgb, depth = (_summed(v.chunk(count), scales, rescale) for v in stacked)
        return rgb, depth

    return network


def needed_branches(*scales: float) -> tuple[list[int], list[float]]:
    """Which predictions v_k the sum of :func:`guided` really holds, and the scales of all but the first of them.

    v_k counts scale_k − scale_{k+1} times (with scale₀ = 1, and 0 after the last), which is often nothing: with all
    scales 1 only the last is needed, with two equal ones not the one in between. So the network need not be asked for
    those, and ``guided`` of the rest with the scales given here is the same sum.
    """
    chain = (1.0, *scales, 0.0)
    kept = [k for k, (own, following) in enumerate(pairwise(chain)) if own != following]
    return kept, [chain[k] for k in kept[1:]]


def _summed(v: Sequence[Tensor], scales: Sequence[float], rescale: float) -> Tensor:
    total = v[0]
    for scale, (without, led) in zip(scales, pairwise(v), strict=True):
        total = total + scale * (led - without)
    if rescale == 0 or len(v) == 1:
        return total
    spread, wanted = (x.flatten(1).std(dim=1).clamp_min(1e-6)[:, None, None, None] for x in (total, v[-1]))
    return total * (rescale * wanted / spread + (1 - rescale))


def _cells(known: Tensor | None, cells: Tensor | None, like: Tensor) -> Tensor:
    """The known cells of a half (B, 1, h, w) bool: none where nothing is given."""
    if known is None:
        if cells is not None:
            raise ValueError("known cells of a half need its latents")
        return torch.zeros_like(like[:, :1], dtype=torch.bool)
    shape = (len(like), 1, *like.shape[-2:])
    if cells is None:
        return torch.ones(shape, dtype=torch.bool, device=like.device)
    if tuple(cells.shape) != shape or cells.dtype != torch.bool:
        raise ValueError(f"known cells must be {shape} bool, got {tuple(cells.shape)} {cells.dtype}")
    return cells


def _wide(flag_B: Tensor) -> Tensor:
    return flag_B[:, None, None, None]
