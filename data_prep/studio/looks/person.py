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

from data_prep.studio.looks.beard import BeardLook, draw_beard
from data_prep.studio.looks.glasses import GlassesLook, draw_glasses
from data_prep.studio.looks.hair import HairLook, draw_hair
from data_prep.studio.looks.hats import HatLook, draw_hat
from data_prep.studio.looks.noise import draw_lattice, smoothstep, value_noise
from data_prep.studio.looks.regions import HeadRegions
from data_prep.studio.looks.trim import TrimLook, draw_trim

SKIN_BASE = (0.70, 0.52, 0.42)
MELANIN = (2.17, 2.6, 3.1)
HAEMOGLOBIN = (0.06, 0.32, 0.26)
HAIR_BASE = (0.50, 0.40, 0.26)
EUMELANIN = (3.5, 3.6, 3.65)
PHEOMELANIN = (0.2, 0.8, 1.5)
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
class MakeUp:
    """How much, 0 … 1, of lipstick, eye shadow and blush, and their linear RGB; ``liner``: darker lash lines."""

    lipstick: float
    lipstick_rgb: tuple[float, float, float]
    shadow: float
    shadow_rgb: tuple[float, float, float]
    blush: float
    liner: float


@dataclass(frozen=True)
class PersonLook:
    """What a person looks like, apart from shape. Amounts are 0 … 1 unless a unit is named.

    ``hair``, ``beard``, ``hat``, ``glasses`` and ``trim`` are worn (:mod:`data_prep.studio.looks.wardrobe`);
    ``hair_cover`` is what is painted on the scalp under the hair.
    """

    melanin: float
    haemoglobin: float
    unevenness: float
    lip_tint: float
    make_up: MakeUp
    freckles: float
    moles: float
    age: float
    beard: BeardLook
    hair: HairLook
    hair_rgb: tuple[float, float, float]
    hair_cover: float
    hairline_mm: float
    temples_mm: float
    brow_cover: float
    brow_width_mm: float
    brow_taper: float
    brow_lift_mm: float
    iris_rgb: tuple[float, float, float]
    iris_radius_mm: float
    pupil_radius_mm: float
    sclera: float
    teeth: float
    hat: HatLook
    glasses: GlassesLook
    trim: TrimLook
    clothes_rgb: tuple[float, float, float]
    collar_mm: float
    pattern: float
    gloss: float
    lattice_LLL: Tensor


def draw_look(rng: np.random.Generator) -> PersonLook:
    """A random person; the distributions are described in docs/studio.md."""
    melanin, age = rng.uniform(), rng.uniform()
    beard = draw_beard(rng)
    hair = draw_hair(rng)
    while (beard.volume or beard.stubble) and hair.hangs and rng.uniform() < 0.75:
        hair = draw_hair(rng)
    light_eyes = rng.uniform() < 0.6 * max(0.0, 1 - 2.2 * melanin)
    iris = np.array(IRISES[rng.integers(2, 6) if light_eyes else rng.integers(0, 2)]) * rng.uniform(0.7, 1.3, 3)
    clothes = _draw_cloth(rng)
    hat = draw_hat(rng, _draw_cloth(rng))
    trim = draw_trim(rng, hat.rgb if hat.hangs else clothes, hat.kind == "headscarf")
    return PersonLook(
        melanin=melanin,
        haemoglobin=float(np.clip(rng.normal(0.35, 0.2), 0, 1.0)),
        unevenness=rng.uniform(0.3, 1),
        lip_tint=rng.uniform(0.25, 0.8),
        make_up=_draw_make_up(rng, rng.uniform() < (0.35 if beard.stubble == 0 and not beard.volume else 0.0)),
        freckles=rng.uniform(0.3, 1) if rng.uniform() < 0.3 * max(0.0, 1 - 1.5 * melanin) else 0.0,
        moles=rng.uniform() if rng.uniform() < 0.3 else 0.0,
        age=age,
        beard=beard,
        hair=hair,
        hair_rgb=_draw_hair(rng, melanin, age),
        hair_cover=rng.uniform(0, 0.4) if hair.style == "bald" else rng.uniform(0.75, 1),
        hairline_mm=float(np.clip(rng.normal(0, 6), -12, 14)),
        temples_mm=max(0.0, rng.normal(2, 8)) + (rng.uniform(6, 24) if hair.style == "receding" else 0.0),
        brow_cover=rng.uniform(0.45, 1),
        brow_width_mm=rng.uniform(2.6, 6.5),
        brow_taper=rng.uniform(0.35, 0.8),
        brow_lift_mm=float(np.clip(rng.normal(0, 1.2), -2, 3)),
        iris_rgb=_triple(iris),
        iris_radius_mm=rng.uniform(6.0, 6.7),
        pupil_radius_mm=rng.uniform(1.5, 3.2),
        sclera=rng.uniform(0.75, 1.05),
        teeth=rng.uniform(0.6, 1.1),
        hat=hat,
        glasses=draw_glasses(rng),
        trim=trim,
        clothes_rgb=clothes,
        # A collar is sewn to a shirt that reaches up to it.
        collar_mm=rng.uniform(-14, 22) if trim.collar == "none" else rng.uniform(8, 22),
        pattern=rng.uniform() ** 2,
        gloss=rng.uniform(0.3, 1),
        lattice_LLL=draw_lattice(rng),
    )


def _draw_make_up(rng: np.random.Generator, worn: bool) -> MakeUp:
    red = np.array([0.42, 0.05, 0.07]) * np.exp(rng.normal(0, [0.45, 0.6, 0.5]))
    shade = np.array([0.18, 0.1, 0.1]) * np.exp(rng.normal(0, 0.6, 3))
    amounts = rng.uniform([0.15, 0.0, 0.0, 0.2], [0.9, 0.65, 0.8, 1.0]) * worn
    lipstick, shadow, blush, liner = (float(v) for v in amounts)
    return MakeUp(lipstick, _triple(np.clip(red, 0, 0.8)), shadow, _triple(np.clip(shade, 0, 0.6)), blush, liner)


def _draw_cloth(rng: np.random.Generator) -> tuple[float, float, float]:
    """Mostly muted, from black to white."""
    grey = np.exp(rng.uniform(np.log(0.015), np.log(0.7)))
    return _triple(np.clip(grey * np.exp(rng.normal(0, 0.7 * rng.uniform() ** 1.5, 3)), 0.01, 0.8))


def _draw_hair(rng: np.random.Generator, melanin: float, age: float) -> tuple[float, float, float]:
    """Dark hair for everyone, fair and red hair for some fair-skinned people, grey for the older, dyed for some."""
    if rng.uniform() < 0.03:
        return _triple(np.array(HAIR_BASE) * rng.uniform(0.05, 1.2, 3))
    fair = rng.uniform() < 0.7 * max(0.0, 1 - 2.0 * melanin)
    eumelanin = rng.uniform(0.1, 0.75) if fair else rng.uniform(0.55 + 0.35 * min(1.0, 2 * melanin), 1.1)
    pheomelanin = rng.uniform() ** 2 if fair else rng.uniform(0, 0.3)
    rgb = np.array(HAIR_BASE) * np.exp(-eumelanin * np.array(EUMELANIN) - 0.7 * pheomelanin * np.array(PHEOMELANIN))
    grey = rng.uniform(0.2, 1.0) if rng.uniform() < 0.75 * max(0.0, age - 0.55) / 0.45 else 0.0
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
    * ``open_V``: the share of all light that hair, hat and brim leave, 0 … 1
    * ``lift_mm_V``: how far cloth stands off the head's surface
    """

    albedo_V3: Tensor
    hair_V: Tensor
    brow_V: Tensor
    lashes_V: Tensor
    stubble_V: Tensor
    collar_mm_V: Tensor
    open_V: Tensor
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

    make_up = look.make_up
    lips = regions.lips * make_up.lipstick
    lids = make_up.shadow * torch.exp(-(regions.lid_mm / 7).square())
    for amount, rgb in ((lips, make_up.lipstick_rgb), (lids, make_up.shadow_rgb)):
        albedo = albedo + amount[:, None] * (albedo.new_tensor(rgb) * (0.35 + 0.65 * albedo[:, :1] / 0.4) - albedo)
    albedo = albedo * torch.exp(-make_up.blush * regions.cheeks[:, None] * albedo.new_tensor([0.0, 0.35, 0.3]))
    # Folds are darker: beside the mouth, and under the eyes.
    albedo = albedo * (1 - look.age * (0.22 * regions.folds + 0.15 * regions.under_eye))[:, None]

    wobble = 2.0 * value_noise(rest_V3 / 14 + 3.3, lattice, octaves=2)
    height = regions.above_hairline_mm - look.hairline_mm + wobble
    height = height - look.temples_mm * torch.exp(-((rest_V3[:, 0].abs() - 50) / 20).square()) * (rest_V3[:, 2] > 30)
    if look.hair.bald_mm:
        bare = rest_V3[:, 1] - (140 - 0.8 * look.hair.bald_mm) + 0.25 * rest_V3[:, 2]
        height = torch.minimum(height, -bare)
    height = height - 60 * regions.ears
    collar = regions.collar_mm - look.collar_mm
    clothes = smoothstep(-collar, -1, 1)
    brow_half_mm = look.brow_width_mm * (1.1 - look.brow_taper * regions.brow_along)
    # Lifted brows arch: most at two thirds of the way out.
    arch = look.brow_lift_mm * torch.exp(-((regions.brow_along - 0.65) / 0.35).square())
    away = (regions.brow_mm.square() - 2 * regions.brow_up_mm * arch + arch.square()).clamp_min(0).sqrt()
    brow = (1 - smoothstep(away / brow_half_mm, 0.4, 1.2)) * look.brow_cover
    stubble = regions.beard * smoothstep(regions.beard, 0.0, 0.3 + look.beard.cheek_mm / 20)
    return Paint(
        albedo_V3=albedo.clamp(0, 1),
        hair_V=smoothstep(height, -3, 6) * look.hair_cover * (1 - clothes),
        brow_V=brow,
        lashes_V=((0.75 + 0.6 * make_up.liner) * regions.lash_line).clamp(0, 1),
        stubble_V=torch.maximum(stubble, 0.8 * regions.moustache) * look.beard.stubble,
        collar_mm_V=collar,
        open_V=_reached(look, regions, rest_V3),
        lift_mm_V=2.5 * smoothstep(-collar, -2, 4),
    )


def _reached(look: PersonLook, regions: HeadRegions, rest_V3: Tensor) -> Tensor:
    """(V,) the share of light that reaches the skin past what is worn: dark lines under its edges, shade under a brim.

    Contact shadows by distance: a stand-in for ambient occlusion, which is measured for the bare head alone.
    """
    _, y, z = rest_V3.unbind(1)
    hat, hair = look.hat, look.hair
    thick = 0.0 if not hair.shown else min(1.0, (hair.thickness_mm + hair.top_mm) / 16)
    below = (-(regions.above_hairline_mm - look.hairline_mm) - max(0.0, hair.fringe_mm)).clamp_min(0)
    shade = 0.4 * thick * torch.exp(-below / 7)
    front = smoothstep(z, 20, 60)
    if hat.worn:
        edge = hat.back_mm + (z + 90) / 190 * (hat.front_mm - hat.back_mm)
        under = torch.exp(-(edge - y).clamp_min(0) / (8 + 0.45 * hat.brim_mm))
        forwards = hat.kind != "cap" or abs(hat.turn_deg) < 90
        shade = torch.maximum(shade, (0.35 + 0.3 * float(hat.brim_mm > 0 and forwards) * front) * under)
    if hair.hangs or hat.hangs:
        # Between curtains of hair, neck and the face's sides lie in their shade.
        shade = torch.maximum(shade, 0.45 * (1 - smoothstep(z, 0, 70)))
    return 1 - shade
