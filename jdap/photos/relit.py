"""New light on a photo: a ratio that was found on a square of it, at the photo's own resolution.

Shapes: S x S pixels of the square, H x W of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jdap.faces.crop import crop_frame
from jdap.light.lights import Light, LightError
from jdap.light.ratio import MOST, relit
from jdap.light.sources import from_panorama
from jdap.photos.paste import paste
from jdap.photos.read import Photo, PhotoError, read_photo
from jdap.srgb import to_linear

#: The head's window is worked on at so many pixels; the new light fades in over this share of it at its edges.
WINDOW_SIDE_PX, FADE_SHARE = 512, 0.12
#: Panoramas are read at this width: light of second order is smoother than that.
PANORAMA_PX = 512


def on_photo(ratio_3SS: Tensor, square_px: np.ndarray, photo: Photo) -> np.ndarray:
    """The photo (H, W, 3) uint8, multiplied in linear light by a ratio on a square (left, top, size) of it.

    What lies outside of the square, or has ratio 1, keeps its pixels to the bit.
    """
    logs = (ratio_3SS.float().cpu().log() / math.log(MOST)).clamp(-1, 1).numpy()
    channels = [paste(channel, square_px, photo.width, photo.height) for channel in logs]
    part = np.stack([c[0] for c in channels])
    rows, columns = (slice(start, start + size) for start, size in zip(channels[0][:0:-1], part.shape[1:], strict=True))
    own = photo.rgb_HW3[rows, columns]
    factor = torch.from_numpy(np.exp(part * math.log(MOST)))
    lit = relit(torch.from_numpy(own).permute(2, 0, 1)[None].float() / 255, factor[None])[0].permute(1, 2, 0)
    pixels = np.rint(lit.numpy() * 255).astype(np.uint8)
    made = photo.rgb_HW3.copy()
    made[rows, columns] = np.where((np.abs(part) < 1e-4).all(0)[..., None], own, pixels)
    return made


def read_panorama(path: Path, turn_deg: float = 0.0) -> Light:
    """The light of an equirectangular picture, twice as wide as high, sRGB. Raises :class:`PhotoError` naming it."""
    photo = read_photo(path)
    if photo.width != 2 * photo.height:
        raise PhotoError(
            f"{path}: {photo.width} x {photo.height} is no panorama (equirectangular, twice as wide as high)"
        )
    image = Image.fromarray(photo.rgb_HW3)
    if photo.width > PANORAMA_PX:
        image = image.resize((PANORAMA_PX, PANORAMA_PX // 2), Image.Resampling.BOX)
    try:
        return from_panorama(to_linear(torch.from_numpy(np.array(image)).float() / 255), turn_deg)
    except LightError as error:
        raise PhotoError(f"{path}: {error}") from error


def sheet(pictures: Sequence[np.ndarray], square_px: np.ndarray) -> Image.Image:
    """The same square of a photo and of others of its size, side by side."""
    side = min(WINDOW_SIDE_PX, max(1, round(float(square_px[2]))))
    row = [crop_frame(picture, square_px, side) for picture in pictures]
    return Image.fromarray(np.concatenate(row, axis=1))


def describe(light: Light) -> dict[str, object]:
    """The light of one picture, for metadata: where most of it comes from, and its numbers."""
    x, y, z = light.direction()[0].tolist()
    return {
        "azimuth_deg": round(math.degrees(math.atan2(x, -z)), 1),
        "elevation_deg": round(math.degrees(math.asin(max(-1.0, min(1.0, -y)))), 1),
        "harmonics": [[round(c, 5) for c in row] for row in light.all_harmonics()[0].tolist()],
        "meaning": (
            "irradiance times the skin's albedo, linear RGB, of 1, y, z, x, xy, yz, 3z²−1, xz, x²−y² of the normal "
            "(x right, y down, z forward); azimuth 0 is at the camera, 90 to the picture's right"
        ),
    }
