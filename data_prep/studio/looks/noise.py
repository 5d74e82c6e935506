"""Smooth noise in head space: random values on a lattice that repeats, blended between its points (Perlin's value
noise).

Shapes: N points, L lattice points along an axis.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LATTICE = 32


class HasGrain(Protocol):
    """What is needed to know of a look with grain."""

    @property
    def lattice_LLL(self) -> Tensor:
        """Random values that grain is made of."""


def draw_lattice(rng: np.random.Generator, size: int = LATTICE) -> Tensor:
    """(L, L, L) float32 standard normal values."""
    return torch.from_numpy(rng.standard_normal((size,) * 3, dtype=np.float32))


def value_noise(points_N3: Tensor, lattice_LLL: Tensor, octaves: int = 1) -> Tensor:
    """Noise (N,) of about zero mean and unit variance at points in units of lattice cells.

    The lattice repeats in all three directions. Each octave has twice the frequency and half the amplitude of the one
    before. Between lattice points the blend is 3 t² − 2 t³, divided by its standard deviation so that the noise does
    not fade there.
    """
    size = lattice_LLL.shape[0]
    # One more layer, the first again: a cell's far corner is then always there.
    periodic = F.pad(lattice_LLL[None, None], (0, 1) * 3, mode="circular")
    total = torch.zeros_like(points_N3[:, 0])
    for octave in range(octaves):
        # The shift keeps the octaves' lattice points apart.
        points = points_N3 * 2**octave + 17.3 * octave
        cell = points.floor()
        t = points - cell
        t = t * t * (3 - 2 * t)
        # grid_sample blends linearly, and wants −1 … 1 from the first lattice point to the last, x being the last axis.
        where = ((cell % size + t) * (2 / size) - 1).flip(1)
        value = F.grid_sample(periodic, where[None, None, None], mode="bilinear", align_corners=True)[0, 0, 0, 0]
        total += value / 2**octave / (t.square() + (1 - t).square()).prod(1).sqrt()
    return total / sum(0.25**octave for octave in range(octaves)) ** 0.5


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, 3 t² − 2 t³ between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
