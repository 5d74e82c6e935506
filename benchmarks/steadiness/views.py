"""Views of one photo whose depth must agree: mirrored, cut otherwise, in other colours; and their depth brought back.

Shapes: H x W pixels of the photo, S x S of a view, V views.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.data.transforms import Colour, draw_colour, recoloured
from jdap.faces import crop

CHECK_MIRRORED, CHECK_SHIFTED, CHECK_ZOOMED, CHECK_GREY, CHECK_JITTERED = (
    "mirrored",
    "shifted",
    "zoomed",
    "grey",
    "jittered",
)
#: By how much of its side a window is moved, how much wider or narrower it is, and how strong other colours are
#: (:func:`jdap.data.transforms.draw_colour`).
SHIFTED_BY, ZOOMED_BY, JITTER_STRENGTH = 0.05, (0.9, 1.1), 0.2


@dataclass(frozen=True)
class PhotoView:
    """A way to look at a photo, for one ``check``: its window moved by ``shift`` (across, down) of its side and
    ``zoom`` times as wide; then mirrored."""

    check: str
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    mirrored: bool = False

    def window(self, window_px: np.ndarray) -> np.ndarray:
        """(3,) left, top, size of this view, where the photo as it is has ``window_px``."""
        left, top, side = window_px
        grown = (self.zoom - 1) * side / 2
        return np.array([left + self.shift[0] * side - grown, top + self.shift[1] * side - grown, side * self.zoom])

    def picture(self, rgb_HW3: np.ndarray, window_px: np.ndarray, size: int, seed: int) -> np.ndarray:
        """(S, S, 3) uint8; the ``seed`` is that of other colours."""
        cut = crop.crop_frame(rgb_HW3, self.window(window_px), size)
        if (colour := self._colour(seed)) is not None:
            rgb = recoloured(torch.tensor(cut).permute(2, 0, 1) / 255, colour)
            cut = (rgb * 255).round().byte().permute(1, 2, 0).numpy()
        return np.ascontiguousarray(cut[:, ::-1]) if self.mirrored else cut

    def back(self, depth_11SS: Tensor) -> tuple[Tensor, Tensor]:
        """Depth of this view at the pixels of the photo as it is, (1, 1, S, S), and which of them it shows, bool."""
        size = depth_11SS.shape[-1]
        side = -1 if self.mirrored else 1
        across, down = self.shift
        theta = torch.tensor(
            [[side / self.zoom, 0, -side * 2 * across / self.zoom], [0, 1 / self.zoom, -2 * down / self.zoom]]
        )
        grid = F.affine_grid(theta[None].to(depth_11SS), [1, 1, size, size], align_corners=False)
        seen = (grid.abs() <= 1).all(-1)[:, None]
        return F.grid_sample(depth_11SS, grid, padding_mode="border", align_corners=False), seen

    def _colour(self, seed: int) -> Colour | None:
        if self.check == CHECK_GREY:
            return Colour(saturation=0.0)
        return (
            draw_colour(JITTER_STRENGTH, torch.Generator().manual_seed(seed)) if self.check == CHECK_JITTERED else None
        )


#: The photo as it is, then what is compared with it.
VIEWS = (
    PhotoView("as it is"),
    PhotoView(CHECK_MIRRORED, mirrored=True),
    *(PhotoView(CHECK_SHIFTED, shift=(side * SHIFTED_BY, side * SHIFTED_BY)) for side in (-1, 1)),
    *(PhotoView(CHECK_ZOOMED, zoom=zoom) for zoom in ZOOMED_BY),
    PhotoView(CHECK_GREY),
    PhotoView(CHECK_JITTERED),
)


def colour_seed(seed: int, name: str) -> int:
    """The seed of a photo's other colours, by its name alone."""
    return zlib.crc32(f"{seed} {name}".encode(errors="surrogateescape"))
