"""The light of a picture, and how surfaces answer it.

Ambient light is a second-order spherical-harmonic irradiance (Ramamoorthi and Hanrahan 2001, "An efficient
representation for irradiance environment maps"); one or two lamps, far away, add Lambert's cosine with a soft,
reddish terminator for skin (wrapped diffuse) and a Blinn–Phong sheen with Schlick's Fresnel term. Shadows come from
:mod:`data_prep.looks.shadow`.

Directions are in camera space (x right, y down, z forward) and point away from the surface.

Shapes: D lamps, N surface points, 9 harmonics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Share of light that wraps round the terminator of skin, per channel: red light travels farthest under it.
SKIN_WRAP = (0.25, 0.12, 0.08)
FRESNEL_AT_NORMAL = 0.04


@dataclass(frozen=True, eq=False)
class Lighting:
    """``ambient_93`` float32: irradiance in the basis of :func:`harmonics`; ``lamps_D3`` unit vectors to the lamps;
    ``power_D3``: their irradiance at normal incidence, linear RGB."""

    ambient_93: Tensor
    lamps_D3: Tensor
    power_D3: Tensor

    def to(self, device: torch.device | str) -> Lighting:
        """The same light on another device."""
        return Lighting(self.ambient_93.to(device), self.lamps_D3.to(device), self.power_D3.to(device))


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """Random light: ambient with a preferred side, a key lamp from in front or the side, sometimes a second one."""
    level = rng.uniform(0.25, 0.8)
    ambient = np.zeros((9, 3))
    ambient[0] = level * _tint(rng, 0.08)
    ambient[1:4] = rng.normal(0, 0.28, (3, 1)) * ambient[0]
    ambient[1] -= 0.2 * ambient[0]  # more light from above than from below (y points down)
    ambient[4:] = rng.normal(0, 0.08, (5, 1)) * ambient[0]
    ambient[1:] *= rng.normal(1, 0.12, (8, 3))
    lamps, powers = [], []
    for strength in [rng.uniform(0.3, 1.2), rng.uniform(0.1, 0.6)][: 1 + (rng.uniform() < 0.5)]:
        azimuth, elevation = np.deg2rad(rng.normal(0, 45)), np.deg2rad(rng.uniform(-10, 65))
        horizontal = np.cos(elevation)
        lamps.append([horizontal * np.sin(azimuth), -np.sin(elevation), -horizontal * np.cos(azimuth)])
        powers.append(strength * _tint(rng, 0.12))
    return Lighting(*(torch.tensor(np.array(a), dtype=torch.float32) for a in (ambient, lamps, powers)))


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Warm to cold white of luminance about 1."""
    warmth, green = rng.normal(0, spread), rng.normal(0, spread / 5)
    return np.exp([warmth, green, -warmth])


def harmonics(normals_N3: Tensor) -> Tensor:
    """(N, 9): 1, y, z, x, xy, yz, 3z²−1, xz, x²−y², the real spherical harmonics to order 2 less their constants."""
    x, y, z = normals_N3.unbind(-1)
    return torch.stack([torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


def ambient_irradiance(light: Lighting, normals_N3: Tensor) -> Tensor:
    """Ambient irradiance (N, 3), kept above a tenth of its mean: the truncated series can dip below zero."""
    return torch.maximum(harmonics(normals_N3) @ light.ambient_93, 0.1 * light.ambient_93[0])


def shade(
    light: Lighting,
    albedo_N3: Tensor,
    normals_N3: Tensor,
    to_eye_N3: Tensor,
    gloss_N: Tensor,
    sharpness_N: Tensor,
    wrap_N: Tensor,
    ambient_open_N: Tensor,
    lamps_open_ND: Tensor,
) -> Tensor:
    """Light (N, 3) that points send to the eye, linear RGB.

    ``normals_N3`` and ``to_eye_N3`` are unit vectors; ``gloss_N`` scales the sheen, ``sharpness_N`` is its Blinn–Phong
    exponent, ``wrap_N`` is 1 on skin and 0 on what is opaque; ``ambient_open_N`` and ``lamps_open_ND`` are how much of
    each light is not shadowed, 0 … 1.
    """
    diffuse = ambient_irradiance(light, normals_N3) * ambient_open_N[:, None]
    wrap = wrap_N[:, None] * normals_N3.new_tensor(SKIN_WRAP)
    sheen = torch.zeros_like(diffuse)
    for direction, power, opened in zip(light.lamps_D3, light.power_D3, lamps_open_ND.T, strict=True):
        cosine = (normals_N3 @ direction)[:, None]
        diffuse = diffuse + power * ((cosine + wrap) / (1 + wrap)).clamp_min(0) * opened[:, None]
        half = F.normalize(to_eye_N3 + direction, dim=-1)
        lobe = (normals_N3 * half).sum(-1).clamp_min(0) ** sharpness_N * (sharpness_N + 8) / 8
        fresnel = FRESNEL_AT_NORMAL + (1 - FRESNEL_AT_NORMAL) * (1 - (to_eye_N3 * half).sum(-1).clamp(0, 1)) ** 5
        sheen = sheen + power * (lobe * fresnel * gloss_N * opened)[:, None] * cosine.clamp_min(0)
    return albedo_N3 * diffuse + sheen
