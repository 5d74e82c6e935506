"""Smooth noise in head space: random values on a lattice that repeats, blended between its points (Perlin's value
noise).

Shapes: N points, L lattice points along an axis.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LATTICE = 32


def draw_lattice(rng: np.random.Generator, size: int = LATTICE) -> Tensor:
    """(L, L, L) float32 standard normal values; ``size`` must be a power of two."""
    return torch.from_numpy(rng.standard_normal((size,) * 3, dtype=np.float32))


def value_noise(points_N3: Tensor, lattice_LLL: Tensor, octaves: int = 1) -> Tensor:
    """Noise (N,) of about zero mean and unit variance at points in units of lattice cells.

    The lattice repeats in all three directions. Each octave has twice the frequency and half the amplitude of the one
    before. The blend is 3 t² − 2 t³, and the value is divided by its standard deviation, so that it does not fade
    between lattice points.
    """
    size = lattice_LLL.shape[0]
    flat = lattice_LLL.reshape(-1)
    total = torch.zeros_like(points_N3[:, 0])
    power = 0.0
    for octave in range(octaves):
        # The shift keeps the octaves' lattice points apart.
        points = points_N3 * 2**octave + 17.3 * octave
        cell = points.floor()
        t = points - cell
        t = t * t * (3 - 2 * t)
        low = cell.long() % size
        high = (low + 1) % size
        value, variance = torch.zeros_like(total), torch.zeros_like(total)
        for corner in range(8):
            far = [bool(corner >> axis & 1) for axis in range(3)]
            x, y, z = ((high if f else low)[:, axis] for axis, f in enumerate(far))
            weights = [t[:, axis] if f else 1 - t[:, axis] for axis, f in enumerate(far)]
            weight = weights[0] * weights[1] * weights[2]
            value += weight * flat[(x * size + y) * size + z]
            variance += weight.square()
        total += value / variance.sqrt() / 2**octave
        power += 0.25**octave
    return total / power**0.5


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, 3 t² − 2 t³ between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
