"""Cuts between shots, found as frames pass by (the one file that imports PySceneDetect).

A frame is a cut when its picture differs from the one before (hue, saturation, brightness) by
:data:`LEAST_CHANGE` of 255 and by :data:`RATIO` times more than in the frames around it: PySceneDetect's adaptive
detector, which a moving head or camera does not set off. It looks two frames ahead, so frames come out two later.

Dissolves and fades are no cuts to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scenedetect.detectors import AdaptiveDetector

LEAST_CHANGE, RATIO = 15.0, 3.0
#: Where there are no frames around it, this much change is a cut (of 255; PySceneDetect's content detector).
EDGE_CHANGE = 27.0
#: Pictures are looked at with about this many pixels across.
WIDTH_PX = 256
#: How far the detector looks ahead, in frames.
FRAMES_AHEAD = 2


@dataclass(frozen=True, eq=False)
class ShotFrame:
    """A frame (H, W, 3) uint8; ``cut``: it is the first of a shot; ``margin``: how far it is from being taken for one.

    ``margin`` is 1 where nothing changes and 0 at the verge of a cut.
    """

    rgb_HW3: np.ndarray
    cut: bool
    margin: float


class _Metrics:
    """What PySceneDetect asks of a statistics manager here: it keeps the last frames' numbers, not a whole video's."""

    def __init__(self) -> None:
        self.latest: dict[int, dict[str, float]] = {}

    def set_metrics(self, frame: int, metrics: dict[str, float]) -> None:
        self.latest.setdefault(frame, {}).update(metrics)
        self.latest.pop(frame - 4 * FRAMES_AHEAD, None)


def find_cuts(frames: Iterable[np.ndarray], starts: Collection[int] = ()) -> Iterator[ShotFrame]:
    """The frames of a video in order, each once; at most three are held. The very first frame is no cut.

    At frames of the numbers ``starts`` the clock starts again after a pause: there is a cut whatever they show.

    The first and the last two frames have no two others around them: there :data:`EDGE_CHANGE` alone decides.
    """
    detector = AdaptiveDetector(
        adaptive_threshold=RATIO, min_scene_len=1, window_width=FRAMES_AHEAD, min_content_val=LEAST_CHANGE
    )
    metrics = _Metrics()
    detector.stats_manager = metrics  # type: ignore[assignment]
    waiting: deque[tuple[int, np.ndarray]] = deque()
    for number, rgb in enumerate(frames):
        step = max(1, round(rgb.shape[1] / WIDTH_PX))
        waiting.append((number, rgb))
        detector.process_frame(number, np.ascontiguousarray(rgb[::step, ::step, ::-1]))
        if len(waiting) > FRAMES_AHEAD:
            yield _judge(*waiting.popleft(), metrics, starts)
    while waiting:
        yield _judge(*waiting.popleft(), metrics, starts)


def _judge(number: int, rgb: np.ndarray, metrics: _Metrics, starts: Collection[int]) -> ShotFrame:
    if number and number in starts:
        return ShotFrame(rgb, cut=True, margin=0.0)
    found = metrics.latest.get(number, {})
    change = found.get("content_val", 0.0)
    ratio = next((value for name, value in found.items() if name.startswith("adaptive_ratio")), None)
    near = change / EDGE_CHANGE if ratio is None else min(change / LEAST_CHANGE, ratio / RATIO)
    return ShotFrame(rgb, near >= 1, 1 - near)
