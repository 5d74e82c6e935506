"""What became of the inputs of a folder of shards, why, what took the time, and how scores are spread.

Numbers come from the records of units (folders made by ``prepare``) and from the shards' sidecars (all folders).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_prep.clips.quality import HELD, KEPT, reason_kind
from data_prep.engines.plan import Plan, load_plan
from data_prep.engines.records import ClipRow, Done, read_records
from data_prep.store import Store
from jdap.io.progress import track
from jdap.shards.writer import sidecar_path

#: Bars of a histogram; examples of a reason.
BINS, EXAMPLES = 24, 3
#: Plans of photos have this setting, and no others have.
PHOTO_SETTING = "split"
STATUSES = (KEPT, HELD, "rejected", "failed")


class ReportError(ValueError):
    """A folder of which nothing can be told."""


@dataclass
class _Tally:
    """What is counted while rows go by: they may be too many to keep."""

    sources: set[str] = field(default_factory=set)
    clips: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    scores: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, row: ClipRow) -> None:
        """Count a row."""
        status = row["status"]
        self.sources.add(row["source"])
        self.clips[status] += 1
        self.frames[status] += row["frames"]
        if status != KEPT:
            kind = reason_kind(row["reason"])
            self.reasons[kind][status] += 1
            if len(self.examples[kind]) < EXAMPLES:
                self.examples[kind].append(f"{row['clip_id']}: {row['reason']}")
        for step, spent in row["seconds"].items():
            self.seconds[step] += spent
        if status in (KEPT, HELD):
            for name, value in row["scores"].items():
                self.scores[name][status].append(value)


def summarise(place: str | Path) -> dict[str, Any]:
    """The report of a folder of shards, as it is written to ``report.json``.

    * ``units``: [done, planned]; ``inputs``: how many videos, or people of photos or of the studio, have their rows
    * ``pictures``: how many photos have, whatever became of them; 0 of anything else
    * ``shards``, ``samples``, ``bytes``: of complete shards
    * ``frames``: those of kept clips
    * ``clips``, ``clip_frames``: status → count
    * ``reasons``: kind of reason → {``clips``, ``status``, ``examples``} (not of kept clips), the most frequent first
    * ``seconds``: step → worker's seconds; ``frames_per_second``: kept and held frames over their sum
    * ``scores``: score → {``quantiles``: 5 %, median, 95 % of kept clips; ``edges``, ``kept``, ``held``: a histogram;
      ``least``, ``most``: thresholds of the plan, or None}

    Raises :class:`ReportError` where there is neither a record nor a sidecar, or one cannot be read.
    """
    store = Store(place)
    files = store.walk()
    tars = [name for name in files if name.endswith(".tar") and sidecar_path(Path(name)).as_posix() in files]
    tally, done, plan = _Tally(), set[int](), load_plan(store)
    for name, record in track(read_records(store), "record", Console(stderr=True)):
        if not isinstance(record, Done):
            raise ReportError(f"{place}/{name} {record}")
        done.add(record.unit)
        for row in record.rows:
            tally.add(row)
    if not done and not tars:
        raise ReportError(
            f"{place} holds neither records of units nor shards with sidecars: give a folder that prepare made"
        )
    sidecars = _sidecars(store, tars)
    photos = plan is not None and PHOTO_SETTING in plan.settings
    thresholds = plan.settings.get("thresholds", {}) if plan else {}
    if not done:
        _add_sidecars(tally, sidecars)
    spent = sum(tally.seconds.values())
    drawn = tally.frames[KEPT] + tally.frames[HELD]
    return {
        "units": [len(done), len(plan.units) if plan else 0],
        "inputs": _inputs(plan, done) or len(tally.sources),
        "pictures": tally.frames.total() if photos else 0,
        "shards": len(tars),
        **{name: sum(int(s.get(name, 0)) for s in sidecars) for name in ("samples", "bytes")},
        "frames": tally.frames[KEPT],
        "clips": {status: tally.clips[status] for status in STATUSES if tally.clips[status]},
        "clip_frames": {status: tally.frames[status] for status in STATUSES if tally.clips[status]},
        "reasons": {
            kind: {"clips": counts.total(), "status": counts.most_common(1)[0][0], "examples": tally.examples[kind]}
            for kind, counts in sorted(tally.reasons.items(), key=lambda item: (-item[1].total(), item[0]))
        },
        "seconds": {step: round(seconds, 2) for step, seconds in tally.seconds.items()},
        "frames_per_second": round(drawn / spent, 2) if spent else 0.0,
        "scores": {name: _histogram(values, thresholds.get(name)) for name, values in sorted(tally.scores.items())},
    }


def _inputs(plan: Plan | None, done: set[int]) -> int:
    """What the units that are done were planned of; rows name pictures by themselves where a person's is turned down,
    so they do not tell."""
    return sum(len(plan.units[number].videos) for number in done if number in plan.units) if plan else 0


def _histogram(values: dict[str, list[float]], threshold: list[Any] | None) -> dict[str, Any]:
    """A score's quantiles, histogram and thresholds."""
    every = np.array([x for some in values.values() for x in some])
    edges = np.histogram_bin_edges(every, BINS)
    counts = {status: np.histogram(values.get(status, []), edges)[0].tolist() for status in (KEPT, HELD)}
    kept = values.get(KEPT) or [float("nan")]
    ends = (None if isinstance(end, str) else end for end in threshold or (None, None))  # infinity is a word
    return {
        "quantiles": [_plain(x) for x in np.quantile(kept, [0.05, 0.5, 0.95])],
        "edges": [_plain(x) for x in edges],
        **counts,
        **dict(zip(("least", "most"), ends, strict=True)),
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.6g}")


def _sidecars(store: Store, tars: Iterable[str]) -> list[dict[str, Any]]:
    names = [sidecar_path(Path(name)).as_posix() for name in tars]
    found = []
    for name, data in zip(names, store.read_all(names), strict=True):
        try:
            found.append(json.loads(data))
        except ValueError as error:
            raise ReportError(f"{store}/{name} cannot be read ({error}): prepare the folder again") from error
    return found


def _add_sidecars(tally: _Tally, sidecars: list[dict[str, Any]]) -> None:
    """What sidecars tell where there are no rows."""
    for sidecar in sidecars:
        tally.frames[KEPT] += int(sidecar.get("frames", 0))
        for step, spent in sidecar.get("seconds", {}).items():
            tally.seconds[step] += spent
        for reason, count in sidecar.get("rejected", {}).items():
            tally.reasons[reason]["rejected"] += count
