"""Changed heads on photos at their own resolution, and performances as videos.

Shapes: H x W pixels of the photo, E expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jdap.faces.crop import crop_frame
from jdap.geometry import PinholeCamera
from jdap.media.frames import VIDEOS, read_frames
from jdap.media.video import VideoWriter
from jdap.photos import paste
from jdap.photos.read import Photo, PhotoError, read_photo
from jdap.photos.window import Choose
from jdap.pipelines.relight import RelightPipeline
from jdap.pose.change import Change, PoseError, read_change, there_and_back
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.motion import Motion, Mover
from jdap.pose.pipeline import MOTION_SIDE_PX, PosePipeline, soft_region
from jdap.pose.warp import drawn
from jdap.units import FPS

#: What is taken of another head.
EXPRESSION, BOTH = "expression", "both"


class Moment(NamedTuple):
    """``expression_E``, or None: as in the photo; ``turn_33`` in the axes of the head's sight; or, of a photo, the
    whole pose ``seen_33`` of its head (:attr:`jdap.pose.heads.FittedHead.seen_33`)."""

    expression_E: Tensor | None
    turn_33: Tensor
    seen_33: Tensor | None = None


class Performance(NamedTuple):
    """``moments`` at ``fps``, or a single one (0); ``notes`` for its owner."""

    moments: list[Moment]
    fps: float = 0.0
    notes: tuple[str, ...] = ()


STILL = Performance([Moment(None, torch.eye(3))])


def fit_photo(heads: Heads, photo: Photo, window_px: np.ndarray, *, corrected: bool = True) -> FittedHead:
    """The head in a window (left, top, side) of a photo, by the lens that its EXIF tells, if any; ``corrected`` as in
    :meth:`jdap.pose.heads.Heads.fit`.

    Raises :class:`jdap.pose.change.PoseError` where there is no face.
    """
    camera = None
    if photo.focal_px is not None:
        whole = PinholeCamera(photo.focal_px, photo.width / 2, photo.height / 2, photo.width, photo.height)
        left, top, side = window_px.tolist()
        camera = whole.crop(left, top, side, MOTION_SIDE_PX)
    return heads.fit(crop_frame(photo.rgb_HW3, window_px, MOTION_SIDE_PX), camera, corrected=corrected)


def read_performance(path: Path, heads: Heads, choose: Choose, take: str) -> Performance:
    """The expression of the face in a photo or a video, and with ``take`` both its pose.

    A photo's pose is taken as it is; of a video the turns since its first frame. Raises
    :class:`jdap.photos.read.PhotoError` where no face is found.
    """
    try:
        if path.suffix.lower() not in VIDEOS:
            photo = read_photo(path)
            chosen = choose(photo, path)
            other = fit_photo(heads, chosen.photo, chosen.windows_px[0])
            pose = other.seen_33 if take == BOTH else None
            return Performance([Moment(other.expression_E, torch.eye(3), pose)])
        rates: list[float] = []

        def frames() -> Iterator[np.ndarray]:
            for rgb, fps in read_frames(path):
                rates.append(fps)
                yield rgb

        track = heads.follow(frames(), FPS)
    except PoseError as error:
        raise PhotoError(f"{path}: {error}") from error
    first = track.rotation_F33[0]
    turns = [turn @ first.T if take == BOTH else torch.eye(3) for turn in track.rotation_F33]
    notes = (f"{path.name}: no face in {track.missing} of {len(turns)} frames",) if track.missing else ()
    return Performance([Moment(e, t) for e, t in zip(track.expression_FE, turns, strict=True)], rates[0], notes)


def changed(heads: Heads, head: FittedHead, moment: Moment, change: Change) -> Tensor:
    """(V, 3) camera space: the head at a moment, with a change on top."""
    expression = change.on(head.expression_E if moment.expression_E is None else moment.expression_E, heads.names)
    turn = moment.turn_33 if moment.seen_33 is None else moment.seen_33 @ head.seen_33.T
    return heads.place(head, expression, change.rotation() @ turn)


def redrawn(
    pipeline: PosePipeline,
    made_HW3: np.ndarray,
    depth_11SS: Tensor,
    motion: Motion,
    window_px: np.ndarray,
    photo: Photo,
    strength: float,
    **how: object,
) -> np.ndarray:
    """The photo with its changed head, redrawn by the model from noise of this strength."""
    assert pipeline.portrait is not None
    square = crop_frame(made_HW3, window_px, motion.size)
    rgb = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].to(pipeline.portrait.device) / 127.5 - 1
    drawn_13SS = RelightPipeline(pipeline.portrait).redraw(rgb, depth_11SS.to(rgb), strength, **how)  # type: ignore[arg-type]
    return on_photo(drawn_13SS.cpu(), motion, window_px, made_HW3, photo)


def on_photo(
    drawn_13SS: Tensor, motion: Motion, window_px: np.ndarray, own_HW3: np.ndarray, photo: Photo
) -> np.ndarray:
    """A picture (H, W, 3) uint8 of the photo's size with its head drawn anew; pixels away from it are its own."""
    rgb, _ = paste.full_rgb(drawn_13SS[0].permute(1, 2, 0).numpy(), window_px, photo)
    region = soft_region(motion, motion.size)[0, 0].numpy()
    part, left, top = paste.paste(region, window_px, photo.width, photo.height)
    share = np.zeros((photo.height, photo.width, 1), np.float32)
    share[top : top + part.shape[0], left : left + part.shape[1], 0] = part.clip(0, 1)
    mixed = np.rint(own_HW3 + share * (rgb.astype(np.float32) - own_HW3)).astype(np.uint8)
    return np.where(share > 0, mixed, own_HW3)


def film(
    path: Path,
    heads: Heads,
    head: FittedHead,
    photo: Photo,
    window_px: np.ndarray,
    vertices: Sequence[Callable[[], Tensor]],
    fps: float,
) -> float:
    """Write a video of the head's square in which it takes these shapes; returns the largest share never shown."""
    mover = Mover(heads, head, MOTION_SIDE_PX)
    side = int(min(MOTION_SIDE_PX, max(16, round(float(window_px[2])))))
    unseen = 0.0
    with VideoWriter(path, fps, sound=False) as video:
        for place in vertices:
            motion = mover.to(place())
            unseen = max(unseen, motion.unseen)
            video.frame(crop_frame(drawn(photo.rgb_HW3, window_px, heads, motion), window_px, side))
    return unseen


def swept(
    sweep: tuple[str, float, float], settings: Sequence[tuple[str, float]], names: Sequence[str], count: int
) -> list[Change]:
    """The changes of a sweep of one name, there and back, beside settings that stay. Raises :class:`PoseError`."""
    name, first, last = sweep
    return [read_change([*settings, (name, value)], names) for value in there_and_back(first, last, count)]
