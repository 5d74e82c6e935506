"""Parts of a head by their names, as masks of a photo: eyes and mouth from landmarks, the rest from a parser.

Shapes: H x W pixels of the photo, S x S of the head's window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from jdap.choices import EYES, MOUTH, PARSED, SKIN
from jdap.faces.crop import crop_frame
from jdap.faces.landmarker import Landmarker
from jdap.faces.parsing import Parser
from jdap.photos.paste import paste
from jdap.photos.read import Photo, PhotoError

#: mediapipe's landmarks around each eye (the lids' outer folds, under the brows), and around the lips.
EYE_RINGS = (
    (226, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25),
    (446, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255),
)
MOUTH_RING = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
#: What is cut out by landmarks: skin is what a parser sees as such, without eyes and mouth.
BY_LANDMARKS = frozenset({EYES, MOUTH, SKIN})
RINGS = {EYES: EYE_RINGS, MOUTH: (MOUTH_RING,)}
#: Landmarks are looked for, and a parser is asked, in the window at so many pixels.
LOOK_PX = 512
#: A pixel belongs to a part from this share on.
LEAST_OF_PIXEL = 0.5


def mask_parts(
    photo: Photo, path: Path, window_px: np.ndarray, names: Iterable[str], parser: Parser, landmarker: Landmarker | None
) -> np.ndarray:
    """(H, W) bool: the union of parts (:data:`jdap.choices.HEAD_PARTS`) in a head's window (left, top, size).

    Those of :data:`BY_LANDMARKS` need a landmarker. Raises :class:`PhotoError` where they find no face, and where none
    of a part is there.
    """
    wanted = set(names)
    rings = dict[str, np.ndarray]()
    if wanted & BY_LANDMARKS:
        assert landmarker is not None, "these parts need a landmarker"
        rings = _rings(photo, path, window_px, landmarker)
    shares = _shares(photo, window_px, parser) if wanted & set(PARSED) else {}
    found = np.zeros((photo.height, photo.width), dtype=bool)
    for name in sorted(wanted):
        part = rings[name] if name in RINGS else shares[name] >= LEAST_OF_PIXEL
        if name == SKIN:
            part = part & ~rings[EYES] & ~rings[MOUTH]
        if not part.any():
            raise PhotoError(f"{path}: no {name} is found in the head's window; draw a mask, and give it by --mask")
        found |= part
    return found


def grown(mask_HW: np.ndarray, by_px: float) -> np.ndarray:
    """A mask and what lies within so many pixels of it."""
    if by_px == 0 or not mask_HW.any():
        return mask_HW
    return np.asarray(distance_transform_edt(~mask_HW) <= by_px)


def _rings(photo: Photo, path: Path, window_px: np.ndarray, landmarker: Landmarker) -> dict[str, np.ndarray]:
    """Eyes and mouth as masks (H, W)."""
    faces = landmarker.find(crop_frame(photo.rgb_HW3, window_px, LOOK_PX))
    if not faces:
        raise PhotoError(f"{path}: no face is found in the head's window; draw a mask, and give it by --mask")
    points = faces[0].landmarks_px_N3[:, :2].astype(np.float64) * (float(window_px[2]) / LOOK_PX) + window_px[:2]
    return {name: _polygons(photo, [points[list(ring)] for ring in rings]) for name, rings in RINGS.items()}


def _polygons(photo: Photo, rings_px: Sequence[np.ndarray]) -> np.ndarray:
    image = Image.new("1", (photo.width, photo.height))
    for ring in rings_px:
        ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in ring - 0.5], fill=1)
    return np.array(image)


def _shares(photo: Photo, window_px: np.ndarray, parser: Parser) -> dict[str, np.ndarray]:
    """Class → its share (H, W) at the photo's resolution, 0 outside of the window."""
    found = {}
    shares = parser.shares(crop_frame(photo.rgb_HW3, window_px, LOOK_PX)[None])[0]
    for name, share in zip(PARSED, shares, strict=True):
        pasted, left, top = paste(share, window_px, photo.width, photo.height)
        found[name] = np.zeros((photo.height, photo.width), np.float32)
        found[name][top : top + pasted.shape[0], left : left + pasted.shape[1]] = pasted
    return found
