"""A person's colours: drawn at random, and painted on the head's vertices.

Skin follows a two-pigment model: reflectance is ``base · exp(−melanin · M − haemoglobin · H)`` per channel
(Beer–Lambert, after Tsumura et al. 1999, "Independent-component analysis of skin color image"). ``base`` and ``M``
are chosen so that melanin 0 … 1 spans the measured range of human skin, about (0.66, 0.45, 0.36) to (0.075, 0.035,
0.022) in linear RGB; it is drawn uniformly, so all tones are equally frequent. Hair is the same with eumelanin and
pheomelanin.

Shapes: V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.looks.noise import draw_lattice, smoothstep, value_noise
from data_prep.looks.regions import HeadRegions

SKIN_BASE = (0.70, 0.52, 0.42)
MELANIN = (2.17, 2.6, 3.1)
HAEMOGLOBIN = (0.06, 0.32, 0.26)
HAIR_BASE = (0.50, 0.40, 0.26)
EUMELANIN = (3.5, 3.6, 3.65)
PHEOMELANIN = (0.2, 0.8, 1.5)
#: How far below the origin of head space short hair ends at the back.
NAPE_MM = 62.0
#: Linear RGB of irises: dark brown, brown, hazel, green, blue, grey.
IRISES = (
    (0.02, 0.01, 0.006),
    (0.07, 0.033, 0.015),
    (0.13, 0.08, 0.03),
    (0.1, 0.13, 0.06),
    (0.08, 0.15, 0.26),
    (0.15, 0.18, 0.2),
)


@dataclass(frozen=True)
class PersonLook:
    """What a person looks like, apart from shape. Amounts are 0 … 1 unless a unit is named."""

    melanin: float
    haemoglobin: float
    unevenness: float
    lip_tint: float
    freckles: float
    stubble: float
    moustache: float
    hair_rgb: tuple[float, float, float]
    hair_thickness_mm: float
    hair_cover: float
    hair_length_mm: float
    hairline_mm: float
    temples_mm: float
    brow_cover: float
    brow_width_mm: float
    iris_rgb: tuple[float, float, float]
    iris_radius_mm: float
    pupil_radius_mm: float
    clothes_rgb: tuple[float, float, float]
    collar_mm: float
    gloss: float
    lattice_LLL: Tensor


def draw_look(rng: np.random.Generator) -> PersonLook:
    """A random person; the distributions are described in docs/studio.md."""
    melanin = rng.uniform()
    hair_rgb = _draw_hair(rng, melanin)
    light_eyes = rng.uniform() < 0.6 * max(0.0, 1 - 2.2 * melanin)
    iris = np.array(IRISES[rng.integers(2, 6) if light_eyes else rng.integers(0, 2)]) * rng.uniform(0.7, 1.3, 3)
    bald = rng.uniform() < 0.08
    bearded = rng.uniform() < 0.4
    clothes = np.clip(rng.uniform(0.02, 0.5) + rng.normal(0, 0.12, 3) * rng.uniform(), 0.01, 0.8)
    return PersonLook(
        melanin=melanin,
        haemoglobin=float(np.clip(rng.normal(0.35, 0.2), 0, 1.0)),
        unevenness=rng.uniform(0.3, 1),
        lip_tint=rng.uniform(0.25, 0.8) + (rng.uniform(0.3, 1.2) if rng.uniform() < 0.2 else 0.0),
        freckles=rng.uniform(0.3, 1) if rng.uniform() < 0.3 * max(0.0, 1 - 1.5 * melanin) else 0.0,
        stubble=rng.uniform(0.1, 0.95) if bearded else 0.0,
        moustache=rng.uniform(0.5, 1) if bearded else 0.0,
        hair_rgb=hair_rgb,
        hair_thickness_mm=0.3 if bald else float(rng.choice([rng.uniform(1, 5), rng.uniform(5, 24)])),
        hair_cover=rng.uniform(0, 0.35) if bald else rng.uniform(0.85, 1),
        hair_length_mm=0.0 if bald or bearded or rng.uniform() < 0.5 else rng.uniform(20, 110),
        hairline_mm=float(np.clip(rng.normal(0, 6), -12, 14)),
        temples_mm=max(0.0, rng.normal(2, 8)),
        brow_cover=rng.uniform(0.5, 1),
        brow_width_mm=rng.uniform(3.2, 6.5),
        iris_rgb=_triple(iris),
        iris_radius_mm=rng.uniform(6.2, 6.9),
        pupil_radius_mm=rng.uniform(1.7, 3.2),
        clothes_rgb=_triple(clothes),
        collar_mm=rng.uniform(-14, 22),
        gloss=rng.uniform(0.35, 1),
        lattice_LLL=draw_lattice(rng),
    )


def _draw_hair(rng: np.random.Generator, melanin: float) -> tuple[float, float, float]:
    """Dark hair for everyone, fair and red hair for some fair-skinned people, grey for some of all."""
    fair = rng.uniform() < 0.7 * max(0.0, 1 - 2.0 * melanin)
    eumelanin = rng.uniform(0.1, 0.75) if fair else rng.uniform(0.55 + 0.35 * min(1.0, 2 * melanin), 1.1)
    pheomelanin = rng.uniform() ** 2 if fair else rng.uniform(0, 0.3)
    rgb = np.array(HAIR_BASE) * np.exp(-eumelanin * np.array(EUMELANIN) - 0.7 * pheomelanin * np.array(PHEOMELANIN))
    grey = rng.uniform(0.2, 0.9) if rng.uniform() < 0.1 else 0.0
    return _triple(rgb * (1 - grey) + grey * np.array([0.36, 0.36, 0.36]))


def _triple(rgb: np.ndarray) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in rgb)
    return r, g, b


def skin_reflectance(melanin: Tensor, haemoglobin: Tensor) -> Tensor:
    """Linear RGB (..., 3) of skin with these amounts (...) of pigment."""
    base, m, h = (melanin.new_tensor(c) for c in (SKIN_BASE, MELANIN, HAEMOGLOBIN))
    return base * torch.exp(-melanin[..., None] * m - haemoglobin[..., None] * h)


@dataclass(frozen=True, eq=False)
class Paint:
    """A person's head, painted: vertex attributes.

    * ``albedo_V3``: linear RGB of skin and lips, 0 … 1
    * ``hair_V``: how much of the scalp's hair covers the vertex, 0 … 1
    * ``brow_V``, ``lashes_V``, ``stubble_V``: the same for brows, lashes and beard
    * ``collar_mm_V``: height over the edge of the clothes, negative on them
    * ``lift_mm_V``: how far hair and cloth stand off the head's surface
    """

    albedo_V3: Tensor
    hair_V: Tensor
    brow_V: Tensor
    lashes_V: Tensor
    stubble_V: Tensor
    collar_mm_V: Tensor
    lift_mm_V: Tensor


def paint(look: PersonLook, regions: HeadRegions, rest_V3: Tensor) -> Paint:
    """Paint a person on the mean head's vertices ``rest_V3`` (V, 3), which ``regions`` describe."""
    lattice = look.lattice_LLL.to(rest_V3)
    broad, fine = value_noise(rest_V3 / 40, lattice), value_noise(rest_V3 / 9 + 5.5, lattice, octaves=2)
    redness = 0.25 * broad + 0.12 * fine + 1.1 * (regions.cheeks + regions.nose_tip) + 0.9 * regions.ears
    redness = redness + 0.6 * regions.under_eye
    brownness = 0.025 * value_noise(rest_V3 / 30 + 9.1, lattice) + 0.01 * fine + 0.1 * regions.under_eye
    haemoglobin = (look.haemoglobin + look.unevenness * 0.7 * redness).clamp(0, 3)
    haemoglobin = haemoglobin + regions.lips * (0.6 + 2.2 * look.lip_tint)
    melanin = (look.melanin + look.unevenness * brownness + 0.06 * regions.lips).clamp(0, 1.2)
    albedo = skin_reflectance(melanin, haemoglobin)

    wobble = 2.0 * value_noise(rest_V3 / 14 + 3.3, lattice, octaves=2)
    height = regions.above_hairline_mm - look.hairline_mm + wobble
    height = height - look.temples_mm * torch.exp(-((rest_V3[:, 0].abs() - 50) / 20).square()) * (rest_V3[:, 2] > 30)
    # Long hair hangs behind the ears, over the nape and the sides of the neck.
    if look.hair_length_mm:
        hanging = rest_V3[:, 1] + NAPE_MM + look.hair_length_mm
        height = torch.maximum(height, torch.minimum(hanging, 1.2 * (2 - rest_V3[:, 2])) + wobble)
    height = height - 60 * regions.ears
    collar = regions.collar_mm - look.collar_mm
    clothes = smoothstep(-collar, -1, 1)
    brow_half_mm = look.brow_width_mm * (1.1 - 0.65 * regions.brow_along)
    brow = (1 - smoothstep(regions.brow_mm / brow_half_mm, 0.4, 1.2)) * look.brow_cover
    lift = look.hair_thickness_mm * smoothstep(height, 0, 30) + 2.5 * smoothstep(-collar, -2, 4)
    return Paint(
        albedo_V3=albedo.clamp(0, 1),
        hair_V=smoothstep(height, -3, 5) * look.hair_cover * (1 - clothes),
        brow_V=brow,
        lashes_V=0.9 * regions.lash_line,
        stubble_V=torch.maximum(regions.beard * look.stubble, regions.moustache * look.moustache * look.stubble),
        collar_mm_V=collar,
        lift_mm_V=lift,
    )
