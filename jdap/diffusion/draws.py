"""What a training step draws by chance, as a function of the seed, the step, and a sample's place in the step.

So a step draws the same on one process as on many, with gradients accumulated or in one go, and after a resume: what
counts is only how many samples the step has in all, and which of them is asked for. The frames of a video are drawn in
the same way, by the seed and their index (:func:`draw_frames`). Everything is drawn on the CPU, whatever the device.

Shapes: B samples of this process and batch, N of the whole step, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from jdap.diffusion.denoiser import Pair
from jdap.diffusion.schedule import NoiseSchedule
from jdap.diffusion.timesteps import TimestepLaw


class StepSlice(NamedTuple):
    """Samples ``first`` … ``first + size − 1`` of the ``total`` that optimiser step ``step`` sees on all processes."""

    step: int
    first: int
    size: int
    total: int

    @classmethod
    def of(cls, step: int, size: int, part: int = 0, parts: int = 1, rank: int = 0, ranks: int = 1) -> StepSlice:
        """The place of batch ``part`` of the ``parts`` that a step accumulates, on process ``rank`` of ``ranks``."""
        return cls(step, (part * ranks + rank) * size, size, parts * ranks * size)


class Draw(NamedTuple):
    """What a step draws for each of its samples: timesteps ``t``, and the ``kind`` (B,) of sample, on the CPU.

    ``chance``: (K, B) uniform numbers.
    """

    t: Pair
    kind: Tensor
    chance: Tensor


def draw_timesteps(
    law: TimestepLaw, schedule: NoiseSchedule, seed: int, place: StepSlice, chances: int = 2, targets: int = 1
) -> Draw:
    """The pair of timesteps (B,) int64, kinds, and ``chances`` uniform numbers for each sample, all on the CPU.

    The law's kinds are stratified over the whole step; ``targets`` consecutive samples are of one kind.
    """
    generator = _seeded(seed, place.step)
    here = slice(place.first, place.first + place.size)
    t_rgb, t_depth, kind = (x[here] for x in law.draw(place.total, schedule, generator, targets))
    return Draw(Pair(t_rgb, t_depth), kind, torch.rand(chances, place.total, generator=generator)[:, here])


def draw_noise(like: Pair, seed: int, place: StepSlice) -> Pair:
    """Independent standard normal noise for each half, (B, C, h, w) each; every sample has a generator of its own."""
    shape = like.rgb.shape[1:]
    samples = range(place.first, place.first + place.size)
    noise = torch.stack([torch.randn(2, *shape, generator=_seeded(seed, place.step, i)) for i in samples])
    return Pair(*noise.to(like.rgb.device, like.rgb.dtype).unbind(1))


def draw_generators(seed: int, place: StepSlice) -> list[Generator]:
    """A generator for each sample, for what else a step draws of it; not that of its noise."""
    return [_seeded(seed, place.step, i, 1) for i in range(place.first, place.first + place.size)]


def draw_frames(like: Pair, seed: int, first: int, sharing: float = 0.0) -> Pair:
    """Noise for the frames ``first`` … of a video, as many as ``like`` (F, C, h, w) has: standard normal in each half.

    A frame's noise is a function of the seed and its index, whichever frames are asked for together. ``sharing`` 0 … 1
    is the share of its power that all frames of the video have in common: s^½ common + (1 − s)^½ own, as in the mixed
    noise of arXiv 2305.10474. Raises ValueError for a sharing outside of it.
    """
    if not 0 <= sharing <= 1:
        raise ValueError(f"noise sharing must be within 0 … 1, got {sharing}")
    frames = len(like.rgb)
    own = draw_noise(like, seed, StepSlice(0, first, frames, first + frames))
    if sharing == 0:
        return own
    common = draw_noise(Pair(*(x[:1] for x in like)), seed, StepSlice(1, 0, 1, 1))
    return Pair(*(sharing**0.5 * c + (1 - sharing) ** 0.5 * o for c, o in zip(common, own, strict=True)))


def _seeded(*parts: int) -> Generator:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
