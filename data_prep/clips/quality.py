"""What a clip is judged by: scores of every frame, one number a clip, thresholds, and the decision at the very end.

Every step adds scores of every frame. :data:`SCORES` lists them: how frames become the clip's number, and
between which values a clip is kept. Nothing is thrown away by a threshold: what fails one is *held*, drawn and
stored apart, and :func:`select` admits it when the threshold changes. What cannot be measured at all (no face, a face
behind another one) is *rejected*.

Shapes: F frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.clips.alike import Alike

#: Measured clips are kept or, where a threshold says so, held; rejected ones could not be measured or were not asked
#: for; failed ones met an error.
KEPT, HELD, REJECTED, FAILED = "kept", "held", "rejected", "failed"
INF = float("inf")
#: Clip score → (least, most): a clip outside of them is held.
Thresholds = dict[str, tuple[float, float]]
#: Bits (of 64) by which two pictures' hashes may differ and still be the same picture, coded anew or resized.
SAME_PICTURE_BITS = 6
#: Duplicates move alike: correlation of their motion; and they move, by so many times the noise (root mean square).
SAME_MOTION, MOVES = 0.8, 1.0
#: A clip's motion in its fingerprint: scores, each with the noise it is measured with, at so many moments.
MOTION_NOISE = {"yaw_deg": 0.5, "pitch_deg": 0.5, "roll_deg": 0.3, "lip_opening_mm": 0.5}
MOMENTS = 16


def reason_kind(reason: str) -> str:
    """A reason without its numbers, to count by: "several faces in 40% of the frames" is "several faces in"."""
    return re.split(r"[\d(]", reason, maxsplit=1)[0].rstrip(" :,") or reason


class ThresholdError(ValueError):
    """A threshold that cannot be understood."""


@dataclass(frozen=True)
class Score:
    """A clip's number: ``statistic`` over the frames of the score ``of``; kept from ``least`` to ``most``."""

    name: str
    of: str
    statistic: str
    least: float = -INF
    most: float = INF


#: In the order in which they are looked at; the first that fails is the reason. Units and rules: docs/data.md.
SCORES: tuple[Score, ...] = (
    Score("found", "found", "mean", least=0.8),
    Score("source_fps", "source_fps", "mean", least=18),
    Score("repeated", "repeated", "mean", most=0.25),
    Score("several", "several", "mean"),
    Score("crowded", "crowded", "mean", most=0.1),
    Score("face_px", "face_px", "mean", least=64),
    Score("brightness", "brightness", "mean", least=0.08, most=0.95),
    Score("sharpness", "sharpness", "mean", least=10),
    Score("yaw_deg", "yaw_deg", "largest"),
    Score("pitch_deg", "pitch_deg", "largest"),
    Score("roll_deg", "roll_deg", "largest", most=50),
    Score("yaw_range_deg", "yaw_deg", "range"),
    Score("pitch_range_deg", "pitch_deg", "range"),
    Score("eyes_open", "eyes_open", "mean", least=0.2),
    Score("outside", "outside", "most", most=0.1),
    Score("occluded", "occluded", "largest", most=0.35),
    Score("covered", "covered", "largest", most=0.35),
    Score("motion", "motion", "largest"),
    Score("fit_error", "fit_error", "mean", most=0.02),
    Score("fit_error_p95", "fit_error_p95", "mean"),
    Score("fit_rms", "fit_rms", "mean"),
    Score("jitter_mm", "jitter_mm", "mean"),
    Score("identity_spread", "identity_spread", "mean"),
    Score("lens_exif", "lens_exif", "mean"),
    Score("padded", "padded", "mean", most=0.3),
    Score("cut_margin", "cut_margin", "least"),
    Score("audio", "audio", "mean"),
    Score("audio_lost", "audio_lost", "mean", most=0.05),
    Score("audio_cancelled", "audio_cancelled", "mean", most=0.5),
    Score("voice", "voice", "mean"),
    Score("speech", "speech", "mean"),
    Score("loudness_lufs", "loudness_lufs", "gated"),
    Score("snr_db", "snr_db", "mean"),
    Score("lip_opening_mm", "lip_opening_mm", "mean"),
    Score("lip_range_mm", "lip_opening_mm", "range"),
    Score("sync_confidence", "sync_confidence", "mean"),
    Score("sync_offset_frames", "sync_offset_frames", "mean"),
)
THRESHOLDS: Thresholds = {s.name: (s.least, s.most) for s in SCORES if s.least > -INF or s.most < INF}


def _gated(levels: np.ndarray) -> float:
    """The mean power of levels (dB) that are within 10 dB of the mean power of all: BS.1770's integrated loudness."""
    power = 10 ** (levels / 10)
    return float(10 * np.log10(power[levels >= 10 * np.log10(power.mean()) - 10].mean()))


_STATISTICS = {
    "gated": _gated,
    "mean": lambda x: np.mean(x),
    "largest": lambda x: np.quantile(np.abs(x), 0.95),
    "least": lambda x: np.min(x),
    "most": lambda x: np.max(x),
    "range": lambda x: np.quantile(x, 0.95) - np.quantile(x, 0.05),
}


def clip_scores(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Frame scores (F,) → the clip's numbers; of scores that :data:`SCORES` does not know the mean. NaN is left out."""
    found: dict[str, float] = {}
    known = {score.of for score in SCORES}
    for score in (*SCORES, *(Score(name, name, "mean") for name in sorted(scores) if name not in known)):
        values = np.asarray(scores.get(score.of, ()), np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            found[score.name] = round(float(_STATISTICS[score.statistic](values)), 5)
    return found


def select(row: dict[str, Any], thresholds: Thresholds) -> dict[str, Any]:
    """The row of a measured clip, ``kept`` or ``held`` by its scores; every other row as it is.

    A pure function of the row's scores and its ``duplicate_of``: it may be asked again with other thresholds.
    Scores that a row lacks are not judged.
    """
    if row["status"] not in (KEPT, HELD):
        return row
    reason = why_not(row["scores"], thresholds)
    if not reason and row.get("duplicate_of"):
        reason = f"duplicate of {row['duplicate_of']}"
    remark = "no audio track" if row["scores"].get("audio") == 0 else ""
    return {**row, "status": HELD if reason else KEPT, "reason": reason or remark}


def why_not(scores: Mapping[str, float], thresholds: Thresholds) -> str:
    """Which threshold a clip's scores fail, by name and value; empty if none."""
    order = [s.name for s in SCORES]
    for name in sorted(thresholds, key=lambda n: order.index(n) if n in order else len(order)):
        least, most = thresholds[name]
        value = scores.get(name)
        if value is None:
            continue
        if not value >= least:
            return f"{name} {value:.3g} is under {least:g}"
        if not value <= most:
            return f"{name} {value:.3g} is over {most:g}"
    return ""


def parse_thresholds(least: str = "", most: str = "", known: Mapping[str, object] | None = None) -> Thresholds:
    """:data:`THRESHOLDS`, changed by ``--min`` and ``--max``: ``face_px=96,sharpness=20``; ``face_px=none`` lifts one.

    Raises :class:`ThresholdError` for what is no number, or names no score.
    """
    found, names = dict(THRESHOLDS), known or {score.name: None for score in SCORES}
    for text, side in ((least, 0), (most, 1)):
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, number = (x.strip() for x in part.partition("="))
            if not equals or name not in names:
                raise ThresholdError(f"{part!r} is not SCORE=NUMBER; scores: {', '.join(names)}")
            none = (-INF, INF)[side]
            try:
                value = none if number == "none" else float(number)
            except ValueError as error:
                raise ThresholdError(
                    f"{part!r}: {number!r} is no number (nor none, which lifts a threshold)"
                ) from error
            low, high = found.get(name, (-INF, INF))
            found[name] = (value, high) if side == 0 else (low, value)
    return found


def fingerprint(hashes: list[bytes], scores: Mapping[str, np.ndarray]) -> str:
    """What a clip is known by, hexadecimal: hashes of its first, middle and last picture (8 bytes each), and how head
    and lips move (:data:`MOTION_NOISE`, quarters of the noise around the mean, a signed byte each)."""
    series = []
    for name, noise in MOTION_NOISE.items():
        values = np.asarray(scores[name], np.float64)
        at = np.linspace(0, len(values) - 1, MOMENTS)
        series.append(np.interp(at, np.arange(len(values)), values - values.mean()) / noise * 4)
    motion = np.concatenate(series).round().clip(-127, 127).astype(np.int8)
    return (b"".join(hashes) + motion.tobytes()).hex()


class DuplicateFinder:
    """Marks the rows of clips that show what an earlier one shows; rows come one by one, in order.

    A duplicate is as long as the earlier clip, give or take a frame, its pictures look the same
    (:data:`SAME_PICTURE_BITS`), and head and lips move alike (:data:`SAME_MOTION`): two moments of one person before
    one wall are none. Clips in which nothing moves are not told apart, and so not marked. Clips that fail
    ``thresholds`` are nobody's first: a copy that is held must not cost the good one.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        #: Frames → clips of that length that are nobody's duplicates, and their ids.
        self._firsts: dict[int, tuple[Alike, list[str]]] = {}

    def mark(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, with ``duplicate_of`` (a ``clip_id``) if it is one; what was marked before is forgotten."""
        row = {name: value for name, value in row.items() if name != "duplicate_of"}
        if row["status"] not in (KEPT, HELD) or not row.get("fingerprint"):
            return row
        if why_not(row["scores"], self._thresholds):
            return row
        data = np.frombuffer(bytes.fromhex(row["fingerprint"]), np.uint8)
        motion = data[24:].view(np.int8).astype(np.float64)
        if np.sqrt(np.square(motion).mean()) < 4 * MOVES:
            return row
        hashes, frames = data[:24].copy().view(np.uint64), int(row["frames"])
        for length in (frames - 1, frames, frames + 1):
            if length in self._firsts:
                alike, names = self._firsts[length]
                if (found := alike.first(hashes, motion)) is not None:
                    return row | {"duplicate_of": names[found]}
        alike, names = self._firsts.setdefault(frames, (Alike(SAME_PICTURE_BITS, SAME_MOTION), []))
        alike.add(hashes, motion)
        names.append(row["clip_id"])
        return row


def judge(rows: Sequence[dict[str, Any]], thresholds: Thresholds) -> list[dict[str, Any]]:
    """The rows of a video as a :class:`DuplicateFinder` marks them, ``kept`` or ``held``."""
    finder = DuplicateFinder(thresholds)
    return [select(finder.mark(row), thresholds) for row in rows]
