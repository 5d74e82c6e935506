"""What is behind the head: flat colours, gradients, noise, blurred shapes, rooms and streets of rectangles, and
pictures of the user's own.

Shapes: H x W pixels of a coarse picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from jdap import srgb

BACKDROP_KINDS = ("flat", "gradient", "noise", "blobs", "room", "outdoors")
_P = (0.1, 0.15, 0.15, 0.2, 0.25, 0.15)
#: Sides of the coarse picture of smooth and of structured backgrounds, and of a user's picture, pixels.
SMOOTH, SHARP, OWN_PICTURE = 24, 96, 160
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class BackdropError(ValueError):
    """A folder or file of backgrounds that cannot be used."""


@dataclass(frozen=True, eq=False)
class Background:
    """``coarse_3HW`` linear RGB, blown up smoothly to any size."""

    coarse_3HW: Tensor

    def render(self, grid: int, device: torch.device | str) -> Tensor:
        """(grid, grid, 3) linear RGB, 0 or more."""
        picture = self.coarse_3HW[None].to(device)
        picture = F.interpolate(picture, (grid, grid), mode="bicubic", align_corners=True)
        return picture[0].permute(1, 2, 0).clamp_min(0)


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """The pictures of a folder, by name; :class:`BackdropError` when there are none, or one cannot be read."""
    try:
        paths = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES))
    except OSError as error:
        raise BackdropError(f"{folder} cannot be read: {error.strerror}; give a folder of pictures") from error
    if not paths:
        raise BackdropError(f"{folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
    for path in paths:
        _open(path)
    return paths


@lru_cache(maxsize=64)
def _open(path: Path) -> Image.Image:
    """A picture, at most 512 pixels on its short side."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise BackdropError(f"{path} cannot be read as a picture: remove it from the folder or repair it") from error
    scale = 512 / min(picture.size)
    if scale < 1:
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    return picture


def draw_background(rng: np.random.Generator, pictures: Sequence[Path] = ()) -> Background:
    """A random background; of ``pictures``, if there are any, a random crop half the time."""
    if pictures and rng.uniform() < 0.5:
        return Background(torch.from_numpy(_crop(rng, _open(pictures[int(rng.integers(len(pictures)))]))))
    kind = rng.choice(BACKDROP_KINDS, p=_P)
    if kind in ("room", "outdoors"):
        return Background(_soften(rng, _structured(rng, kind == "outdoors")))
    v, u = np.meshgrid(np.linspace(-1, 1, SMOOTH), np.linspace(-1, 1, SMOOTH), indexing="ij")
    base = _colour(rng)
    picture = np.broadcast_to(base[:, None, None], (3, SMOOTH, SMOOTH)).copy()
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * u + np.sin(angle) * v + 1.5) / 3
    if kind in ("gradient", "blobs"):
        other = base * np.exp(rng.normal(0, 0.5)) if rng.uniform() < 0.6 else _colour(rng)
        picture += (other - base)[:, None, None] * ramp
    if kind == "noise":
        picture *= _mottle(rng, SMOOTH, 0.35)
    if kind == "blobs":
        for _ in range(rng.integers(3, 10)):
            x, y = rng.uniform(-1.2, 1.2, 2)
            rx, ry = rng.uniform(0.1, 0.9, 2) * (1, rng.choice([1.0, 2.5]))
            inside = np.abs((u - x) / rx) ** 3 + np.abs((v - y) / ry) ** 3
            alpha = rng.uniform(0.3, 0.9) / (1 + np.exp(np.clip(6 * (inside - 1), -30, 30)))
            picture += alpha * (_colour(rng)[:, None, None] - picture)
    return Background(torch.tensor(picture, dtype=torch.float32))


def _structured(rng: np.random.Generator, outdoors: bool) -> np.ndarray:
    """(3, H, W): floor or ground, wall or sky, and frames, shelves, windows, trunks or houses before it, all lit by a
    gradient."""
    v, u = np.meshgrid(np.linspace(0, 1, SHARP), np.linspace(0, 1, SHARP), indexing="ij")
    horizon = rng.uniform(0.45, 0.95) + rng.normal(0, 0.06) * (u - 0.5)
    upper = _colour(rng, 0.15, 0.9) if not outdoors else np.array([0.35, 0.5, 0.8]) * rng.uniform(0.3, 1.6)
    lower = _colour(rng, 0.02, 0.4) if not outdoors else np.array([0.12, 0.16, 0.05]) * rng.uniform(0.3, 2, 3)
    picture = np.where(v < horizon, upper[:, None, None], lower[:, None, None])
    for _ in range(rng.integers(4, 16)):
        x, y = rng.uniform(-0.1, 1, 2)
        wide, high = np.exp(rng.uniform(np.log(0.03), np.log(0.5), 2))
        if rng.uniform() < 0.4:
            high = 2.0 if rng.uniform() < 0.6 else high
            y = 0.0 if high == 2.0 else y
        lean = rng.normal(0, 0.08)
        across, down = (u - x - lean * (v - y)) / wide, (v - y) / high
        box = (across > 0) & (across < 1) & (down > 0) & (down < 1)
        colour = _colour(rng)
        if rng.uniform() < 0.5:
            # A frame round something: a window, a picture, a shelf's board.
            inner = (np.abs(across - 0.5) < 0.42) & (np.abs(down - 0.5) < 0.42)
            picture = np.where(box & ~inner, colour[:, None, None], picture)
            picture = np.where(box & inner, _colour(rng)[:, None, None], picture)
        else:
            stripes = 1 + 0.35 * (rng.uniform() < 0.4) * np.sign(np.sin(across * rng.uniform(8, 60)))
            picture = np.where(box, colour[:, None, None] * stripes, picture)
    if outdoors:
        leaves = _mottle(rng, SHARP, 0.9, (12, 24, 48))
        picture = np.where(v + 0.05 * np.log(leaves[:1]) > horizon - rng.uniform(0, 0.4), picture * leaves, picture)
    light = np.exp(rng.normal(0, 0.5) * (u - 0.5) + rng.normal(0, 0.5) * (v - 0.5))
    return np.asarray(picture * light * _mottle(rng, SHARP, 0.06, (8, 32, 96)))


def _mottle(rng: np.random.Generator, side: int, strength: float, cells: tuple[int, ...] = (3, 6, 12)) -> np.ndarray:
    """(3, H, W) factors round 1, mostly of one colour: brightness varies more than hue."""
    total = np.zeros((3, side, side))
    for count in cells:
        coarse = torch.from_numpy(rng.normal(0, strength * cells[0] / count, (1, 3, count, count)))
        coarse = 0.3 * coarse + 0.7 * coarse.mean(1, keepdim=True)
        total += F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[0].numpy()
    return np.asarray(np.exp(total))


def _soften(rng: np.random.Generator, picture_3HW: np.ndarray) -> Tensor:
    """Out of focus, by anything from nothing to a wide aperture."""
    picture = torch.tensor(picture_3HW, dtype=torch.float32)[None]
    reach = int(rng.uniform() ** 1.5 * 8)
    for _ in range(2):
        picture = F.avg_pool2d(F.pad(picture, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
    return picture[0]


def _crop(rng: np.random.Generator, image: Image.Image) -> np.ndarray:
    """(3, H, W) float32 linear RGB: a random square of a third to the whole of a picture, perhaps mirrored."""
    side = rng.uniform(0.33, 1) * min(image.size)
    left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
    square = image.resize(
        (OWN_PICTURE, OWN_PICTURE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    linear = srgb.to_linear(torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)).numpy()
    linear = linear[:, ::-1] if rng.uniform() < 0.5 else linear
    return np.ascontiguousarray(linear.transpose(2, 0, 1) * np.exp(rng.normal(0, 0.3)), dtype=np.float32)


def _colour(rng: np.random.Generator, low: float = 0.01, high: float = 0.9) -> np.ndarray:
    grey = np.exp(rng.uniform(np.log(low), np.log(high)))
    return np.asarray(grey * np.exp(rng.normal(0, 0.35 * rng.uniform() ** 2, 3)))
