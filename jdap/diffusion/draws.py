"""What a training step draws by chance, as a function of the seed, the step, and a sample's place in the step.

So a step draws the same on one process as on many, with gradients accumulated or in one go, and after a resume: what
counts is only how many samples the step has in all, and which of them is asked for. Everything is drawn on the CPU,
whatever the device.

Shapes: B samples of this process and batch, N of the whole step, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from jdap.diffusion.denoiser import Pair
from jdap.diffusion.timesteps import TimestepLaw


class Place(NamedTuple):
    """Samples ``first`` … ``first + size − 1`` of the ``total`` that optimiser step ``step`` sees on all processes."""

    step: int
    first: int
    size: int
    total: int

    @classmethod
    def of(cls, step: int, size: int, part: int = 0, parts: int = 1, rank: int = 0, ranks: int = 1) -> Place:
        """The place of batch ``part`` of the ``parts`` that a step accumulates, on process ``rank`` of ``ranks``."""
        return cls(step, (part * ranks + rank) * size, size, parts * ranks * size)


def draw_timesteps(law: TimestepLaw, timesteps: int, seed: int, place: Place) -> tuple[Pair, Tensor]:
    """The pair of timesteps (B,) int64, and two uniform numbers for each sample, (2, B), all on the CPU.

    The law's kinds are stratified over the whole step.
    """
    generator = _seeded(seed, place.step)
    here = slice(place.first, place.first + place.size)
    t = Pair(*(x[here] for x in law.draw(place.total, timesteps, generator)))
    return t, torch.rand(2, place.total, generator=generator)[:, here]


def draw_noise(like: Pair, seed: int, place: Place) -> Pair:
    """Independent standard normal noise for each half, (B, C, h, w) each; every sample has a generator of its own."""
    shape = like.rgb.shape[1:]
    samples = range(place.first, place.first + place.size)
    noise = torch.stack([torch.randn(2, *shape, generator=_seeded(seed, place.step, i)) for i in samples])
    return Pair(*noise.to(like.rgb.device, like.rgb.dtype).unbind(1))


def _seeded(*parts: int) -> Generator:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
