"""A visitor's photo: the faces in it, and the one that is worked on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jdap.app.limits import RefusedError, read_upload
from jdap.app.models import Models
from jdap.choices import EVERY_FACE
from jdap.photos.read import Photo, PhotoError
from jdap.photos.window import by_faces

#: The longer side of the photo as it is shown.
PHOTO_PX = 640


@dataclass(frozen=True, eq=False)
class Seen:
    """A ``photo`` with the ``windows_px`` (left, top, size) of its faces, the largest first, and the ``face`` chosen;
    ``name`` is that of the file, ``notes`` are for its owner."""

    photo: Photo
    windows_px: list[np.ndarray]
    name: str
    notes: tuple[str, ...] = ()
    face: int = 0

    @property
    def window_px(self) -> np.ndarray:
        """The chosen face's window."""
        return self.windows_px[self.face]

    def choose(self, face: int) -> Seen:
        """The same photo with another face."""
        return replace(self, face=min(max(face, 0), len(self.windows_px) - 1))


def see(models: Models, path: Path) -> Seen:
    """Read a photo and find its faces. Raises :class:`RefusedError` for what is no photo, and without a face."""
    photo = read_upload(path)
    try:
        with models.lock:
            chosen = by_faces(models.landmarker, EVERY_FACE)(photo, path)
    except PhotoError as error:
        raise RefusedError(
            "No face was found in this photo. Please try one in which the face is larger and looks towards the camera."
        ) from error
    return Seen(chosen.photo, chosen.windows_px, path.stem, (*photo.notes, *chosen.notes))


def framed(seen: Seen) -> Image.Image:
    """The photo with a frame around each face, the chosen one's bright, numbered where there are several."""
    scale = min(1.0, PHOTO_PX / max(seen.photo.width, seen.photo.height))
    size = max(1, round(seen.photo.width * scale)), max(1, round(seen.photo.height * scale))
    picture = Image.fromarray(seen.photo.rgb_HW3).resize(size, Image.Resampling.LANCZOS)
    draw, line = ImageDraw.Draw(picture), max(1, max(size) // 200)
    for k, window_px in enumerate(seen.windows_px):
        left, top, side = (window_px * scale).tolist()
        colour = (255, 255, 255) if k == seen.face else (150, 150, 150)
        draw.rectangle((left, top, left + side - 1, top + side - 1), outline=colour, width=line)
        if len(seen.windows_px) > 1:
            draw.text((max(left, 0) + 2 * line, max(top, 0) + line), str(k + 1), fill=colour, font_size=max(size) // 16)
    return picture


def told(seen: Seen) -> str:
    """A line for the photo's owner."""
    count = len(seen.windows_px)
    found = "One face found" if count == 1 else f"{count} faces found, face {seen.face + 1} is taken"
    return "; ".join([found, *seen.notes]) + "."
