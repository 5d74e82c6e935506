"""The record that travels through the pipeline: which stage fills which field, in which unit.

A clip starts as a segment of a video; the stage ``faces`` cuts it where the face is lost or jumps, and from then on a
clip is one person's face in consecutive frames. A stage that turns a clip down sets ``reason``, and later stages
leave it alone.

Shapes: F frames at 25 fps, N landmarks, B blendshapes, S audio samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data_prep.video import Video
from jdap.geometry import PinholeCamera

if TYPE_CHECKING:
    from data_prep.fit import Fit

KEPT, REJECTED, FAILED = "kept", "rejected", "failed"


def reason_kind(reason: str) -> str:
    """A reason without its numbers, to count by: "several faces in 40% of the frames" is "several faces in"."""
    return re.split(r"[\d(]", reason, maxsplit=1)[0].rstrip(" :,") or reason


@dataclass(eq=False)
class Clip:
    """One person's face in ``frames`` consecutive frames.

    =================  ==========================================================================  =========
    field              content                                                                     filled by
    =================  ==========================================================================  =========
    source             the video's path as it was given                                            reader
    base_id            safe id of the video: its name and a hash of its place                      reader
    video              the probed video                                                            reader
    start, frames      frames ``start`` … ``start + frames - 1`` of the video at 25 fps            reader, faces
    person_id          the id of the clip in which this unbroken face was first seen               faces
    landmarks_px_FN3   (F, 478, 3) float32, pixels of the whole picture; gaps filled               faces
    blendshapes_FB     (F, 52) float32 in [0, 1]                                                   faces
    blendshape_names   their 52 names                                                              faces
    camera             of the whole picture                                                        fit
    fit                identity, expressions, pose, residuals (:class:`data_prep.fit.Fit`)         fit
    window_px_F3       (F, 3) float64: left, top, size of the square crop in the whole picture     crop
    camera_px_F3       (F, 3) float32: f, cx, cy in pixels of the stored frames                    crop
    audio              (S,) float32 in [-1, 1] at 16 kHz, or None where the video has none         audio
    scores             name → (F,) float32, see :mod:`data_prep.quality`                           faces … quality
    written            how many frames went into samples                                           depth
    reason             why it was turned down, or a remark on a kept clip; empty if nothing is     any
    status             ``kept`` or ``rejected``                                                    any
    seconds            stage → seconds it took                                                     the runner
    =================  ==========================================================================  =========
    """

    source: str
    base_id: str
    video: Video
    start: int
    frames: int
    person_id: str = ""
    landmarks_px_FN3: np.ndarray = field(default_factory=lambda: np.zeros((0, 478, 3), np.float32))
    blendshapes_FB: np.ndarray = field(default_factory=lambda: np.zeros((0, 52), np.float32))
    blendshape_names: tuple[str, ...] = ()
    camera: PinholeCamera | None = None
    fit: Fit | None = None
    window_px_F3: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    camera_px_F3: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    audio: np.ndarray | None = None
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    written: int = 0
    reason: str = ""
    status: str = KEPT
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def clip_id(self) -> str:
        """The video's id and the clip's first frame: unique in a data set, and the same on every run."""
        return f"{self.base_id}_{self.start:06d}"

    def reject(self, reason: str) -> None:
        """Turn the clip down; the first reason stands."""
        if self.status == KEPT:
            self.status, self.reason = REJECTED, reason

    def row(self) -> dict[str, object]:
        """The clip's row of ``manifest.jsonl``; scores are means over its frames."""
        return {
            "source": self.source,
            "clip_id": self.clip_id,
            "status": self.status,
            "reason": self.reason,
            "frames": self.written if self.status == KEPT else self.frames,
            "scores": {name: round(float(np.nanmean(s)), 5) for name, s in sorted(self.scores.items()) if len(s)},
            "seconds": {name: round(s, 3) for name, s in self.seconds.items()},
        }
