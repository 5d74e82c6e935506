"""Studio pictures made unlike each other and unlike the studio: what keeps a parser from learning its looks.

Each step takes and gives pictures (B, 3, S, S) in [0, 1], and labels (B, S, S) int64 where it changes them.
"""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from jdap.choices import BACKGROUND, CLOTH, HAIR, HAT, PARSED

MOST_TURN_DEG, MOST_ZOOM, MOST_MOVED = 22.0, 0.22, 0.12
#: Shares of the pictures that get another background, something before the face, grey, blur, JPEG …
BACKDROP, COVERED, GREY, BLURRED, CODED = 0.6, 0.35, 0.25, 0.5, 0.4
#: Fingers of a hand, and how long and thick they are as shares of the picture's side.
FINGERS, LONG, THICK = 4, (0.15, 0.4), (0.03, 0.06)


def augmented(rgb_BSS3: np.ndarray, label_BSS: np.ndarray, generator: Generator) -> tuple[Tensor, Tensor]:
    """Pictures and labels uint8 → pictures (B, 3, S, S) in [-1, 1] and labels (B, S, S) int64."""
    rgb = torch.from_numpy(rgb_BSS3).permute(0, 3, 1, 2).float() / 255
    label = torch.from_numpy(label_BSS).long()
    rgb = recoloured(rgb, label, generator)
    rgb, label = moved(rgb, label, generator)
    rgb = before_others(rgb, label, generator)
    rgb, label = covered(rgb, label, generator)
    rgb = taken(rgb, generator)
    return rgb * 2 - 1, label


def even(generator: Generator, *shape: int) -> Tensor:
    """Evenly distributed in [-1, 1]."""
    return 2 * torch.rand(shape, generator=generator) - 1


def chosen(generator: Generator, count: int, share: float) -> Tensor:
    """(B, 1, 1, 1) bool: a share of the pictures."""
    return (torch.rand(count, generator=generator) < share)[:, None, None, None]


def recoloured(rgb: Tensor, label: Tensor, generator: Generator) -> Tensor:
    """Hair, hats and cloth in other colours: those of the studio are not all that there are."""
    for name in (HAIR, HAT, CLOTH):
        gain = torch.exp(0.5 * even(generator, len(rgb), 1, 1, 1) + 0.25 * even(generator, len(rgb), 3, 1, 1))
        offset = 0.25 * torch.rand(len(rgb), 1, 1, 1, generator=generator) * chosen(generator, len(rgb), 0.3)
        where = (label == PARSED.index(name))[:, None] & chosen(generator, len(rgb), 0.5)
        rgb = torch.where(where, rgb * gain + offset, rgb)
    return rgb.clamp(0, 1)


def moved(rgb: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Turned, mirrored, nearer or farther, and out of the middle; what comes in repeats the edge."""
    count = len(rgb)
    turn = math.radians(MOST_TURN_DEG) * even(generator, count)
    zoom = torch.exp(MOST_ZOOM * even(generator, count))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    shift = 2 * MOST_MOVED * even(generator, count, 2)
    matrix = torch.stack([torch.stack([mirror * cos, -sin], 1), torch.stack([mirror * sin, cos], 1)], 1)
    grid = F.affine_grid(torch.cat([matrix, shift[:, :, None]], 2), list(rgb.shape), align_corners=False)
    seen = F.grid_sample(rgb, grid, padding_mode="border", align_corners=False)
    where = F.grid_sample(label[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return seen, where[:, 0].long()


def texture(generator: Generator, count: int, side: int) -> Tensor:
    """(B, 3, S, S) random patterns of several sizes about a random colour."""
    made = torch.rand(count, 3, 1, 1, generator=generator).expand(-1, -1, side, side)
    for cells in (2, 5, 12, 40):
        coarse = even(generator, count, 3, cells, cells)
        strength = 0.5 * torch.rand(count, 1, 1, 1, generator=generator) ** 2
        made = made + strength * F.interpolate(coarse, (side, side), mode="bilinear")
    return made.clamp(0, 1)


def before_others(rgb: Tensor, label: Tensor, generator: Generator) -> Tensor:
    """Some people before another background: a pattern, or the enlarged corner of another picture."""
    count, side = len(rgb), rgb.shape[-1]
    # Corners show little of a person.
    part = rgb.roll(1, 0)[..., : side // 3, : side // 3 + 1]
    enlarged = F.interpolate(part, (side, side), mode="bilinear")
    behind = torch.where(chosen(generator, count, 0.5), enlarged, texture(generator, count, side))
    share = (label == PARSED.index(BACKGROUND))[:, None].float()
    soft = F.avg_pool2d(F.pad(share, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(chosen(generator, count, BACKDROP), torch.lerp(rgb, behind, soft), rgb)


def covered(rgb: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Something before some faces, which is background to a parser: hands of skin, and things of any colour."""
    count, side = len(rgb), rgb.shape[-1]
    shape = hands(generator, count, side)
    own = (rgb * (label == 1)[:, None]).sum((2, 3)) / (label == 1).sum((1, 2)).clamp_min(1)[:, None]
    light = 1 + 0.35 * F.interpolate(even(generator, count, 1, 6, 6), (side, side), mode="bilinear")
    skin = own[:, :, None, None] * torch.exp(0.2 * even(generator, count, 3, 1, 1)) * light
    thing = torch.where(chosen(generator, count, 0.6), skin.clamp(0, 1), texture(generator, count, side))
    edge = F.max_pool2d(shape.float(), 3, 1, 1) - shape.float()
    thing = torch.where(shape & (F.max_pool2d(edge, 3, 1, 1) > 0), 0.7 * thing, thing)
    here = shape & chosen(generator, count, COVERED)
    return torch.where(here, thing, rgb), torch.where(here[:, 0], PARSED.index(BACKGROUND), label)


def hands(generator: Generator, count: int, side: int) -> Tensor:
    """(B, 1, S, S) bool: a palm with fingers beside each other, anywhere; or a single bar."""
    y, x = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    found = torch.zeros(count, side, side, dtype=torch.bool)
    at = 0.5 + 0.35 * even(generator, count, 2)
    angle = math.pi * even(generator, count)
    fingers = torch.where(torch.rand(count, generator=generator) < 0.7, FINGERS, 1)
    long, thick = (low + (high - low) * torch.rand(count, generator=generator) for low, high in (LONG, THICK))
    for k in range(FINGERS):
        off = (k - 1.5) * 2.0 * thick
        spread = angle + 0.12 * (k - 1.5) + 0.1 * even(generator, count)
        start = at + torch.stack([-angle.sin() * off, angle.cos() * off], 1)
        reach = long * (1 - 0.12 * abs(k - 1.2))
        bar = _bar(x, y, start, spread, reach, thick)
        found |= bar & (k < fingers)[:, None, None]
    palm = ((x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2).sqrt() < 4 * thick[:, None, None]
    return (found | (palm & (fingers > 1)[:, None, None]))[:, None]


def _bar(x: Tensor, y: Tensor, start_B2: Tensor, angle_B: Tensor, long_B: Tensor, thick_B: Tensor) -> Tensor:
    """(B, S, S) bool: within ``thick`` of the line from ``start`` on."""
    dx, dy = x - start_B2[:, 0, None, None], y - start_B2[:, 1, None, None]
    cos, sin = angle_B.cos()[:, None, None], angle_B.sin()[:, None, None]
    along = (dx * cos + dy * sin).clamp(min=0)
    along = torch.minimum(along, long_B[:, None, None])
    return (dx - along * cos) ** 2 + (dy - along * sin) ** 2 < thick_B[:, None, None] ** 2


def taken(rgb: Tensor, generator: Generator) -> Tensor:
    """By another camera: light, colours, grey, softness, noise, JPEG."""
    count, side = len(rgb), rgb.shape[-1]
    slope = F.interpolate(even(generator, count, 1, 2, 2), (side, side), mode="bilinear")
    rgb = rgb * torch.exp(0.4 * even(generator, count, 1, 1, 1) + 0.4 * slope)
    rgb = rgb * torch.exp(0.15 * even(generator, count, 3, 1, 1))
    grey = rgb.mean(1, keepdim=True)
    colourful = 1 + 0.6 * even(generator, count, 1, 1, 1)
    colourful = torch.where(chosen(generator, count, GREY), 0.0, colourful)
    rgb = grey + colourful * (rgb - grey)
    rgb = rgb.clamp(1e-3, 1) ** torch.exp(0.5 * even(generator, count, 1, 1, 1))
    rgb = 0.5 + (rgb - 0.5) * (1 + 0.35 * even(generator, count, 1, 1, 1)) + 0.1 * even(generator, count, 1, 1, 1)
    if float(torch.rand(1, generator=generator)) < BLURRED:  # all of a batch: resampling one by one costs more
        small = int(side * (0.3 + 0.6 * torch.rand(1, generator=generator)))
        rgb = F.interpolate(
            F.interpolate(rgb, (small, small), mode="bilinear", antialias=True), (side, side), mode="bilinear"
        )
    rgb = rgb + 0.06 * torch.rand(count, 1, 1, 1, generator=generator) ** 2 * torch.randn(
        rgb.shape, generator=generator
    )
    return coded(rgb.clamp(0, 1), generator)


def coded(rgb: Tensor, generator: Generator) -> Tensor:
    """Some of them through JPEG."""
    which = chosen(generator, len(rgb), CODED).flatten().nonzero().flatten().tolist()
    qualities = torch.randint(20, 90, (len(rgb),), generator=generator).tolist()
    for i in which:
        packed = io.BytesIO()
        Image.fromarray((rgb[i].permute(1, 2, 0) * 255).byte().numpy()).save(packed, "JPEG", quality=qualities[i])
        rgb[i] = torch.from_numpy(np.array(Image.open(packed))).permute(2, 0, 1).float() / 255
    return rgb
