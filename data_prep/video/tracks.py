"""Who is who from frame to frame: the faces of each frame are joined to tracks that never change the person.

A face goes on with a track only where there is no doubt: it lies within :data:`LARGEST_STEP` face widths of where the
track was, it looks like it did (correlation of small pictures that are aligned by the eyes), and no other face or track
that looks like it comes near that. In doubt a track ends and another one starts: a clip that is cut in two costs less
than one with two people. While a face overlaps another one it is in a track of its own, which is no good for fitting.

Shapes: N landmarks, B blendshapes, F frames of a track.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from jdap.faces.landmarker import SAME_FACE, Face, apart, counts_beside, face_box, face_width_px

#: A face whose centre moves farther than this between neighbouring frames, in face widths, is another one.
LARGEST_STEP = 0.6
#: The nearest other candidate must be this many times farther, and this many face widths on top.
CLEARLY, APART = 2.0, 0.1
#: Boxes that share more than this of the smaller one hide one another.
HIDING_OVERLAP = 0.15
#: A face that is lost for at most this many frames (0.2 s) is filled in linearly; a longer gap ends the track.
MAX_GAP = 5
#: Correlation of aligned faces: neighbouring frames of a person have 0.72 and more, two people at most 0.67 and mostly
#: under 0.58 (14 videos). After a gap an expression may have changed.
SAME_LOOK, SAME_LOOK_LATER = 0.6, 0.45
#: Outer corners of the eyes among mediapipe's landmarks.
EYE_CORNERS = (33, 263)
#: Side of the pictures that are compared.
LOOK = 24


@dataclass(eq=False)
class Track:
    """One person's face in consecutive frames, or the part of it that lies in one segment of a video.

    * ``number``: counts the tracks of a video, those of one frame from left to right; parts share it
    * ``start``: its first frame in the video
    * ``overlapped``: it shares its place with another face
    * ``faces``: of each frame from ``start`` on; None where it is lost
    * ``beside``: of each frame, boxes (M, 4) of the other faces in pixels: left, top, right, bottom
    * ``several``: of each frame, whether another face is large enough to count
    """

    number: int
    start: int
    overlapped: bool = False
    faces: list[Face | None] = field(default_factory=list)
    beside: list[np.ndarray] = field(default_factory=list)
    several: list[bool] = field(default_factory=list)

    def trimmed(self) -> Track | None:
        """The track from its first to its last frame with a face; None where it has none."""
        seen = [i for i, face in enumerate(self.faces) if face is not None]
        if not seen:
            return None
        kept = slice(seen[0], seen[-1] + 1)
        faces, beside, several = self.faces[kept], self.beside[kept], self.several[kept]
        return Track(self.number, self.start + seen[0], self.overlapped, faces, beside, several)


@dataclass(eq=False)
class _Live:
    """A track that goes on: where (N, 3) and how its face was seen last, and for how many frames it has been lost."""

    track: Track
    points_N3: np.ndarray
    look: np.ndarray
    gap: int = 0


class Tracker:
    """Joins the faces of a video to tracks, frame by frame."""

    def __init__(self) -> None:
        self._live: list[_Live] = []
        self._tracks = 0

    def step(self, frame: int, rgb_HW3: np.ndarray, faces: list[Face], cut: bool) -> list[Track]:
        """Take in the faces of frame number ``frame`` (H, W, 3); returns the tracks that ended before it."""
        ended = self.end() if cut else []
        faces = sorted(_once(faces), key=lambda face: float(face.landmarks_px_N3[:, 0].mean()))
        boxes = np.array([face_box(face.landmarks_px_N3) for face in faces]).reshape(-1, 4)
        hidden = [
            any(overlap(box, other) > HIDING_OVERLAP for j, other in enumerate(boxes) if j != i)
            for i, box in enumerate(boxes)
        ]
        looks = [aligned(rgb_HW3, face.landmarks_px_N3) for face in faces]
        owners: dict[int, _Live] = {}
        pairs, doubtful = self._match(faces, looks)
        ended += [track for live in doubtful for track in self._end(live)]
        for live, i in pairs:
            if hidden[i] == live.track.overlapped:
                owners[i] = live
                live.points_N3, live.look, live.gap = faces[i].landmarks_px_N3, looks[i], 0
            else:  # it meets another face, or parts from it
                ended += self._end(live)
        for live in [one for one in self._live if one not in owners.values()]:
            live.gap += 1
            if live.gap > MAX_GAP:
                ended += self._end(live)
        for i, face in enumerate(faces):
            if i not in owners:
                owners[i] = _Live(Track(self._tracks, frame, hidden[i]), face.landmarks_px_N3, looks[i])
                self._live.append(owners[i])
                self._tracks += 1
        for live in self._live:
            mine = next((i for i, owner in owners.items() if owner is live), None)
            others = [i for i in range(len(faces)) if i != mine]
            track = live.track
            track.faces.append(None if mine is None else faces[mine])
            track.beside.append(boxes[others])
            track.several.append(any(counts_beside(faces[i].landmarks_px_N3, live.points_N3) for i in others))
        return ended

    def places(self) -> list[np.ndarray]:
        """Landmarks (N, 3) of the tracks that go on, where each was seen last."""
        return [live.points_N3 for live in self._live]

    def segment(self, frame: int) -> list[Track]:
        """The parts of the tracks that go on; what follows, from ``frame`` on, is further parts of the same numbers."""
        parts = []
        for live in self._live:
            parts.append(live.track.trimmed())
            live.track = Track(live.track.number, frame, live.track.overlapped)
        return [part for part in parts if part is not None]

    def end(self) -> list[Track]:
        """End all tracks, and return them."""
        return [track for live in list(self._live) for track in self._end(live)]

    def _end(self, live: _Live) -> list[Track]:
        self._live.remove(live)
        track = live.track.trimmed()
        return [] if track is None else [track]

    def _match(self, faces: list[Face], looks: list[np.ndarray]) -> tuple[list[tuple[_Live, int]], list[_Live]]:
        """Tracks and the faces they go on with, where there is no doubt; tracks that might go on with several."""
        if not faces or not self._live:
            return [], []
        far = np.array([[apart(face.landmarks_px_N3, live.points_N3) for face in faces] for live in self._live])
        alike = np.array([[float((live.look * look).sum()) for look in looks] for live in self._live])
        least = np.array([[SAME_LOOK_LATER if live.gap else SAME_LOOK] for live in self._live])
        far = np.where(alike >= least, far, np.inf)
        pairs, doubtful = [], []
        for a, b in zip(*linear_sum_assignment(np.where(far <= LARGEST_STEP, far, 1e3)), strict=True):
            others = np.concatenate([np.delete(far[a], b), np.delete(far[:, b], a)])
            if far[a, b] <= LARGEST_STEP and (others > CLEARLY * far[a, b] + APART).all():
                pairs.append((self._live[a], int(b)))
            elif far[a, b] <= LARGEST_STEP:
                doubtful += [self._live[i] for i in np.nonzero(far[:, b] <= LARGEST_STEP)[0]]
        sure = [live for live, _ in pairs]
        return pairs, [live for live in self._live if live in doubtful and live not in sure]


def overlap(box_4: np.ndarray, other_4: np.ndarray) -> float:
    """How much of the smaller of two boxes (left, top, right, bottom) the other one covers, 0 … 1."""
    sides = np.minimum(box_4[2:], other_4[2:]) - np.maximum(box_4[:2], other_4[:2])
    smaller = min(float(np.prod(b[2:] - b[:2])) for b in (box_4, other_4))
    return float(np.prod(sides.clip(0)) / max(smaller, 1e-9))


def aligned(rgb_HW3: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """(24, 24) float32: the face in grey, turned and scaled by its eyes, without its mean, of length 1."""
    grey = aligned_grey(rgb_HW3, landmarks_px, LOOK)
    grey -= grey.mean()
    return grey / max(float(np.linalg.norm(grey)), 1e-6)


def aligned_grey(rgb_HW3: np.ndarray, landmarks_px: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32, 0 … 255: the face in grey, turned and scaled by its eyes, from the brows to the lips."""
    right, left = landmarks_px[EYE_CORNERS[0], :2], landmarks_px[EYE_CORNERS[1], :2]
    across = left - right
    down = np.array([-across[1], across[0]])
    grid = _grid(side)
    place = (left + right) / 2 + grid[..., :1] * across + grid[..., 1:] * down
    x = place[..., 0].round().astype(int).clip(0, rgb_HW3.shape[1] - 1)
    y = place[..., 1].round().astype(int).clip(0, rgb_HW3.shape[0] - 1)
    return rgb_HW3[y, x].astype(np.float32).mean(-1)


@functools.cache
def _grid(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.linspace(-0.9, 0.9, side), np.linspace(-0.7, 1.3, side)), -1)


def _once(faces: list[Face]) -> list[Face]:
    """Each face once, the wider one where it was found twice."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -float(face_width_px(f.landmarks_px_N3))):
        if all(apart(face.landmarks_px_N3, other.landmarks_px_N3) > SAME_FACE for other in kept):
            kept.append(face)
    return kept
