"""Lip sync by a user's SyncNet: LSE-D and LSE-C of drawn clips, beside those of the true frames.

What the network is shown and how its numbers come about: :mod:`data_prep.video.sync`. Faces are cut out by
mediapipe's landmarks, at 25 frames a second. A frame in which no face is found gets the landmarks between those of its
neighbours; a clip with faces in less than half of its frames has no numbers.

Shapes: F frames, H = W pixels, N landmarks, S audio samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks import answers
from benchmarks.depth.regions import find_landmarks
from benchmarks.mouth.curves import FOUND
from data_prep.video.sync import Sync, SyncMeter
from data_prep.video.syncnet import Embedders
from jdap.faces.landmarker import Landmarker

#: measure → (unit, whether more is better). The offset is that of the sound: positive, it comes late.
SYNC_MEASURES: answers.Measures = {"LSE-D": ("distance", False), "LSE-C": ("", True), "offset": ("frames", None)}
_NOTHING = Sync(float("nan"), float("nan"), float("nan"))


class SyncJudge:
    """Keeps the numbers of clips: ``values[arm][measure]``, one a clip in their order, NaN where there is none."""

    def __init__(self, net: Embedders, landmarker: Landmarker, device: str = "cpu") -> None:
        self.net, self.landmarker, self.device = net, landmarker, device
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, rgb_F3HW: Tensor, sounds: Mapping[str, Tensor]) -> None:
        """Note what the frames of a clip, in [-1, 1], have to do with each sound (S,) at 16 kHz, by the name of its
        arm."""
        points = filled(find_landmarks(self.landmarker, rgb_F3HW)[..., :2])
        meter = None
        if points is not None:
            meter = SyncMeter(self.net, points, self.device)
            pixels = ((rgb_F3HW.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for k, picture in enumerate(pixels):
                meter.add(k, picture)
        for arm, sound in sounds.items():
            found = _NOTHING if meter is None else meter.finish(sound.cpu().numpy())
            numbers = dict(zip(SYNC_MEASURES, (found.distance, found.confidence, found.offset), strict=True))
            for name, value in numbers.items():
                self.values.setdefault(arm, {}).setdefault(name, []).append(value)

    def rows(self, pairs: Sequence[tuple[str, str]], people: Sequence[str], seed: int) -> list[dict[str, Any]]:
        """A row an arm and measure: the mean over clips, its interval over people; then the differences of ``pairs``,
        first − second, clip by clip."""
        columns = dict(self.values)
        for first, second in pairs:
            if first in self.values and second in self.values:
                columns[f"{first} − {second}"] = answers.minus(self.values[first], self.values[second])
        return answers.rows(columns, SYNC_MEASURES, people, seed)


def filled(landmarks_px_FN2: np.ndarray) -> np.ndarray | None:
    """Landmarks (F, N, 2) with those of frames without a face, which are NaN, put between their neighbours'; None where
    faces are in less than :data:`benchmarks.mouth.curves.FOUND` of the frames."""
    there = np.isfinite(landmarks_px_FN2).all((1, 2))
    if not there.any() or there.mean() < FOUND:
        return None
    flat = landmarks_px_FN2.reshape(len(there), -1)
    frames = np.arange(len(there))
    found = [np.interp(frames, frames[there], path[there]) for path in flat.T]
    return np.stack(found, 1).reshape(landmarks_px_FN2.shape)
