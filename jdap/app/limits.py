"""What a visitor may ask for, and how one is told that something cannot be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from jdap.photos.read import Photo, PhotoError, read_photo

#: Of one upload.
MOST_BYTES = 20 * 2**20
#: Of a photo; larger ones are not decoded.
MOST_PIXELS = 50_000_000
#: The longer side that photos are worked on at: what a visitor waits for, and what memory holds of each, is bounded.
WORKED_PX = 2048
#: Seconds of sound that are said.
MOST_SOUND_S = 8.0
#: Pictures that are decoded, by Pillow's names: photos, and nothing that another program would be run for.
KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "PPM")
#: Visitors whose photos are remembered, and how many may wait in the queue.
VISITORS, WAITING = 32, 16
#: Seconds for which files of visitors and what is known of their photos are kept, and between two sweeps.
KEPT_S, SWEPT_S = 1800.0, 60.0

NO_PHOTO = "Drop a photo first."
NO_HEADS = "Moving a face needs a head model, which cannot be had here."
NO_FIT = "No head could be fitted to this face. Please try another photo."


class RefusedError(ValueError):
    """What a visitor asked for cannot be done; the message is for them, in whole sentences."""


def read_upload(path: Path) -> Photo:
    """A visitor's photo, upright, its longer side :data:`WORKED_PX` at most. Raises :class:`RefusedError`."""
    check_bytes(path)
    try:
        photo = read_photo(path, MOST_PIXELS, KINDS)
    except PhotoError as error:
        raise RefusedError(f"This photo cannot be used: {without_path(error, path)}.") from error
    return shrunk(photo)


def check_bytes(path: Path) -> None:
    """Raises :class:`RefusedError` for a file that is empty or too large."""
    size = path.stat().st_size
    if size == 0:
        raise RefusedError("This file is empty. Please choose another one.")
    if size > MOST_BYTES:
        raise RefusedError(
            f"This file has {size / 2**20:.0f} MB; {MOST_BYTES / 2**20:.0f} MB are the most. Please make it smaller."
        )


def without_path(error: Exception, path: Path) -> str:
    """What an error says, without where the file lies on this machine."""
    return " ".join(str(error).removeprefix(f"{path}: ").replace(str(path), "the file").split())


def shrunk(photo: Photo, most_px: int = WORKED_PX) -> Photo:
    """The photo, or a smaller one whose longer side is ``most_px``."""
    longer = max(photo.width, photo.height)
    if longer <= most_px:
        return photo
    size = max(1, round(photo.width * most_px / longer)), max(1, round(photo.height * most_px / longer))
    rgb = np.asarray(Image.fromarray(photo.rgb_HW3).resize(size, Image.Resampling.LANCZOS))
    empty = photo.empty_HW
    if empty is not None:
        empty = np.asarray(Image.fromarray(empty).resize(size, Image.Resampling.NEAREST))
    focal_px = None if photo.focal_px is None else photo.focal_px * size[0] / photo.width
    notes = (*photo.notes, f"made smaller, to {size[0]} × {size[1]}")
    return replace(photo, rgb_HW3=rgb, empty_HW=empty, focal_px=focal_px, notes=notes)
