"""When each frame is shown: time stamps put right, and the 25 fps clock laid over them.

Stamps of real files repeat, are missing, go back, or lie hours away. Frames come out of a decoder in the order in which
they are shown, so a stamp is judged, and where it is wrong replaced, by its neighbours:

* stamps that are out of order, and a few far away from all others (:func:`_far`), are as good as missing;
* of equal ones one is right: the first, or the last where the time before it is free;
* a missing one is put into the time that is free between its neighbours; where none is, the frame is left out.

Where nothing comes for long (:func:`longest_gap_s`) the 25 fps clock stops and starts again with the next frame: what
comes before and after is no one clip.

Shapes: M decoded frames, N that are shown, K ticks at 25 fps.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_prep.video.error import UnreadableVideo

#: The clock stops at a gap of so many usual frames, and of at least and at most so many seconds.
GAP_FRAMES, GAP_LEAST_S, GAP_MOST_S = 50, 10.0, 60.0
#: So few frames beyond a gap are no part of a video but wrong stamps.
FEW = 4
#: Over this share of stamps out of order there is no telling which are right.
WILD = 0.1
#: Under this share of stamps the rate is all there is.
STAMPED_SHARE = 0.5
#: A gap takes a frame without a stamp if it is wide enough for it but for this share of a frame.
SLACK = 0.5


@dataclass(frozen=True, eq=False)
class Ticks:
    """The 25 fps clock: ``source_K`` (K,) int64 which frame is shown, ``times_K`` (K,) float64 s on the file's clock,
    ``starts``: ticks at which the clock starts, the first one 0; ``length_s``: how long there are frames."""

    source_K: np.ndarray
    times_K: np.ndarray
    starts: tuple[int, ...]
    length_s: float


def frame_seconds(times_s: np.ndarray, fps: float) -> float:
    """How long a frame usually lasts; ``fps`` where there is one only."""
    steps = np.diff(times_s[np.isfinite(times_s)])
    steps = steps[steps > 0]
    return min(float(np.median(steps)), GAP_LEAST_S) if len(steps) else 1 / fps


def longest_gap_s(times_s: np.ndarray, fps: float) -> float:
    """The longest time, in seconds, for which a frame may stand."""
    return min(max(GAP_LEAST_S, GAP_FRAMES * frame_seconds(times_s, fps)), GAP_MOST_S)


def is_regular(times_s: np.ndarray, fps: float) -> bool:
    """Whether ascending times (N,) of all of a file's frames can be taken as they are."""
    steps = np.diff(times_s)
    return bool(np.isfinite(times_s).all() and (steps > 0).all() and steps.max(initial=0) < longest_gap_s(times_s, fps))


def repair(times_M: np.ndarray, fps: float) -> np.ndarray:
    """(M,) the times of frames in the order they are shown, in seconds, NaN for frames that are to be left out.

    ``times_M`` has NaN where there is no stamp; ``fps`` is what the file says. Raises
    :class:`data_prep.video.error.UnreadableVideo` where too many stamps contradict one another.
    """
    out = np.array(times_M, np.float64)
    known = np.nonzero(np.isfinite(out))[0]
    if len(known) < max(1, STAMPED_SHARE * len(out)):
        first = out[known[0]] - known[0] / fps if len(known) else 0.0
        return first + np.arange(len(out)) / fps
    wild = np.setdiff1d(known, known[_ascending(out[known])], assume_unique=True)
    if len(wild) > max(1, WILD * len(known)):
        raise UnreadableVideo(
            f"{len(wild)} of {len(out)} time stamps go back: picture and sound cannot be matched; encode it again"
        )
    out[wild] = np.nan
    out[_far(out, fps)] = np.nan
    usual_s = frame_seconds(out, fps)
    _split_equal(out, usual_s)
    _fill(out, usual_s, longest_gap_s(out, fps))
    return out


def resample(times_s: np.ndarray, fps: float) -> np.ndarray:
    """Which frame is nearest in time to each tick of a clock at ``fps`` that starts with the first frame.

    ``times_s`` (N,) ascending seconds → (K,) int64 ascending, K the length (last frame's duration included) in ticks,
    rounded, at least 1. Of two frames at the same distance the earlier one is taken.
    """
    length_s = times_s[-1] - times_s[0] + frame_seconds(times_s, fps)
    ticks_s = times_s[0] + np.arange(max(1, round(length_s * fps))) / fps
    after = np.searchsorted(times_s, ticks_s).clip(1, max(1, len(times_s) - 1))
    before = after - 1
    after = np.minimum(after, len(times_s) - 1)
    # A hair's breadth towards the earlier frame, so that rounding of time stamps does not decide ties.
    nearer = times_s[after] - ticks_s < ticks_s - times_s[before] - 1e-6
    return np.where(nearer, after, before)


def lay_ticks(times_s: np.ndarray, fps: float) -> Ticks:
    """The clock over frames at ``times_s`` (N,) ascending: it stops at long gaps, and starts again with a frame."""
    longest_s = longest_gap_s(times_s, fps)
    edges = [0, *(np.nonzero(np.diff(times_s) > longest_s)[0] + 1).tolist(), len(times_s)]
    usual_s = frame_seconds(times_s, fps)
    sources, times, starts, ticks, length_s = [], [], [], 0, 0.0
    for low, high in pairwise(edges):
        source = resample(times_s[low:high], fps)
        starts.append(ticks)
        sources.append(source + low)
        times.append(times_s[low] + np.arange(len(source)) / fps)
        ticks += len(source)
        length_s += float(times_s[high - 1] - times_s[low]) + usual_s
    return Ticks(np.concatenate(sources), np.concatenate(times), tuple(starts), length_s)


def _ascending(values: np.ndarray) -> np.ndarray:
    """Which of the values are in the longest series that does not descend, as indices, ascending."""
    ends, at, before = list[float](), list[int](), np.full(len(values), -1)
    for i, value in enumerate(values.tolist()):
        length = bisect_right(ends, value)
        before[i] = at[length - 1] if length else -1
        ends[length : length + 1], at[length : length + 1] = [value], [i]
    chain, i = [], at[-1] if at else -1
    while i >= 0:
        chain.append(i)
        i = int(before[i])
    return np.array(chain[::-1], np.int64)


def _far(times_M: np.ndarray, fps: float) -> np.ndarray:
    """Frames, as indices, that a long gap parts from the rest, and that are :data:`FEW` where the rest is more."""
    known = np.nonzero(np.isfinite(times_M))[0]
    gaps = np.nonzero(np.diff(times_M[known]) > longest_gap_s(times_M, fps))[0] + 1
    runs = np.split(known, gaps)
    if max(map(len, runs)) <= FEW:
        return np.zeros(0, np.int64)
    return np.concatenate([np.zeros(0, np.int64), *(run for run in runs if len(run) <= FEW)])


def _split_equal(times_M: np.ndarray, usual_s: float) -> None:
    """Of equal times keep one, in place: the last, where the time before is free for the others and that after not."""
    known = np.nonzero(np.isfinite(times_M))[0]
    groups = np.split(known, np.nonzero(np.diff(times_M[known]) > 0)[0] + 1)
    for k, group in enumerate(groups):
        if len(group) < 2:
            continue
        room_s = (len(group) - SLACK) * usual_s
        time = times_M[group[0]]
        free_after = k + 1 == len(groups) or times_M[groups[k + 1][0]] - time >= room_s
        free_before = k > 0 and time - times_M[groups[k - 1][-1]] >= room_s
        times_M[group[:-1] if free_before and not free_after else group[1:]] = np.nan


def _fill(times_M: np.ndarray, usual_s: float, longest_s: float) -> None:
    """Give times to frames that have none, in place, where there is room."""
    known = np.nonzero(np.isfinite(times_M))[0]
    first, last = int(known[0]), int(known[-1])
    times_M[:first] = times_M[first] - usual_s * np.arange(first, 0, -1)
    times_M[last + 1 :] = times_M[last] + usual_s * np.arange(1, len(times_M) - last)
    for a, b in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        if b - a == 1:
            continue
        free_s = float(times_M[b] - times_M[a])
        if free_s > longest_s:  # they end what comes before
            times_M[a + 1 : b] = times_M[a] + usual_s * np.arange(1, b - a)
        elif free_s >= (b - a - SLACK) * usual_s:
            times_M[a + 1 : b] = times_M[a] + free_s * np.arange(1, b - a) / (b - a)
