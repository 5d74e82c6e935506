"""A folder of photos with measured depth: ``index.json`` says which depth map belongs to which photo, and who it is.

``index.json`` is a list of ``{"photo": "a.jpg", "depth": "a.depth.png", "person": "anna"}``; paths are within the
folder, anything else in an entry is left alone. A depth map is a 16-bit grey PNG of the upright photo's size: larger =
farther along the camera's axis, 0 = not measured or not to be counted, in tenths of a millimetre or, where an entry
says so, in steps of ``mm_per_step``; or a HEIC file that has depth inside, which may be the photo's own. Depth counts
up to a scale and a shift, so neither origin nor unit need be exact.

Shapes: H x W pixels of the photo, S x S of a crop.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import BenchmarkError
from benchmarks.depth.heic import is_heic, read_heic_depth_mm, read_heic_photo
from jdap.depth import TENTHS_PER_MM
from jdap.photos.read import Photo, PhotoError, read_photo, read_steps

INDEX = "index.json"
#: Of a crop's pixel so much must be measured, or it has no depth.
MEASURED_SHARE = 0.5


@dataclass(frozen=True)
class Entry:
    """A photo of ``person``, called ``name`` in the index, and its depth map with so many ``mm_per_step``."""

    name: str
    photo: Path
    depth: Path
    person: str
    mm_per_step: float = 1 / TENTHS_PER_MM


def read_index(folder: Path) -> list[Entry]:
    """The entries of a folder, in order. Raises :class:`BenchmarkError` for an index that is missing or cannot be used;
    whether the files are there is not looked at."""
    path = folder / INDEX
    if not path.is_file():
        raise BenchmarkError(f"{path}: no such file; docs/benchmarks.md says what a folder of photos with depth holds")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = [_entry(folder, one) for one in found]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(
            f'{path}: no list of {{"photo": …, "depth": …, "person": …}} ({type(error).__name__}: {error})'
        ) from error
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BenchmarkError(f"{path}: {twice} is there twice; leave one of its entries out")
    if not entries:
        raise BenchmarkError(f"{path}: lists no photo")
    return entries


def _entry(folder: Path, one: dict) -> Entry:
    name, depth, person = (one[key] for key in ("photo", "depth", "person"))
    if not all(isinstance(text, str) and text for text in (name, depth, person)):
        raise ValueError(f"photo, depth and person must be names, got {one!r}")
    step = float(one.get("mm_per_step", 1 / TENTHS_PER_MM))
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"{name}: mm_per_step must be positive, got {step}")
    return Entry(name, folder / name, folder / depth, person, step)


def read_picture(entry: Entry) -> Photo:
    """The photo, upright. Raises :class:`jdap.photos.read.PhotoError`, and :class:`benchmarks.depth.heic.HeicError`."""
    return read_heic_photo(entry.photo) if is_heic(entry.photo) else read_photo(entry.photo)


def read_depth_mm(entry: Entry, width: int, height: int) -> np.ndarray:
    """(H, W) float32 mm from an origin of its own, 0 = no value.

    Raises :class:`jdap.photos.read.PhotoError` for a file that is missing, damaged, of another kind or another size,
    and :class:`benchmarks.depth.heic.HeicError`.
    """
    path = entry.depth
    if is_heic(path):
        return read_heic_depth_mm(path, width, height)
    steps = read_steps(path, "no 16-bit grey picture; save the depth map as 16-bit PNG")
    if steps.shape != (height, width):
        raise PhotoError(f"{path}: {steps.shape[1]} x {steps.shape[0]}, the upright photo is {width} x {height}")
    return steps.astype(np.float32) * np.float32(entry.mm_per_step)


def crop_depth(depth_mm_HW: np.ndarray, window_px: np.ndarray, size: int) -> np.ndarray:
    """Depth in a window (left, top, size): (S, S) float32, the mean over what is measured of each pixel's area.

    0 where less than :data:`MEASURED_SHARE` of it is measured; outside of the photo nothing is.
    """
    left, top, side = (float(x) for x in window_px)
    height, width = depth_mm_HW.shape
    pad = max(0, math.ceil(max(-left, -top, left + side - width, top + side - height)))
    padded = np.pad(depth_mm_HW, pad)
    box = (left + pad, top + pad, left + pad + side, top + pad + side)

    def mean(values_HW: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(values_HW).resize((size, size), Image.Resampling.BOX, box=box))

    # Less the middle, or float32 would round what is added up.
    measured = padded > 0
    middle = np.float32(np.median(depth_mm_HW[depth_mm_HW > 0])) if measured.any() else np.float32(0)
    share = mean(measured.astype(np.float32))
    total = mean(np.where(measured, padded - middle, np.float32(0)))
    enough = share >= MEASURED_SHARE
    return np.where(enough, total / np.maximum(share, MEASURED_SHARE) + middle, 0).astype(np.float32)
