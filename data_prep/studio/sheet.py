"""A contact sheet of studio samples: a picture of each person, with its depth small in a corner.

Depth is bright where near, over the skin's range as :mod:`jdap.depth` normalises it; what is not skin is tinted blue.

Shapes: S x S pixels.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdap import depth
from jdap.io.files import write_whole
from jdap.shards.sample import Sample

PEOPLE, PEOPLE_ACROSS = 100, 10
#: Larger pictures are shrunk to this many pixels; the depth's side as a share of the picture's.
SHEET_TILE_PX, INSET = 128, 0.3
_TINT = np.array([0.45, 0.6, 1.0])


class ContactSheet:
    """Collects the first samples that are added."""

    def __init__(self) -> None:
        self._tiles: list[np.ndarray] = []

    def add(self, sample: Sample) -> None:
        """Add a sample; beyond :data:`PEOPLE` samples nothing happens."""
        if len(self._tiles) < PEOPLE:
            picture = Image.fromarray(sample.rgb_FHW3[0])
            if picture.width > SHEET_TILE_PX:
                picture = picture.resize((SHEET_TILE_PX, SHEET_TILE_PX), Image.Resampling.BOX)
            tile = np.array(picture)
            drawn = Image.fromarray(_depth_picture(sample.depth_mm_FHW[0], sample.skin_FHW[0]))
            side = round(INSET * len(tile))
            tile[-side:, -side:] = np.asarray(drawn.resize((side, side), Image.Resampling.BOX))
            self._tiles.append(tile)

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG. Raises ValueError when there is nothing on it."""
        if not self._tiles:
            raise ValueError("a contact sheet needs at least one sample")
        blank = np.zeros_like(self._tiles[0])
        across = min(PEOPLE_ACROSS, len(self._tiles))
        tiles = self._tiles + [blank] * (-len(self._tiles) % across)
        rows = [np.concatenate(tiles[i : i + across], 1) for i in range(0, len(tiles), across)]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(buffer, "PNG", optimize=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())


def _depth_picture(depth_mm_SS: np.ndarray, skin_SS: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8."""
    depth_mm, skin = torch.from_numpy(depth_mm_SS)[None, None], torch.from_numpy(skin_SS)[None, None]
    near = (1 - depth.normalise(depth_mm, depth.skin_range_mm(depth_mm, skin)))[0, 0].numpy() / 2
    grey = np.where(depth_mm_SS > 0, 0.12 + 0.88 * near, 0)  # never black where there is something
    return (255 * grey[..., None] * np.where(skin_SS[..., None], 1, _TINT)).astype(np.uint8)
