"""The light of a picture, and how surfaces answer it.

Ambient light is a second-order spherical-harmonic irradiance (Ramamoorthi and Hanrahan 2001, "An efficient
representation for irradiance environment maps"); up to three lamps, far away, add Lambert's cosine with a soft,
reddish terminator for skin (wrapped diffuse) and a Blinn–Phong sheen with Schlick's Fresnel term. Shadows come from
:mod:`data_prep.studio.looks.shadow`.

Directions are in camera space (x right, y down, z forward) and point away from the surface.

Shapes: F frames, D lamps, N surface points, 9 harmonics.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, eq=False)
class Lights:
    """The light of F frames: ``ambient_F93``, ``lamps_FD3``, ``power_FD3`` as :class:`Lighting` has them; a frame of
    fewer than D lamps has lamps without power."""

    ambient_F93: Tensor
    lamps_FD3: Tensor
    power_FD3: Tensor

    @classmethod
    def of(cls, lightings: Sequence[Lighting], device: torch.device | str = "cpu") -> Lights:
        """One light for each frame."""
        most = max(len(lighting.lamps_D3) for lighting in lightings)

        def padded(lamps_D3: Tensor) -> Tensor:
            return F.pad(lamps_D3, (0, 0, 0, most - len(lamps_D3)))

        return cls(
            torch.stack([lighting.ambient_93 for lighting in lightings]).to(device),
            torch.stack([padded(lighting.lamps_D3) for lighting in lightings]).to(device),
            torch.stack([padded(lighting.power_D3) for lighting in lightings]).to(device),
        )


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """Random light: ambient with a preferred side, and up to three lamps.

    The first is a key light from in front, the side, or (6 %) below, or none at all (12 %: overcast); the others fill
    from anywhere in front, or shine on the rim from behind. One picture in eight has coloured lamps.
    """
    overcast = rng.uniform() < 0.12
    level = rng.uniform(0.5, 0.95) if overcast else np.exp(rng.uniform(np.log(0.1), np.log(0.8)))
    ambient = np.zeros((9, 3))
    ambient[0] = level * _tint(rng, 0.1)
    ambient[1:4] = rng.normal(0, 0.28, (3, 1)) * ambient[0]
    ambient[1] -= 0.2 * ambient[0]  # more light from above than from below (y points down)
    ambient[4:] = rng.normal(0, 0.08, (5, 1)) * ambient[0]
    ambient[1:] *= rng.normal(1, 0.12, (8, 3))
    coloured = rng.uniform() < 0.125
    kinds = [] if overcast else ["below" if rng.uniform() < 0.06 else "key"]
    kinds += ["rim"] * int(rng.uniform() < 0.3) + ["fill"] * int(rng.uniform() < 0.35)
    lamps, powers = [[0.0, 0.0, -1.0]], [np.zeros(3)]  # one without power, so that there always is one
    for kind in kinds:
        strength, spread, middle, low, high = {
            "key": (rng.uniform(0.35, 1.5), 45.0, 0.0, -10, 65),
            "below": (rng.uniform(0.3, 1.0), 30.0, 0.0, -60, -20),
            "fill": (rng.uniform(0.08, 0.5), 60.0, 0.0, -20, 50),
            "rim": (rng.uniform(0.4, 2.0), 25.0, float(rng.choice([-140.0, 140.0])), -5, 60),
        }[kind]
        azimuth, elevation = np.deg2rad(rng.normal(middle, spread)), np.deg2rad(rng.uniform(low, high))
        horizontal = np.cos(elevation)
        lamps.append([horizontal * np.sin(azimuth), -np.sin(elevation), -horizontal * np.cos(azimuth)])
        powers.append(strength * _tint(rng, 0.6 if coloured else 0.13))
    if kinds:
        lamps, powers = lamps[1:], powers[1:]
    return Lighting(*(torch.tensor(np.array(a), dtype=torch.float32) for a in (ambient, lamps, powers)))


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Warm to cold white of luminance about 1."""
    warmth, green = rng.normal(0, spread), rng.normal(0, spread / 5)
    return np.exp([warmth, green, -warmth])


def harmonics(normals_N3: Tensor) -> Tensor:
    """(N, 9): 1, y, z, x, xy, yz, 3z²−1, xz, x²−y², the real spherical harmonics to order 2 less their constants."""
    x, y, z = normals_N3.unbind(-1)
    return torch.stack([torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


def ambient_irradiance(lights: Lights, frame_N: Tensor, normals_N3: Tensor) -> Tensor:
    """Ambient irradiance (N, 3), kept above a tenth of its mean: the truncated series can dip below zero.

    ``frame_N`` int64: the frame whose light falls on each point.
    """
    nine = torch.arange(9, device=frame_N.device)
    # A sum of nine rows of a small table, which does not depend on how many points there are.
    irradiance = F.embedding_bag(
        frame_N[:, None] * 9 + nine,
        lights.ambient_F93.flatten(0, 1),
        mode="sum",
        per_sample_weights=harmonics(normals_N3),
    )
    return torch.maximum(irradiance, 0.1 * lights.ambient_F93[frame_N, 0])


def diffuse(
    lights: Lights, frame_N: Tensor, normals_N3: Tensor, wrap_N: Tensor, ambient_open_N: Tensor, lamps_open_ND: Tensor
) -> Tensor:
    """Light (N, 3) that a white matt surface sends everywhere; arguments as :func:`shade` takes them."""
    total = ambient_irradiance(lights, frame_N, normals_N3) * ambient_open_N[:, None]
    wrap = wrap_N[:, None] * normals_N3.new_tensor(SKIN_WRAP)
    for i, opened in enumerate(lamps_open_ND.unbind(1)):
        cosine = _dot(normals_N3, lights.lamps_FD3[frame_N, i])[:, None]
        total += lights.power_FD3[frame_N, i] * ((cosine + wrap) / (1 + wrap)).clamp_min_(0) * opened[:, None]
    return total


def sheen(
    lights: Lights,
    frame_N: Tensor,
    normals_N3: Tensor,
    to_eye_N3: Tensor,
    gloss_N: Tensor,
    sharpness_N: Tensor,
    lamps_open_ND: Tensor,
) -> Tensor:
    """Light (N, 3) of the lamps that the surface reflects to the eye; arguments as :func:`shade` takes them."""
    total = torch.zeros_like(normals_N3)
    for i, opened in enumerate(lamps_open_ND.unbind(1)):
        direction = lights.lamps_FD3[frame_N, i]
        half = F.normalize(to_eye_N3 + direction, dim=-1)
        # Powers by exp and products: torch's pow differs in the last bit with a point's place in the batch.
        lobe = torch.exp(sharpness_N * _dot(normals_N3, half).clamp_min_(1e-12).log()) * (sharpness_N + 8) / 8
        graze = 1 - _dot(to_eye_N3, half).clamp_(0, 1)
        fresnel = FRESNEL_AT_NORMAL + (1 - FRESNEL_AT_NORMAL) * graze * graze.square().square()
        cosine = _dot(normals_N3, direction).clamp_min_(0)
        total += lights.power_FD3[frame_N, i] * (lobe * fresnel * gloss_N * opened * cosine)[:, None]
    return total


def shade(
    lights: Lights,
    frame_N: Tensor,
    albedo_N3: Tensor,
    normals_N3: Tensor,
    to_eye_N3: Tensor,
    gloss_N: Tensor,
    sharpness_N: Tensor,
    wrap_N: Tensor,
    ambient_open_N: Tensor,
    lamps_open_ND: Tensor,
) -> Tensor:
    """Light (N, 3) that points send to the eye, linear RGB: ``albedo * diffuse + sheen``.

    ``frame_N`` int64: the frame whose light falls on each point; ``normals_N3`` and ``to_eye_N3`` are unit vectors;
    ``gloss_N`` scales the sheen, ``sharpness_N`` is its Blinn–Phong exponent, ``wrap_N`` is 1 on skin and 0 on what is
    opaque; ``ambient_open_N`` and ``lamps_open_ND`` are how much of each light is not shadowed, 0 … 1.
    """
    matt = diffuse(lights, frame_N, normals_N3, wrap_N, ambient_open_N, lamps_open_ND)
    return albedo_N3 * matt + sheen(lights, frame_N, normals_N3, to_eye_N3, gloss_N, sharpness_N, lamps_open_ND)


def _dot(a_N3: Tensor, b_N3: Tensor) -> Tensor:
    return a_N3[:, 0] * b_N3[:, 0] + a_N3[:, 1] * b_N3[:, 1] + a_N3[:, 2] * b_N3[:, 2]
