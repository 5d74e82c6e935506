"""The record that travels through the pipeline: which step fills which field, in which unit.

A clip starts as a segment of a video; the step ``people`` makes a clip of each person in each shot of it, and from
then on a clip is one face in consecutive frames. A step that turns a clip down sets ``reason``, and later steps do
not see it.

Shapes: F frames at 25 fps, N landmarks, B blendshapes, S audio samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.clips.quality import FAILED, KEPT, REJECTED, clip_scores
from data_prep.video.video import Video
from jdap.geometry import PinholeCamera

if TYPE_CHECKING:
    from data_prep.fit.fit import Fit

#: A clip has at least this many frames: what the temporal stage reads at once.
SHORTEST_CLIP = 16
#: What a clip's row has of the seams of its segment, until they are closed (:mod:`data_prep.clips.joining`).
SEAMS = "seams"
#: Where a face is, in pixels of the whole picture: x and y of its middle, and how wide it is.
Place = tuple[float, float, float]


@dataclass(eq=False)
class Clip:
    """One person's face in ``frames`` consecutive frames.

    ================  =========================================================================  =========
    field             content                                                                    filled by
    ================  =========================================================================  =========
    source            the video's path as it was given                                           reader
    base_id           safe id of the video: its name and a hash of its place                     reader
    video             the probed video                                                           reader
    start, frames     frames ``start`` … ``start + frames - 1`` of the video at 25 fps           reader, people
    nth               which of the clips that begin at ``start``, from left to right             people
    person_id         the id of the segment's clip in which this unbroken face was first seen    people
    before, after     where the face was just before the segment and at its end, if it was       people
    landmarks_px_FN3  (F, 478, 3) float32, pixels of the whole picture; gaps filled              people
    blendshapes_FB    (F, 52) float32 in [0, 1]                                                  people
    blendshape_names  their 52 names                                                             people
    beside            of each frame, boxes (M, 4) of the other faces of the picture, pixels      people
    skin_FN3          (F, 478, 3) uint8: colour of the picture at the landmarks                  people
    look_FSS          (F, 64, 64) uint8: the face in grey, by its eyes; black where it was lost       people
    fingerprint       what duplicates are known by, :func:`data_prep.clips.quality.fingerprint`  render
    camera            of the whole picture                                                       fit
    fit               identity, expressions, pose, residuals (:class:`data_prep.fit.fit.Fit`)    fit
    window_px_F3      (F, 3) float64: left, top, size of the square crop in the whole picture    crop
    camera_px_F3      (F, 3) float32: f, cx, cy in pixels of the stored frames                   crop
    audio             (S,) float32 in [-1, 1] at 16 kHz, or None where the video has none        sound
    scores            name → (F,) float32, see :mod:`data_prep.clips.quality`                    any
    numbers           scores of the clip as a whole: sync                                        render
    written           how many frames went into samples                                          render
    reason            why it was turned down, or a remark on a kept clip; empty if nothing is    any
    status            ``kept``, ``rejected`` or ``failed``; ``held`` is decided at the end       any
    details           of a failure: the traceback                                                the runner
    seconds           step → seconds it took                                                    the runner
    ================  =========================================================================  =========
    """

    source: str
    base_id: str
    video: Video
    start: int
    frames: int
    nth: int = 0
    person_id: str = ""
    before: Place | None = None
    after: Place | None = None
    landmarks_px_FN3: np.ndarray = field(default_factory=lambda: np.zeros((0, 478, 3), np.float32))
    blendshapes_FB: np.ndarray = field(default_factory=lambda: np.zeros((0, 52), np.float32))
    blendshape_names: tuple[str, ...] = ()
    beside: list[np.ndarray] = field(default_factory=list)
    skin_FN3: np.ndarray = field(default_factory=lambda: np.zeros((0, 478, 3), np.uint8))
    look_FSS: np.ndarray = field(default_factory=lambda: np.zeros((0, 64, 64), np.uint8))
    camera: PinholeCamera | None = None
    fit: Fit | None = None
    window_px_F3: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    camera_px_F3: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    audio: np.ndarray | None = None
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    written: int = 0
    reason: str = ""
    status: str = KEPT
    details: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def clip_id(self) -> str:
        """The video's id, the clip's first frame, and a letter from the second face there on: the same on every run."""
        letters, nth = "", self.nth
        while nth:
            nth, letter = divmod(nth, 26)
            letters = chr(ord("a") + letter) + letters
        return f"{self.base_id}_{self.start:06d}{letters}"

    def reject(self, reason: str) -> None:
        """Turn the clip down; the first reason stands."""
        if self.status == KEPT:
            self.status, self.reason = REJECTED, reason

    def fail(self, reason: str, details: str = "") -> None:
        """Something broke while the clip was made; ``details``: the traceback, where it is a bug of ours."""
        if self.status == KEPT:
            self.status, self.reason, self.details = FAILED, " ".join(reason.split()), details

    def row(self) -> dict[str, Any]:
        """The clip's row of ``manifest.jsonl``; ``scores`` has one number a score (:mod:`data_prep.clips.quality`)."""
        row: dict[str, Any] = {
            "source": self.source,
            "clip_id": self.clip_id,
            "person_id": self.person_id,
            "status": self.status,
            "reason": self.reason,
            "start": self.start,
            "frames": self.written if self.status == KEPT else self.frames,
            "scores": clip_scores(self.scores) | {name: round(x, 4) for name, x in self.numbers.items()},
            "seconds": {name: round(s, 3) for name, s in self.seconds.items()},
        }
        if self.fingerprint:
            row["fingerprint"] = self.fingerprint
        if self.before or self.after:
            row[SEAMS] = [self.before, self.after]
        return row | ({"details": self.details, "fault": "bug"} if self.details else {})


def cut_evenly(frames: int, most: int) -> list[tuple[int, int]]:
    """[low, high) of the fewest pieces of at most ``most`` frames, as even as can be: no short one is left over."""
    count = -(-frames // most)
    edges = [frames * i // count for i in range(count + 1)]
    return list(pairwise(edges))
