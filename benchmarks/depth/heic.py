"""Photos in HEIC, and the depth that phones keep inside of them (the one file that imports pillow-heif, an extra).

A phone's depth is what it estimated from two lenses, or measured by a projector for selfies: smaller than the photo,
often of 8 bits, and smooth. Nearness is stored (the inverse of z, or disparity, which is that up to a factor); its ends
tell which depth is meant, up to a scale.

Shapes: H x W pixels of the upright photo.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from jdap.photos.folder import UNREAD
from jdap.photos.read import Photo, PhotoError, upright_photo

T = TypeVar("T")
#: Representations of depth by HEVC (SEI 177) whose values are evenly spread over nearness → names of far and near end.
INVERSE_Z_KIND, DISPARITY_KIND = 0, 1
#: Photo and depth may differ so much in shape: whole pixels of the smaller one.
SHAPE_TOLERANCE = 0.02
MM_PER_M = 1000.0


class HeicError(ImportError):
    """The package that reads HEIC is not installed; the message says how to get it."""


def is_heic(path: Path) -> bool:
    """Whether a file is called as photos in HEIC are."""
    return path.suffix.lower() in UNREAD


def read_heic_photo(path: Path) -> Photo:
    """The photo of a HEIC file, upright. Raises :class:`jdap.photos.read.PhotoError`, and :class:`HeicError`."""
    file = _open(path)
    return upright_photo(path, _decoded(path, file.to_pillow))


def read_heic_depth_mm(path: Path, width: int, height: int) -> np.ndarray:
    """(H, W) float32 depth in mm up to a scale, 0 = no value: that of the file's first depth image, its nearest pixel.

    Raises :class:`HeicError`, and :class:`jdap.photos.read.PhotoError` for a file that is missing, damaged, without
    depth, or whose depth has another shape or does not say which nearness its values mean.
    """
    images = _open(path).info.get("depth_images") or []
    if not images:
        raise PhotoError(f"{path}: holds no depth image; name a 16-bit PNG as depth, or leave the photo out")
    share_HW = _share(path, images[0])
    high, wide = share_HW.shape
    if abs(wide * height / (high * width) - 1) > SHAPE_TOLERANCE:
        raise PhotoError(f"{path}: its depth is {wide} x {high}, the upright photo {width} x {height}: another shape")
    far, near = _ends(path, images[0].info.get("metadata") or {})
    nearness_HW = far + share_HW * (near - far)
    depth_HW = np.where(nearness_HW > 0, MM_PER_M / np.maximum(nearness_HW, 1e-9), 0).astype(np.float32)
    return np.asarray(Image.fromarray(depth_HW).resize((width, height), Image.Resampling.NEAREST))


def _share(path: Path, image: Any) -> np.ndarray:
    """The values of a depth image as shares of the largest that there can be, (h, w) float64 in [0, 1]."""
    values = np.asarray(_decoded(path, image.to_pillow))
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"{path}: its depth has {values.ndim} axes of {values.dtype}, not grey; leave the photo out")
    return values / np.iinfo(values.dtype).max


def _ends(path: Path, told: dict[str, Any]) -> tuple[float, float]:
    """Nearness (1 over metres, or in proportion to it) of the smallest and of the largest value."""
    kind = told.get("representation_type")
    far, near = _number(told.get("d_min")), _number(told.get("d_max"))
    if kind == INVERSE_Z_KIND:
        far, near = 1 / _number(told.get("z_far")), 1 / _number(told.get("z_near"))
    if kind not in (INVERSE_Z_KIND, DISPARITY_KIND) or not far < near:
        raise PhotoError(
            f"{path}: its depth does not say which nearness its values mean (representation {kind}, {told}); name a "
            "16-bit PNG as depth, or leave the photo out"
        )
    return far, near


def _number(value: float | None) -> float:
    """NaN where nothing, or 0, of which no nearness follows, is told."""
    return float(value or "nan")


def _open(path: Path) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise HeicError(f"{path}: HEIC needs pillow-heif ({error}): pip install 'jdap[heic]'") from error
    if not path.is_file():
        raise PhotoError(f"{path}: no such file")
    return _decoded(path, lambda: pillow_heif.open_heif(path))


def _decoded(path: Path, decode: Callable[[], T]) -> T:
    """What ``decode`` gives. Raises :class:`jdap.photos.read.PhotoError` for what libheif says of damaged files."""
    try:
        return decode()
    except (OSError, ValueError, RuntimeError, SyntaxError, EOFError) as error:
        raise PhotoError(f"{path}: damaged, cannot be read: {error}") from error
