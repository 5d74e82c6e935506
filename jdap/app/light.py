"""A visitor's photo in other light: the old light is found once, then every new one is a product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jdap.app.depth import Known
from jdap.app.limits import RefusedError
from jdap.app.models import Models
from jdap.io.files import write_whole
from jdap.light.lights import LightError
from jdap.light.ratio import relit
from jdap.light.sources import from_direction
from jdap.photos import paste
from jdap.photos.head import square
from jdap.photos.made import Made
from jdap.photos.relit import FADE_SHARE, on_photo
from jdap.pipelines.relight import Lit

#: The side at which light is found and shown; a lamp that is dragged is answered in an eighth of a second.
LIT_PX = 384
#: Stops brighter or darker at most.
MOST_STOPS = 2.0


@dataclass(frozen=True)
class Lamp:
    """Where a lamp stands (degrees to the picture's right and up), the ``even`` light beside it in [0, 1], and how
    many ``stops`` brighter than before the face gets."""

    azimuth_deg: float = -50.0
    elevation_deg: float = 20.0
    even: float = 0.3
    stops: float = 0.0


@dataclass(frozen=True, eq=False)
class InLight:
    """A face whose depth is ``known``, its square ``rgb_13SS`` in [-1, 1], and what light it has (``lit``)."""

    known: Known
    rgb_13SS: torch.Tensor
    lit: Lit


def find_light(models: Models, known: Known) -> InLight:
    """The light that is on the chosen face. Raises :class:`RefusedError` where it cannot be told."""
    rgb = square(known.seen.photo, known.seen.window_px, LIT_PX).to(models.portrait.device)
    depth = torch.from_numpy(known.depth_SS)[None, None].to(rgb)
    try:
        with models.lock:
            return InLight(known, rgb, models.relight.look(rgb, depth, FADE_SHARE))
    except LightError as error:
        raise RefusedError(f"The light on this face cannot be told: {error}.") from error


def shown(models: Models, face: InLight, lamp: Lamp) -> np.ndarray:
    """The face's square (S, S, 3) uint8 in the lamp's light."""
    made = relit((face.rgb_13SS + 1) / 2, _factor(models, face, lamp))
    return (made[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()


def write_relit(models: Models, face: InLight, lamp: Lamp, folder: Path) -> Path:
    """The whole photo in the lamp's light, at the size that it is worked on."""
    seen = face.known.seen
    made = on_photo(_factor(models, face, lamp)[0], seen.window_px, seen.photo)
    path = folder / Made.RELIT.of(seen.name, "png")
    write_whole(path, paste.png(made))
    return path


def checked(azimuth_deg: object, elevation_deg: object, even: float, stops: float) -> Lamp:
    """A lamp of numbers that come from a browser, brought into their ranges. Raises :class:`RefusedError`."""
    try:
        numbers = [float(x) for x in (azimuth_deg, elevation_deg, even, stops)]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise RefusedError("A lamp has a direction, in degrees.")
    azimuth, elevation, even, stops = numbers
    return Lamp(
        max(-180.0, min(180.0, azimuth)),
        max(-90.0, min(90.0, elevation)),
        max(0.0, min(1.0, even)),
        max(-MOST_STOPS, min(MOST_STOPS, stops)),
    )


def _factor(models: Models, face: InLight, lamp: Lamp) -> torch.Tensor:
    pipeline = models.relight
    light = from_direction(lamp.azimuth_deg, lamp.elevation_deg, 1.0, lamp.even).to(face.rgb_13SS)
    return pipeline.factor(face.lit, pipeline.aim(face.lit, light, 2.0**lamp.stops), LIT_PX)
