"""What a point of the head looks like: from painted vertices to albedo, sheen and openness at every sample of a
picture.

Shapes: N samples, V vertices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.head.model import PART_NAMES
from data_prep.studio.looks.bust import BUST_PARTS, Bust
from data_prep.studio.looks.noise import smoothstep, value_noise
from data_prep.studio.looks.person import Paint, PersonLook, skin_reflectance
from data_prep.studio.looks.wardrobe import WARDROBE_PARTS

SCLERA_RGB = (0.40, 0.36, 0.33)
GUMS_RGB = (0.32, 0.09, 0.08)
TEETH_RGB = (0.58, 0.49, 0.37)
#: How far behind the lips (z of the mean head) the mouth begins, and how fast it gets dark, mm.
MOUTH_FRONT_MM, MOUTH_FALLOFF_MM = 109.0, 13.0
#: Lips this far apart let all the light in.
OPEN_MOUTH_MM = 14.0
_LENS_RGB = (0.006, 0.006, 0.007)
EYE_RADIUS_MM = 15.0


@dataclass(frozen=True, eq=False)
class Surface:
    """Material at N samples: ``albedo_N3`` linear RGB; ``gloss_N``, ``sharpness_N``, ``wrap_N``, ``open_N`` (of every
    light) as :func:`data_prep.studio.looks.light.shade` takes them; ``cover_N`` 0 … 1: how much lies over the skin, and
    ``cloth_N``: how much of cloth that is painted on it; ``tilt_N3``: head space, what is added to the unit normal
    before it is normalised again."""

    albedo_N3: Tensor
    gloss_N: Tensor
    sharpness_N: Tensor
    wrap_N: Tensor
    open_N: Tensor
    cover_N: Tensor
    cloth_N: Tensor
    tilt_N3: Tensor


def vertex_channels(bust: Bust, look: PersonLook, painted: Paint) -> Tensor:
    """(V, C): what :func:`material` reads of a person, for interpolation over triangles; ``painted`` by the look."""
    names = ("hair_V", "brow_V", "lashes_V", "stubble_V", "collar_mm_V", "open_V")
    head = torch.cat([painted.albedo_V3, torch.stack([getattr(painted, name) for name in names], 1)], 1)
    return torch.cat([head, F.pad(bust.wardrobe.strands(look), (0, head.shape[1] - 4))])


def frame_values(bust: Bust, head_FV3: Tensor) -> Tensor:
    """(F, Q): what :func:`material` reads of each frame: how far the lips are apart, mm."""
    return (head_FV3[:, bust.lips[0]] - head_FV3[:, bust.lips[1]]).norm(dim=1, keepdim=True)


def material(
    bust: Bust, look: PersonLook, rest_N3: Tensor, channels_NC: Tensor, part_N: Tensor, frame_NQ: Tensor
) -> Surface:
    """The surface at N samples of one person.

    ``rest_N3`` (of ``bust.rest_V3``) and ``channels_NC`` (of :func:`vertex_channels`) interpolated to the samples;
    ``part_N`` int64 the samples' parts (``bust.part_T`` of their triangles); ``frame_NQ`` the row of
    :func:`frame_values` of each sample's frame.
    """

    def is_part(*names: str) -> Tensor:
        return torch.isin(part_N, torch.tensor([BUST_PARTS.index(n) for n in names], device=part_N.device))

    eyes, mouth, teeth = is_part("sclera"), is_part("teeth", "gums_tongue", "mouth_socket"), is_part("teeth")
    worn = part_N >= len(PART_NAMES)
    skin = ~(eyes | mouth | worn)
    parts = [
        (skin, skin_surface(look, rest_N3[skin], channels_NC[skin])),
        (eyes, eye_surface(look, rest_N3[eyes], bust.regions.eyeball_mm)),
        (mouth, mouth_surface(look, rest_N3[mouth], teeth[mouth], frame_NQ[mouth, 0])),
    ]
    if bool(worn.any()):
        parts.append((worn, worn_surface(look, rest_N3[worn], channels_NC[worn], part_N[worn] - len(PART_NAMES))))
    return join(parts, len(rest_N3))


def skin_surface(look: PersonLook, rest_N3: Tensor, channels_N9: Tensor) -> Surface:
    """Skin with pores and freckles, and what grows or lies on it: brows, beard, hair, clothes."""
    lattice = look.lattice_LLL.to(rest_N3)
    albedo, (hair, brow, lashes, stubble, collar, reached) = channels_N9[:, :3], channels_N9[:, 3:].unbind(1)
    clothes = smoothstep(-collar, -0.4, 0.4)
    pores = value_noise(rest_N3 / 1.6, lattice)
    albedo = albedo * (1 + 0.05 * look.unevenness * pores)[:, None]
    hair_rgb = albedo.new_tensor(look.hair_rgb)

    def cover(amount_N: Tensor, rgb: Tensor, grain: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """Lay a colour over the skin where there is any of it; ``grain`` varies amount and colour by two factors."""
        there = (amount_N > 0).nonzero()[:, 0]
        if len(there):
            more, tone = grain(rest_N3[there])
            alpha = (amount_N[there] * more).clamp(0, 1)[:, None]
            albedo[there] += alpha * (rgb * tone[:, None] - albedo[there])

    def freckles(at: Tensor) -> tuple[Tensor, Tensor]:
        spots = smoothstep(value_noise(at / 1.8 + 1.7, lattice), 1.2, 2.0)
        return spots, torch.ones_like(spots)

    def bristles(at: Tensor) -> tuple[Tensor, Tensor]:
        noise = value_noise(at / 1.2 + 2.2, lattice)
        return 0.75 + 0.3 * noise, 0.8 * torch.ones_like(noise)

    def brow_hairs(at: Tensor) -> tuple[Tensor, Tensor]:
        noise = value_noise(at / at.new_tensor([1.2, 2.5, 2.0]), lattice)
        return 0.9 + 0.15 * noise, 0.5 * torch.ones_like(noise)

    def strands(at: Tensor) -> tuple[Tensor, Tensor]:
        noise = value_noise(at / 2.2 + 4.1, lattice)
        return 1 + 0.15 * noise, torch.exp(0.25 * noise)

    def weave(at: Tensor) -> tuple[Tensor, Tensor]:
        noise = value_noise(at / 14 + 6.6, lattice, octaves=2)
        # Some cloth has stripes.
        stripes = torch.sign(torch.sin(at[:, 1] / 5)) * (look.pattern > 0.6)
        return torch.ones_like(noise), torch.exp(0.08 * noise + 0.6 * look.pattern * stripes)

    if look.freckles:
        where = smoothstep(rest_N3[:, 2], 60, 105) * (rest_N3[:, 1] > -30)
        tan = skin_reflectance(*albedo.new_tensor([min(look.melanin + 0.25, 1), look.haemoglobin + 0.3]))
        cover(0.8 * look.freckles * where, tan, freckles)
    cover(stubble, hair_rgb, bristles)
    cover(brow, hair_rgb, brow_hairs)
    if look.moles:
        spot = (1 - smoothstep(value_noise(rest_N3 / 3.2 + 8.8, lattice), 2.75 - 0.25 * look.moles, 3.2)) < 0.6
        albedo[spot] *= 0.5
    cover(lashes, 0.3 * hair_rgb, brow_hairs)
    cover(hair, hair_rgb, strands)
    cover(clothes, albedo.new_tensor(look.clothes_rgb), weave)
    bare = (1 - hair) * (1 - clothes)
    return Surface(
        albedo_N3=albedo.clamp(0, 1),
        gloss_N=look.gloss * (0.8 * bare + 0.35 * hair),
        sharpness_N=14 + 10 * hair,
        wrap_N=bare * (1 - 0.5 * stubble),
        open_N=reached,
        cover_N=torch.maximum(hair, clothes),
        cloth_N=clothes,
        tilt_N3=_wrinkles(look, rest_N3),
    )


def _wrinkles(look: PersonLook, rest_N3: Tensor) -> Tensor:
    """(N, 3) tilt of the skin's normal: lines across the forehead and beside the eyes of older people."""
    tilt = torch.zeros_like(rest_N3)
    depth = 0.35 * max(0.0, look.age - 0.35) / 0.65
    if depth:
        x, y, z = rest_N3.unbind(1)
        wave = y + 0.02 * x.square() / 10 + 0.8 * torch.sin(x / 9 + 5 * look.unevenness)
        brow = smoothstep(y, 60, 68) * (1 - smoothstep(y, 88, 98)) * (1 - smoothstep(x.abs(), 30, 52)) * (z > 50)
        tilt[:, 1] = depth * brow * torch.cos(wave * (2 * torch.pi / 8.5))
        reach = torch.hypot(x.abs() - 44, y - 35)
        fan = torch.atan2(y - 35, x.abs() - 44)
        feet = smoothstep(reach, 3, 6) * (1 - smoothstep(reach, 12, 20)) * (fan.abs() < 0.9) * (z > 40)
        tilt[:, 1] += 0.8 * depth * feet * torch.cos(fan * 9)
    return tilt


def worn_surface(look: PersonLook, rest_N3: Tensor, strands_NC: Tensor, part_N: Tensor) -> Surface:
    """Hair, beard, hats, glasses, cloth, jewels: ``part_N`` is the index into the wardrobe's parts, ``strands_NC``
    starts with the wardrobe's strands."""
    grain = value_noise(strands_NC[:, :3], look.lattice_LLL.to(rest_N3), octaves=2)
    hairy = part_N <= WARDROBE_PARTS.index("beard")
    trim, frame = look.trim, look.glasses
    table = {
        "hair": (look.hair_rgb, 0.55 * look.hair.sheen, 26.0),
        "beard": (look.hair_rgb, 0.15, 12.0),
        "hat": (look.hat.rgb, 0.08, 8.0),
        "frame": (frame.rgb, 2.5 if frame.metal else 0.9, 60.0),
        "lens": (_LENS_RGB, 1.6, 300.0),
        "cloth": (trim.rgb, 0.08, 8.0),
        "jewel": (trim.earring_rgb, 3.0, 60.0),
    }
    rows = rest_N3.new_tensor([[*table[name][0], *table[name][1:]] for name in WARDROBE_PARTS])[part_N]
    contrast = torch.where(hairy, 0.28, torch.where(rows[:, 4] > 30, 0.0, 0.1))
    albedo = rows[:, :3] * torch.exp(contrast * grain)[:, None]
    # Strands tilt to either side of the surface, and break up its sheen.
    side = F.normalize(torch.stack([rest_N3[:, 2] + 12, torch.zeros_like(grain), -rest_N3[:, 0]], 1), dim=1)
    tilt = (0.22 * hairy * grain)[:, None] * side
    one = torch.ones_like(grain)
    return Surface(
        albedo.clamp(0, 1), rows[:, 3], rows[:, 4], 0 * one, strands_NC[:, 3].clamp(0, 1), one, 0 * one, tilt
    )


def eye_surface(look: PersonLook, rest_N3: Tensor, eyeballs_23: Tensor) -> Surface:
    """Eyeballs: iris and pupil around the axis of balls that look ahead at rest; :meth:`Bust.pose` turns them."""
    side = (rest_N3[:, 0] > 0).long()
    direction = F.normalize(rest_N3 - eyeballs_23[side], dim=1)
    ahead = rest_N3.new_tensor([0.0, 0.0, 1.0])
    cosine = direction[:, 2]
    radius = EYE_RADIUS_MM * torch.where(cosine > 0, (1 - cosine.square()).clamp_min(0).sqrt(), torch.ones_like(cosine))
    tangent = direction - cosine[:, None] * ahead
    lattice = look.lattice_LLL.to(rest_N3)
    fibres = value_noise(torch.cat([7 * F.normalize(tangent, dim=1)[:, :2], radius[:, None] / 3], 1), lattice)
    iris = rest_N3.new_tensor(look.iris_rgb) * torch.exp(0.3 * fibres)[:, None]
    limbus = smoothstep(radius / look.iris_radius_mm, 0.78, 1.0)
    iris = iris * (1 - 0.75 * limbus)[:, None]
    in_pupil = 1 - smoothstep(radius, look.pupil_radius_mm - 0.3, look.pupil_radius_mm + 0.3)
    iris = iris + in_pupil[:, None] * (0.004 - iris)
    in_iris = 1 - smoothstep(radius, look.iris_radius_mm - 0.35, look.iris_radius_mm + 0.35)
    # Blood vessels and the fold: redder towards the corners.
    corner = smoothstep(radius, 8, 14)[:, None]
    sclera = look.sclera * rest_N3.new_tensor(SCLERA_RGB) * torch.exp(-corner * rest_N3.new_tensor([0.25, 0.55, 0.55]))
    albedo = sclera + in_iris[:, None] * (iris - sclera)
    one = torch.ones_like(radius)
    # The lids shade the ball, most of all from above.
    height = rest_N3[:, 1] - eyeballs_23[side, 1]
    shade = 0.85 - 0.45 * smoothstep(height, -1, 5)
    return Surface(albedo, 1.2 * one, 220 * one, 0 * one, shade, 0 * one, 0 * one, torch.zeros_like(albedo))


def mouth_surface(look: PersonLook, rest_N3: Tensor, teeth_N: Tensor, lips_apart_mm_N: Tensor) -> Surface:
    """Teeth (``teeth_N`` bool), gums, tongue and throat: darker as the mouth closes and farther behind the lips."""
    albedo = torch.where(teeth_N[:, None], look.teeth * rest_N3.new_tensor(TEETH_RGB), rest_N3.new_tensor(GUMS_RGB))
    behind = (MOUTH_FRONT_MM - rest_N3[:, 2]).clamp_min(0)
    light = torch.exp(-behind / MOUTH_FALLOFF_MM) * (0.12 + 0.88 * (lips_apart_mm_N / OPEN_MOUTH_MM).clamp(0, 1))
    one = torch.ones_like(behind)
    return Surface(albedo, 0.5 * one, 40 * one, 0 * one, light, 0 * one, 0 * one, torch.zeros_like(albedo))


def join(parts: list[tuple[Tensor, Surface]], count: int) -> Surface:
    """One surface of ``count`` samples from surfaces of disjoint masks (count,) that cover it."""

    def collect(name: str) -> Tensor:
        first = getattr(parts[0][1], name)
        out = first.new_zeros(count, *first.shape[1:])
        for mask, surface in parts:
            out[mask] = getattr(surface, name)
        return out

    return Surface(*(collect(name) for name in Surface.__dataclass_fields__))


def concatenate(parts: list[Surface]) -> Surface:
    """One surface of the samples of all parts, in order."""
    return Surface(*(torch.cat([getattr(p, name) for p in parts]) for name in Surface.__dataclass_fields__))
