"""What is given with a photo: a mask of what to make anew, and a depth map.

Shapes: H x W pixels of the photo, S x S of a crop.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdap.depth import ENCODING, from_uint16
from jdap.photos.made import metadata_of, metadata_places
from jdap.photos.read import Photo, PhotoError, read_photo, read_steps
from jdap.pipelines.masks import fill_unknown


def read_mask(path: Path, photo: Photo) -> np.ndarray:
    """A mask picture of the photo's size (upright): (H, W) bool, True where it is lighter than middle grey.

    Raises :class:`PhotoError` for another size, or a mask that hides nothing.
    """
    mask = read_photo(path)
    if (mask.width, mask.height) != (photo.width, photo.height):
        raise PhotoError(
            f"{path}: the mask is {mask.width} x {mask.height}, the upright photo {photo.width} x {photo.height}; "
            "draw it on the photo"
        )
    hole = mask.rgb_HW3.astype(np.float32).mean(2) > 127.5
    if not hole.any():
        raise PhotoError(f"{path}: the mask has no white pixel; what is white is made anew")
    return hole


def crop_mask(mask_HW: np.ndarray, window_px: np.ndarray, size: int) -> np.ndarray:
    """A mask in a window (left, top, size): (S, S) bool, True where any of it falls into the crop's pixel.

    What of the window lies outside of the photo is masked where the photo's edge is.
    """
    left, top, side = (float(x) for x in window_px)
    height, width = mask_HW.shape
    # The pixels of the photo under each pixel of the crop, by their integral.
    edges = [
        np.clip(start + np.arange(size + 1) * side / size, 0, end) for start, end in ((left, width), (top, height))
    ]
    columns, rows = (
        (np.minimum(np.floor(e[:-1]), end - 1).astype(int), np.maximum(np.ceil(e[1:]), 1).astype(int))
        for e, end in zip(edges, (width, height), strict=True)
    )
    total = np.pad(mask_HW.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    low, high = (total[np.ix_(r, c)] for r, c in ((rows[0], columns[0]), (rows[1], columns[1])))
    return high - total[np.ix_(rows[0], columns[1])] - total[np.ix_(rows[1], columns[0])] + low > 0


def read_depth(path: Path, size: int) -> np.ndarray:
    """A depth map as a command writes it: (S, S) float32 in [-1, 1], no value = far.

    A map of a whole photo is cut to its window, which the metadata beside it tell that name it among ``depth.files``;
    others must be square. Raises :class:`PhotoError` for anything else.
    """
    value = read_steps(path, f"no 16-bit grey PNG; depth is encoded as {ENCODING}")
    depth = np.nan_to_num(from_uint16(value), nan=1.0)
    height, width = depth.shape
    window = _window(path)
    if window is None and width != height:
        beside = " or ".join(place.name for place in metadata_places(path)) or "file beside it"
        raise PhotoError(
            f"{path}: {width} x {height} is no square, and no {beside} tells its window; crop the map to a square"
        )
    left, top, side = (0.0, 0.0, float(width)) if window is None else window
    pad = int(np.ceil(max(0.0, -left, -top, left + side - width, top + side - height)))
    box = (left + pad, top + pad, left + side + pad, top + side + pad)
    padded = Image.fromarray(np.pad(depth, pad, constant_values=1.0).astype(np.float32))
    return np.asarray(padded.resize((size, size), Image.Resampling.BICUBIC, box=box)).clip(-1, 1)


def _window(path: Path) -> tuple[float, float, float] | None:
    beside = metadata_of(path)
    if beside is None:
        return None
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
        if path.name not in data["depth"].get("files", ()):
            return None
        left, top, side = (float(data["window_px"][key]) for key in ("left", "top", "size"))
        if not (all(map(math.isfinite, (left, top, side))) and side > 0):
            raise ValueError("its window is no square")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise PhotoError(f"{beside}: tells no window of {path.name} ({error}); crop the map to a square") from error
    return left, top, side


def filled(photo: Photo, hole_HW: np.ndarray) -> Photo:
    """The photo with the nearest kept pixel wherever it is hidden."""
    rgb = torch.from_numpy(photo.rgb_HW3).permute(2, 0, 1)[None]
    kept = fill_unknown(rgb, torch.from_numpy(~hole_HW)[None, None])
    return replace(photo, rgb_HW3=kept[0].permute(1, 2, 0).contiguous().numpy())
