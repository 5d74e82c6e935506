"""One photo: its face, and what can be measured before anything is fitted.

Shapes: N landmarks, B blendshapes, S x S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.choices import SINGLE
from data_prep.clips.alike import Alike
from data_prep.clips.measures import FACE_GRID, appearance, colours_at, occluded, outside, picture_hash
from data_prep.clips.steps.people import MEASURABLE_PX
from data_prep.fit.fit import CHEEKS
from data_prep.fit.lens import photo_camera
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Face, Landmarker, face_box, face_width_px
from jdap.geometry import PinholeCamera
from jdap.photos.read import Photo, read_photo

#: A second face of this share of the widest one's width: nobody knows whose picture it is.
RIVAL = 0.8
#: Two pictures are one when their hashes differ by at most so many bits of 64 …
SAME_BITS = 6
#: … and their landmarks correlate so well, once both are in one place: they lie within a hundredth of the face's width.
SAME_SHAPE = 0.9995
#: Of two such pictures the one is taken whose face is wider by this factor, else the first.
WIDER = 1.05
#: Of the landmarks every eighth is enough for that.
SHAPE_STEP = 8


class NoPerson(Exception):
    """A picture of which no person can be had; the message says why, on one line."""


@dataclass(frozen=True, eq=False)
class Look:
    """A face in a picture, which is read again when it is drawn.

    * ``path``, and its ``number`` among the person's pictures
    * ``face``: landmarks in pixels of the upright picture
    * ``camera``: of the whole picture, by EXIF or a guess (the score ``lens_exif``)
    * ``window_px_3``: left, top, size of the crop
    * ``scores``: one number each, those of :mod:`data_prep.clips.quality` that need no fit
    * ``hash``: 8 bytes of :func:`data_prep.clips.measures.picture_hash`
    """

    path: Path
    number: int
    face: Face
    camera: PinholeCamera
    window_px_3: np.ndarray
    scores: dict[str, float]
    hash: bytes


@dataclass
class Taken:
    """A picture that was taken: its ``name``, ``number``, and how wide its face is, pixels."""

    name: str
    number: int
    face_px: float

    @classmethod
    def of(cls, found: Look) -> Taken:
        """What is to be known of a picture later."""
        return cls(found.path.name, found.number, float(face_width_px(found.face.landmarks_px_N3)))


class Duplicates:
    """Tells pictures that an earlier one of the same person shows already: coded anew, resized, or cut a little."""

    def __init__(self) -> None:
        self._alike, self._taken = Alike(SAME_BITS, SAME_SHAPE), list[Taken]()

    def of(self, found: Look) -> Taken | None:
        """The earlier picture, which stands for both; None for a new one, which is remembered."""
        points = found.face.landmarks_px_N3[:FACE_LANDMARKS:SHAPE_STEP, :2].astype(np.float64)
        shape, hashes = (points - points.mean(0)).ravel(), np.frombuffer(found.hash, np.uint64)
        same = self._alike.first(hashes, shape)
        if same is None:
            self._alike.add(hashes, shape)
            self._taken.append(Taken.of(found))
            return None
        return self._taken[same]


def look(path: Path, number: int, landmarker: Landmarker, faces: str) -> Look:
    """Find the face. Raises :class:`jdap.photos.read.PhotoError`, and :class:`NoPerson` where there is none, or several
    that may be meant; ``faces`` as :class:`data_prep.photos.settings.PhotoSettings` has it."""
    photo = read_photo(path)
    return _look(path, number, photo, faces_of(photo, landmarker, faces))


def faces_of(photo: Photo, landmarker: Landmarker, faces: str) -> list[Face]:
    """The faces of a photo, first the one that is meant; raises :class:`NoPerson` as :func:`look` does."""
    found = landmarker.find(photo.rgb_HW3)
    if not found:
        raise NoPerson("no face")
    widths = [float(face_width_px(face.landmarks_px_N3)) for face in found]
    if len(found) > 1 and (faces == SINGLE or widths[1] > RIVAL * widths[0]):
        others = "; --faces widest takes the first" if widths[1] <= RIVAL * widths[0] else ", none stands out"
        raise NoPerson(f"several faces: {', '.join(f'{w:.0f}' for w in widths)} px wide{others}")
    if widths[0] < MEASURABLE_PX:
        raise NoPerson(f"face too small to measure: {widths[0]:.0f} px, least {MEASURABLE_PX}")
    return found


def _look(path: Path, number: int, photo: Photo, found: list[Face]) -> Look:
    points = found[0].landmarks_px_N3
    across = float(np.linalg.norm(points[CHEEKS[0], :2] - points[CHEEKS[1], :2]))
    window = crop.head_window(points[:FACE_LANDMARKS], photo.width, photo.height)
    sharpness, brightness = appearance(photo.rgb_HW3, points)
    covered = _boxes(found[1:], window) / window[2] ** 2
    blinks = [found[0].blendshapes_B[found[0].names.index(f"eyeBlink{side}")] for side in ("Left", "Right")]
    scores = {
        "several": float(len(found) > 1),
        "crowded": min(1.0, covered),
        "sharpness": sharpness,
        "brightness": brightness,
        "eyes_open": 1 - float(np.mean(blinks)),
        "outside": float(outside(points[None], photo.width, photo.height)[0]),
        "occluded": float(occluded(colours_at(photo.rgb_HW3, points)[None])[0]),
        "padded": float(crop.padded_share(window[None], photo.width, photo.height)[0]),
    }
    camera, known = photo_camera(photo.width, photo.height, across, photo.focal_px)
    scores["lens_exif"] = float(known)
    small = crop.crop_frame(photo.rgb_HW3, window, FACE_GRID)
    return Look(path, number, found[0], camera, window, scores, picture_hash(small))


def _boxes(faces: list[Face], window_px: np.ndarray) -> float:
    """Pixels of a window (left, top, size) that lie in boxes of these faces."""
    left, top, size = window_px
    area = 0.0
    for face in faces:
        box = face_box(face.landmarks_px_N3)
        sides = np.minimum(box[2:], [left + size, top + size]) - np.maximum(box[:2], [left, top])
        area += float(sides.clip(0).prod())
    return area
