"""A visitor's photo with another expression, its head turned: the photo's own texture, moved by geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jdap.app.depth import HEAD_PX
from jdap.app.limits import NO_FIT, NO_HEADS, RefusedError
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.faces.crop import crop_frame
from jdap.io.fetch import AssetError
from jdap.io.files import write_whole
from jdap.photos import paste
from jdap.photos.made import Made
from jdap.pose.change import TURNS, Change, PoseError, named, read_change
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.motion import Mover
from jdap.pose.photo import fit_photo
from jdap.pose.pipeline import MOTION_SIDE_PX
from jdap.pose.warp import drawn

#: What sliders change, by its name for the head model.
EXPRESSIONS = {
    "mouthSmile": "Smile",
    "jawOpen": "Mouth open",
    "mouthPucker": "Pursed lips",
    "browInnerUp": "Brows raised",
    "browDown": "Frown",
    "eyeBlink": "Eyes closed",
}
TURN_WORDS = {"yaw": "Turn left or right", "pitch": "Look down or up", "roll": "Tilt"}
#: A slider that was moved by less was not moved.
MOVED = 0.01


@dataclass(frozen=True, eq=False)
class Fitted:
    """A face that was ``seen``, the ``head`` fitted to it, ready to be moved; ``start`` is what its sliders say."""

    seen: Seen
    heads: Heads
    head: FittedHead
    mover: Mover
    start: Mapping[str, float]


def fit(models: Models, seen: Seen) -> Fitted:
    """Fit the head model to the chosen face. Raises :class:`RefusedError`, also where the model cannot be had."""
    try:
        with models.lock:
            heads = models.heads
            head = fit_photo(heads, seen.photo, seen.window_px)
    except AssetError as error:
        raise RefusedError(NO_HEADS) from error
    except PoseError as error:
        raise RefusedError(NO_FIT) from error
    shown = head.expression_E.clamp(0, 1)
    start = {
        name: float(np.mean([shown[heads.names.index(n)] for n in named(name, heads.names)])) for name in EXPRESSIONS
    }
    return Fitted(seen, heads, head, Mover(heads, head, MOTION_SIDE_PX), start | dict.fromkeys(TURNS, 0.0))


def change_of(fitted: Fitted, sliders: Mapping[str, float]) -> Change:
    """What sliders ask for: only those that were moved. Raises :class:`RefusedError` for what is out of range."""
    moved = [(name, float(value)) for name, value in sliders.items() if abs(value - fitted.start[name]) > MOVED]
    try:
        return read_change(moved, fitted.heads.names)
    except PoseError as error:
        raise RefusedError(f"{error}.") from error


def posed(fitted: Fitted, change: Change) -> tuple[np.ndarray, float]:
    """The whole photo (H, W, 3) uint8 with the change, and the share of the head that the photo does not show."""
    if not change.said():
        return fitted.seen.photo.rgb_HW3, 0.0
    motion = fitted.mover.to(fitted.heads.vertices(fitted.head, change))
    return drawn(fitted.seen.photo.rgb_HW3, fitted.seen.window_px, fitted.heads, motion), motion.unseen


def shown(fitted: Fitted, picture_HW3: np.ndarray) -> np.ndarray:
    """The face's square (S, S, 3) uint8 of a picture of the photo's size."""
    return crop_frame(picture_HW3, fitted.seen.window_px, HEAD_PX)


def write_posed(fitted: Fitted, change: Change, folder: Path) -> Path:
    """The whole photo with the change, as PNG."""
    path = folder / Made.POSED.of(fitted.seen.name, "png")
    write_whole(path, paste.png(posed(fitted, change)[0]))
    return path
