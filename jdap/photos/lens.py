"""The focal length of a photo by what its camera wrote into it (EXIF), as far as that can be believed."""

from __future__ import annotations

import math
import struct
from typing import Any

from PIL import ExifTags, Image

#: Diagonal of a film picture of 36 x 24 mm, to which equivalent focal lengths refer.
FILM_DIAGONAL_MM = 43.27
#: Focal lengths that lenses of people's photos have, mm on film: from a wide selfie to a long lens.
LEAST_FILM_MM, MOST_FILM_MM = 10.0, 400.0
#: Longer over shorter side of what cameras take. Other photos were cut, and nobody knows where. Squares are, too.
CAMERA_SHAPES = (4 / 3, 3 / 2, 16 / 9)
#: Sides may be off by so much of the shape: pixels of a coder's blocks.
SHAPE_MARGIN = 0.015
#: EXIF's units of a resolution in the focal plane → mm.
PLANE_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}


def exif_focal_px(exif: Image.Exif, width: int, height: int) -> float | None:
    """Focal length in pixels of a photo of ``width`` x ``height`` by its EXIF, in either orientation.

    From the focal length on film (``FocalLengthIn35mmFilm``, which holds a phone's digital zoom), or else from the
    lens's own and the pixels that a millimetre of the sensor has. None where EXIF says nothing, is damaged, gives what
    is no lens for people, or where the photo has not a camera's shape or another shape than the camera gave it: then
    it was cut. A photo that was cut to a camera's shape again is not noticed.
    """
    try:
        told = exif.get_ifd(ExifTags.IFD.Exif)
    # What Pillow's reader raises for damaged directories.
    except (OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        return None
    shape = max(width, height) / min(width, height)
    if not any(abs(shape / one - 1) <= SHAPE_MARGIN for one in CAMERA_SHAPES):
        return None
    taken = [_number(told.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    across = max(width, height)
    if min(taken) > 0:
        across = round(max(taken))
        if abs(max(taken) / min(taken) / shape - 1) > SHAPE_MARGIN:
            return None
    diagonal_px = math.hypot(width, height)
    film_mm = _number(told.get(ExifTags.Base.FocalLengthIn35mmFilm)) or _by_sensor(told) * (
        FILM_DIAGONAL_MM / diagonal_px * max(width, height) / across
    )
    return film_mm / FILM_DIAGONAL_MM * diagonal_px if LEAST_FILM_MM <= film_mm <= MOST_FILM_MM else None


def _by_sensor(told: dict[int, Any]) -> float:
    """Focal length in pixels of the picture as the camera took it, by the sensor's resolution; 0 where it is not told,
    or a digital zoom hides which of its pixels are meant."""
    unit_mm = PLANE_UNIT_MM.get(int(_number(told.get(ExifTags.Base.FocalPlaneResolutionUnit))), 0.0)
    resolution = _number(told.get(ExifTags.Base.FocalPlaneXResolution))
    if not unit_mm or not resolution or _number(told.get(ExifTags.Base.DigitalZoomRatio)) > 1:
        return 0.0
    return _number(told.get(ExifTags.Base.FocalLength)) * resolution / unit_mm


def _number(value: Any) -> float:
    """A positive finite number, or 0 for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0
