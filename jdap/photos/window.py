"""Which squares of a photo the model is shown: the heads that are found in it, or what the user says.

A window is (left, top, size) in pixels of the upright photo, fractions allowed, as in :mod:`jdap.faces.crop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jdap.choices import EVERY_FACE, LARGEST, REFUSE
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker
from jdap.faces.upright import quarters_to_upright
from jdap.photos.read import Photo, PhotoError

#: What is said of a photo that was turned by so many quarters anticlockwise.
TURNED: tuple[tuple[str, ...], ...] = (
    (),
    ("turned by 90 degrees anticlockwise: its face lay on its side",),
    ("turned by 180 degrees: its face stood on its head",),
    ("turned by 90 degrees clockwise: its face lay on its side",),
)
#: Anything smaller holds no face.
LEAST_PX = 16


@dataclass(frozen=True, eq=False)
class Windows:
    """What is to be looked at of a photo: ``windows_px`` (left, top, size) of ``photo``, which is the given one or was
    turned upright; how many ``faces`` were found (None: not looked for), and ``notes``."""

    photo: Photo
    windows_px: list[np.ndarray]
    faces: int | None
    notes: tuple[str, ...] = ()


#: A photo and its path → its windows; raises PhotoError where there are none.
Choose = Callable[[Photo, Path], Windows]


def by_faces(landmarker: Landmarker, several: str | int = LARGEST) -> Choose:
    """The heads that are found, each cropped as preparation crops.

    ``several`` is one of :data:`jdap.choices.SEVERAL`, or which face by its size, 1 for the largest. A photo whose
    faces lie on their side or stand on their head is turned upright first.
    """

    def choose(photo: Photo, path: Path) -> Windows:
        if min(photo.width, photo.height) < LEAST_PX:
            raise PhotoError(
                f"{path}: {photo.width} x {photo.height} pixels are too few for a face; give a larger picture, of "
                f"{LEAST_PX} pixels or more"
            )
        quarters = quarters_to_upright(landmarker, photo.rgb_HW3)
        photo = photo.turn(quarters) if quarters else photo
        faces = landmarker.find(photo.rgb_HW3)
        if not faces:
            raise PhotoError(f"{path}: no face is found; name the head's square with --box LEFT,TOP,SIZE")
        if isinstance(several, int) and several > len(faces):
            raise PhotoError(f"{path}: --several {several} asks for a face that is not there: {len(faces)} found")
        notes = TURNED[quarters]
        if len(faces) > 1:
            if several == REFUSE:
                raise PhotoError(
                    f"{path}: {len(faces)} faces; choose with --several {LARGEST}, {EVERY_FACE} or 1 … {len(faces)}, "
                    "or with --box"
                )
            if several == LARGEST:
                notes = (*notes, f"{len(faces)} faces, the largest taken")
        first = several - 1 if isinstance(several, int) else 0
        kept = faces if several == EVERY_FACE else faces[first : first + 1]
        points = [face.landmarks_px_N3[:FACE_LANDMARKS] for face in kept]
        windows = [crop.head_window(p, photo.width, photo.height) for p in points]
        return Windows(photo, windows, len(faces), notes)

    return choose


def by_box(left: float, top: float, size: float) -> Choose:
    """The same square of every photo; it may reach outside, its middle may not."""

    def choose(photo: Photo, path: Path) -> Windows:
        inside = 0 <= left + size / 2 <= photo.width and 0 <= top + size / 2 <= photo.height
        if size < LEAST_PX or not inside:
            raise PhotoError(
                f"{path}: --box {left:g},{top:g},{size:g} must be {LEAST_PX} pixels or more, with its middle in the "
                f"upright photo of {photo.width} x {photo.height}"
            )
        return Windows(photo, [np.array([left, top, size])], None)

    return choose


def whole(photo: Photo, path: Path) -> Windows:
    """The whole photo, which must be a square already."""
    if photo.width != photo.height or photo.width < LEAST_PX:
        raise PhotoError(
            f"{path}: {photo.width} x {photo.height} is no square of {LEAST_PX} pixels or more; leave out --no-crop, "
            "or name the head's square with --box LEFT,TOP,SIZE"
        )
    return Windows(photo, [np.array([0.0, 0.0, photo.width])], None)
