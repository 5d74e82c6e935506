"""Where a long video is parted, so that different workers can take its segments and each comes out the same.

Nothing but the video decides: it is parted evenly, and each seam is moved within :data:`SEAM_REACH` frames to where no
clip is lost by it: into a cut, where nobody goes on, or else to where everybody who is there has been so for long
enough and stays so. A segment is watched by itself, with some frames before it (:data:`RUN_UP`), in which faces are
found and followed already, and :data:`FRAMES_AHEAD` after it, of which cuts are known.

Shapes: K frames at 25 fps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from data_prep.clips.clip import SHORTEST_CLIP, cut_evenly
from data_prep.machine.watchdog import beat
from data_prep.video.faces import FaceFinder
from data_prep.video.shots import FRAMES_AHEAD, ShotFrame, find_cuts
from data_prep.video.tracks import Track, Tracker
from data_prep.video.video import FrameReader, Video

#: A seam moves by at most so many frames, and by at most this share of a segment's frames.
SEAM_REACH, SEAM_SHARE = 25, 1 / 8
#: So many frames before a segment are watched, too: a track is known by then, and gaps of it are over.
RUN_UP = 12


@dataclass(eq=False)
class Segments:
    """The segments of a video, each of at most ``most`` frames (0: one of all). Seams are looked for when asked for."""

    video: Video
    most: int
    _edges: list[int] = field(init=False)
    _found: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = self.video.frames
        even = [(0, frames)]
        if 0 < self.most < frames:
            even = cut_evenly(frames, self.most - 2 * self._reach)
        self._edges = [low for low, _ in even] + [frames]

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __getitem__(self, number: int) -> tuple[int, int]:
        """[start, stop) of a segment, in frames. Raises :class:`data_prep.video.error.UnreadableVideo`."""
        return self._edge(number), self._edge(number + 1)

    def evenly(self, number: int) -> int:
        """Where a segment begins but for the move of its seam."""
        return self._edges[number]

    @property
    def _reach(self) -> int:
        return min(SEAM_REACH, int(self.most * SEAM_SHARE))

    def _edge(self, number: int) -> int:
        edge = self._edges[number]
        if 0 < number < len(self):
            if number not in self._found:
                self._found[number] = find_seam(self.video, edge, self._reach)
            return self._found[number]
        return edge


def run_up(start: int) -> int:
    """How many frames before a segment that starts there are watched, too."""
    return min(RUN_UP, start)


def watch(
    video: Video, start: int, stop: int, through: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]] = iter
) -> Iterator[ShotFrame]:
    """Frames ``start`` … ``stop - 1`` with their cuts; somewhat more is read (``through``, which may count them), by
    which the last ones are known."""
    ahead = min(stop + FRAMES_AHEAD, video.frames)
    starts = [at - start for at in video.starts if at > start]
    return islice(find_cuts(through(FrameReader(video, start).read(start, ahead)), starts), stop - start)


def find_seam(video: Video, around: int, reach: int) -> int:
    """The first frame of what comes after a seam near ``around``: the best place by :func:`best_seam`, of the faces
    that are found in the frames there, whatever came before."""
    low, high = max(around - reach, 1), min(around + reach, video.frames - 1)
    first, stop = max(low - SHORTEST_CLIP - RUN_UP, 0), min(high + SHORTEST_CLIP, video.frames)
    tracker, tracks = Tracker(), list[Track]()
    with FaceFinder() as finder:
        for k, shot in enumerate(watch(video, first, stop), first):
            tracks += tracker.step(k, shot.rgb_HW3, finder.find(shot.rgb_HW3, shot.cut), shot.cut)
            beat()
    tracks += tracker.end()
    return best_seam([(track.start, track.start + len(track.faces)) for track in tracks], low, high, around)


def best_seam(spans: list[tuple[int, int]], low: int, high: int, around: int) -> int:
    """Of the frames ``low`` … ``high`` the one before which to part, by the ``spans`` [start, stop) of the clips there:
    the fewest clips are lost (one side of them, or both, are too short), then parted, then it is nearest."""
    places = np.arange(low, high + 1)
    lost, parted = np.zeros(len(places), int), np.zeros(len(places), int)
    for start, stop in spans:
        before, after = places - start, stop - places
        crosses = (before > 0) & (after > 0) & (stop - start >= SHORTEST_CLIP)
        parted += crosses
        lost += crosses & (np.minimum(before, after) < SHORTEST_CLIP)
    return int(places[np.lexsort((places, abs(places - around), parted, lost))[0]])
