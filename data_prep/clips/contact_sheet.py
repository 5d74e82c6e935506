"""Contact sheets: frame, landmarks, fitted mesh and depth of a few frames of a clip, for a person to look at.

Columns: the stored frame · mediapipe's landmarks (green) and the fitted model's points (red) · the fitted head, shaded,
over the frame, with believed skin in warm colours · depth, near is bright, over the skin's range.

Shapes: R rows (frames), S = size of the stored frames, N landmarks.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw

from data_prep.clips.quality import HELD, KEPT
from jdap.depth import FAR_QUANTILE, NEAR_QUANTILE
from jdap.geometry import normals_from_depth

CONTACT_TILE_PX, BAR = 256, 18
#: How the names of sheets end: JPEG takes two fifths of the bytes and a tenth of the time of PNG.
SHEET_END = ".jpg"
INDEXED = 2000
LANDMARK, MODEL = (60, 230, 90), (255, 60, 60)
WARM, COLD = np.array([1.0, 0.72, 0.45]), np.array([0.5, 0.65, 1.0])


@dataclass(eq=False)
class SheetFrame:
    """One frame of a sheet.

    * ``label``: text under it
    * ``rgb_SS3`` uint8, ``depth_mm_SS`` float32, ``skin_SS`` bool, ``camera_px_3`` (f, cx, cy)
    * ``landmarks_px_N2``, ``model_px_N2``: mediapipe's and the fitted model's landmarks, pixels of the frame
    """

    label: str
    rgb_SS3: np.ndarray
    depth_mm_SS: np.ndarray
    skin_SS: np.ndarray
    camera_px_3: np.ndarray
    landmarks_px_N2: np.ndarray
    model_px_N2: np.ndarray


def shrunk(row: SheetFrame) -> SheetFrame:
    """The row at a tile's size, if it is larger; it holds arrays of its own, so that a clip's frames can be let go."""
    size = row.rgb_SS3.shape[0]
    side = min(size, CONTACT_TILE_PX)
    zoom = side / size
    at = ((np.arange(side) + 0.5) / zoom).astype(int)
    return SheetFrame(
        row.label,
        np.asarray(Image.fromarray(row.rgb_SS3).resize((side, side), Image.Resampling.BOX)),
        row.depth_mm_SS[np.ix_(at, at)],
        row.skin_SS[np.ix_(at, at)],
        row.camera_px_3 * np.float32(zoom),
        row.landmarks_px_N2 * zoom,
        row.model_px_N2 * zoom,
    )


@dataclass(eq=False)
class Sheet:
    """A clip's sheet: a title and its rows."""

    title: str
    rows: list[SheetFrame] = field(default_factory=list)


def render_sheet(sheet: Sheet) -> bytes:
    """The sheet as a JPEG."""
    picture = Image.new("RGB", (4 * CONTACT_TILE_PX, BAR + len(sheet.rows) * (CONTACT_TILE_PX + BAR)), (20, 20, 24))
    draw = ImageDraw.Draw(picture)
    draw.text((4, 3), sheet.title, fill=(255, 255, 255))
    for i, row in enumerate(sheet.rows):
        top = BAR + i * (CONTACT_TILE_PX + BAR)
        tiles = (row.rgb_SS3, row.rgb_SS3, _overlay(row), _depth_colours(row))
        for j, tile in enumerate(tiles):
            picture.paste(
                Image.fromarray(tile).resize((CONTACT_TILE_PX, CONTACT_TILE_PX), Image.Resampling.BICUBIC),
                (j * CONTACT_TILE_PX, top),
            )
        scale = CONTACT_TILE_PX / row.rgb_SS3.shape[0]
        for points, colour in ((row.landmarks_px_N2, LANDMARK), (row.model_px_N2, MODEL)):
            for x, y in points * scale + [CONTACT_TILE_PX, top]:
                if CONTACT_TILE_PX <= x < 2 * CONTACT_TILE_PX and top <= y < top + CONTACT_TILE_PX:
                    draw.point((x, y), fill=colour)
        draw.text((4, top + CONTACT_TILE_PX + 3), row.label, fill=(200, 200, 200))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, subsampling=0)  # colours of single points stay
    return buffer.getvalue()


def write_index(path: Path, rows: Iterator[dict]) -> None:
    """A page with every clip of the manifest, status and reason, and its sheet, ``CLIP_ID.jpg``, where it was drawn.

    Beyond :data:`INDEXED` clips the page ends, for browsers do; the sheets are there all the same.
    """
    parts = ["<!doctype html><meta charset=utf-8><title>Contact sheets</title>"]
    parts.append("<style>body{background:#141418;color:#ddd;font:14px sans-serif}img{max-width:100%}</style>")
    for row in islice(rows, INDEXED):
        head = f"{row['clip_id']} · {row['status']} · {row['frames']} frames · {row['source']}"
        parts.append(f"<h3>{html.escape(head)}</h3><p>{html.escape(str(row['reason']))}</p>")
        if row["status"] in (KEPT, HELD):
            parts.append(f'<img loading=lazy src="{html.escape(str(row["clip_id"]))}{SHEET_END}">')
    if next(rows, None) is not None:
        parts.append(f"<p>Only the first {INDEXED} clips are shown. The others' sheets lie beside this page.</p>")
    path.write_bytes("\n".join(parts).encode(errors="replace"))


def _overlay(row: SheetFrame) -> np.ndarray:
    """The fitted head, lit from the camera, half transparent over the frame."""
    depth = torch.from_numpy(row.depth_mm_SS)[None, None]
    normals = normals_from_depth(depth, torch.from_numpy(row.camera_px_3)[None])[0]
    light = (-normals[2]).clamp(0, 1).numpy()
    colour = np.where(row.skin_SS[..., None], WARM, COLD) * (255 * light[..., None])
    seen = (light > 0)[..., None]
    return np.where(seen, 0.4 * row.rgb_SS3 + 0.6 * colour, row.rgb_SS3).clip(0, 255).astype(np.uint8)


def _depth_colours(row: SheetFrame) -> np.ndarray:
    has = row.depth_mm_SS > 0
    believed = row.depth_mm_SS[row.skin_SS & has]
    if not believed.size:
        return np.zeros_like(row.rgb_SS3)
    near, far = np.quantile(believed, [NEAR_QUANTILE, FAR_QUANTILE])
    shade = ((far - row.depth_mm_SS) / max(far - near, 1.0)).clip(0, 1)
    colours = matplotlib.colormaps["magma"](shade)[..., :3] * 255
    return np.where(has[..., None], colours, 0).astype(np.uint8)
