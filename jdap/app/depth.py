"""The depth of a visitor's photo, found once for each face and used by all tabs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdap.app.models import Models
from jdap.app.photo import Seen, see
from jdap.faces.crop import crop_frame
from jdap.io.assets import SHIPPED_FOLDER
from jdap.io.files import write_whole
from jdap.photos import metadata, paste
from jdap.photos.head import depth_of
from jdap.photos.made import Made
from jdap.pipelines.grid import depth_picture
from jdap.pose.depth import head_in_photo

#: Draws that are averaged: they take a second, smooth the grain of a single one, and tell how sure it is.
ENSEMBLE = 8
#: Sampling steps of a draw.
DEPTH_STEPS = 1
#: The side of the pictures that are shown.
HEAD_PX = 512


@dataclass(frozen=True, eq=False)
class Known:
    """A photo that was ``seen``, with the normalised ``depth_SS`` of its face in [-1, 1] and its ``uncertainty_SS``, by
    a ``seed``; ``fitted``: whether a fitted head was bettered, None for weights that better none."""

    seen: Seen
    depth_SS: np.ndarray
    uncertainty_SS: np.ndarray
    seed: int
    fitted: bool | None = None


def know(models: Models, seen: Seen, seed: int = 0) -> Known:
    """Estimate the depth of the chosen face; the same photo and seed give the same depth."""
    with models.lock:
        head = None
        if models.betters_heads:
            head = head_in_photo(models.heads, seen.photo, seen.window_px, models.portrait.size_px)
        depth, uncertainty = depth_of(models.portrait, seen.photo, seen.window_px, DEPTH_STEPS, ENSEMBLE, seed, head)
    assert uncertainty is not None
    return Known(seen, depth, uncertainty, seed, None if not models.betters_heads else head is not None)


def warm(models: Models) -> None:
    """Do all once, so that the first visitor need not wait for what only a first call costs."""
    know(models, see(models, SHIPPED_FOLDER / "talk" / "portrait.png"))


def pair(known: Known) -> tuple[Image.Image, Image.Image]:
    """The face and its depth in colour (near is bright), squares of one size."""
    head = Image.fromarray(crop_frame(known.seen.photo.rgb_HW3, known.seen.window_px, HEAD_PX))
    small = Image.fromarray(known.depth_SS).resize((HEAD_PX, HEAD_PX), Image.Resampling.BICUBIC)
    colour = depth_picture(torch.from_numpy(np.array(small).clip(-1, 1))[None, None])[0].permute(1, 2, 0)
    return head, Image.fromarray(((colour.numpy() + 1) * 127.5).round().astype(np.uint8))


def write_depth(models: Models, known: Known, folder: Path) -> list[Path]:
    """Depth (16 bits), its uncertainty, a preview and the metadata, as ``jdap depth`` writes them; the paths in that
    order. The metadata tell the window, without which a map of a photo that is no square cannot be given to another
    command."""
    seen, name_of = known.seen, partial(Made.DEPTH.of, known.seen.name)
    files: dict[str, Image.Image | np.ndarray] = {
        name_of("png"): paste.full_depth(known.depth_SS, seen.window_px, seen.photo),
        name_of("uncertainty.png"): paste.full_uncertainty(known.uncertainty_SS, seen.window_px, seen.photo),
        name_of("preview.png"): paste.preview(known.depth_SS, seen.window_px, seen.photo),
    }
    for name, picture in files.items():
        write_whole(folder / name, paste.png(picture))
    how = metadata.made_by(models.portrait, models.weights, DEPTH_STEPS, known.seed, models.dtype) | {
        "ensemble": ENSEMBLE
    }
    said = metadata.where_from(seen.name, seen.photo, len(seen.windows_px), seen.window_px)
    said |= metadata.what_depth_means(seen.name, known.uncertainty_SS)
    if known.fitted is not None:
        said["head_fitted"] = known.fitted
    said |= {"made_by": how, "notes": list(seen.notes)}
    write_whole(folder / name_of("json"), metadata.as_json(said))
    return [folder / name for name in (*files, name_of("json"))]
