"""Depth of a crop back in its photo, as files hold it, and a picture of it.

Shapes: S x S pixels of the crop, H x W of the photo.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from jdap.depth import ENCODING, NO_VALUE, to_uint16
from jdap.photos.read import Photo
from jdap.pipelines.grid import depth_picture
from jdap.pipelines.masks import paste_known

#: What the numbers mean, for metadata.
FRAME = {
    "kind": "affine-invariant, normalised",
    "encoding": ENCODING,
    "near": -1,
    "far": 1,
    "meaning": (
        "-1 and +1 are the 2 % and 98 % quantiles of z-depth over the face's skin, as the model sees it, larger = "
        "farther along the camera's axis; what is nearer or farther is clipped. Millimetres are "
        "z = scale * depth + shift with unknown scale > 0 and shift: scale is half of the face's depth range, shift "
        "its middle's distance. Two photos, or two faces of one, share neither."
    ),
}
UNCERTAINTY = {
    "encoding": "uint16; 0 = no value; uncertainty = (value - 1) / 65534",
    "meaning": (
        "the standard deviation of the ensemble's draws after alignment, in the unit of depth (whose range is 2): how "
        "far draws differ, not how far they are off together"
    ),
}
#: Longer side of the two halves of a preview.
PREVIEW_PX = 1024


def paste(depth_SS: np.ndarray, window_px: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int, int]:
    """Depth of the window (left, top, size) at the photo's resolution: (h, w) float32, and its first column and row.

    Bicubic (antialiased where the crop is finer than the photo), exact for fractional windows: the inverse of
    :func:`jdap.faces.crop.crop_frame`. Only pixels that lie in the window whole get a value; there may be none.
    """
    left, top, size = (float(x) for x in window_px)
    columns = max(0, int(np.ceil(left))), min(width, int(np.floor(left + size)))
    rows = max(0, int(np.ceil(top))), min(height, int(np.floor(top + size)))
    scale = len(depth_SS) / size
    box = ((columns[0] - left) * scale, (rows[0] - top) * scale, (columns[1] - left) * scale, (rows[1] - top) * scale)
    small = Image.fromarray(depth_SS.astype(np.float32))
    out = (columns[1] - columns[0], rows[1] - rows[0])
    if min(out) < 1:
        return np.zeros((0, 0), np.float32), 0, 0
    # Rounding may carry the box a hair over the edge, which Pillow refuses.
    limits = np.clip(box, 0, len(depth_SS))
    pasted = np.asarray(small.resize(out, Image.Resampling.BICUBIC, box=tuple(limits.tolist())))
    return pasted.clip(-1, 1), columns[0], rows[0]


def full_depth(depth_SS: np.ndarray, window_px: np.ndarray, photo: Photo) -> np.ndarray:
    """Encoded depth (H, W) uint16 of the whole photo: no value outside of the window and on transparent pixels."""
    pasted, left, top = paste(depth_SS, window_px, photo.width, photo.height)
    full = np.full((photo.height, photo.width), NO_VALUE, np.uint16)
    full[top : top + pasted.shape[0], left : left + pasted.shape[1]] = to_uint16(pasted)
    if photo.empty_HW is not None:
        full[photo.empty_HW] = NO_VALUE
    return full


def full_uncertainty(uncertainty_SS: np.ndarray, window_px: np.ndarray, photo: Photo) -> np.ndarray:
    """Uncertainty in [0, 1] as (H, W) uint16 of the whole photo, encoded as :data:`UNCERTAINTY` says."""
    # Depth's encoding is affine: the same values mean (value − 1) / 65534 of [0, 1].
    return full_depth(2 * uncertainty_SS.clip(0, 1) - 1, window_px, photo)


def full_rgb(rgb_SS3: np.ndarray, window_px: np.ndarray, photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """A window that was made in [-1, 1] on the photo: (H, W, 3) uint8, and the pixels (H, W) bool that it covers."""
    rgb, covered = photo.rgb_HW3.copy(), np.zeros(photo.rgb_HW3.shape[:2], dtype=bool)
    channels = [paste(rgb_SS3[..., k], window_px, photo.width, photo.height) for k in range(3)]
    (_, left, top), drawn = channels[0], np.stack([c[0] for c in channels], axis=-1)
    part = np.s_[top : top + drawn.shape[0], left : left + drawn.shape[1]]
    rgb[part], covered[part] = np.rint((drawn + 1) * 127.5).astype(np.uint8), True
    return rgb, covered


def preview(depth_SS: np.ndarray, window_px: np.ndarray, photo: Photo) -> Image.Image:
    """Photo with the window framed, and beside it the depth in colour (near bright) on the darkened photo."""
    scale = min(1.0, PREVIEW_PX / max(photo.width, photo.height))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    picture = Image.fromarray(photo.rgb_HW3).resize(size, Image.Resampling.LANCZOS)
    window = window_px * scale
    pasted, left, top = paste(depth_SS, window, *size)
    beside = np.asarray(picture.convert("L").convert("RGB")) // 3
    if pasted.size:  # of a small head in a huge photo no pixel may be left
        colour = depth_picture(torch.from_numpy(pasted.copy())[None, None])[0].permute(1, 2, 0)
        part = beside[top : top + pasted.shape[0], left : left + pasted.shape[1]]
        part[...] = ((colour + 1) * 127.5).round().byte().numpy()
    if photo.empty_HW is not None:
        empty = Image.fromarray(photo.empty_HW).resize(size, Image.Resampling.NEAREST)
        beside[np.asarray(empty)] = 0
    corner = window[:2]
    frame = [*corner, *(corner + window[2] - 1)]
    ImageDraw.Draw(picture).rectangle(frame, outline=(255, 255, 255), width=max(1, max(size) // 300))
    both = Image.new("RGB", (2 * size[0], size[1]))
    both.paste(picture, (0, 0))
    both.paste(Image.fromarray(beside), (size[0], 0))
    return both


def png(image: Image.Image | np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file; (H, W) uint16 becomes 16-bit grey."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format="PNG")
    return buffer.getvalue()


def on_photo(
    drawn_13SS: Tensor, window_px: np.ndarray, photo: Photo, hole_HW: np.ndarray, feather_px: float
) -> np.ndarray:
    """The photo (H, W, 3) uint8 with what was made in the mask; other pixels are its own.

    With a feather, those within that many pixels of the mask fade into what was made.
    """
    drawn_HW3, covered_HW = full_rgb(drawn_13SS[0].float().permute(1, 2, 0).cpu().numpy(), window_px, photo)
    kept = torch.from_numpy(~(hole_HW & covered_HW))[None, None]
    drawn, own = (torch.from_numpy(x).permute(2, 0, 1)[None].float() for x in (drawn_HW3, photo.rgb_HW3))
    return paste_known(drawn, own, kept, feather_px)[0].permute(1, 2, 0).round().byte().contiguous().numpy()
