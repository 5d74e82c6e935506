"""``python -m data_prep report DIR``: what became of the inputs, why, and what took the time.

Numbers come from the records of units (folders made by ``prepare``) and from the shards' sidecars (all folders). They
are printed and written to ``DIR/report.json``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_prep.engines.records import read_rows
from data_prep.quality import KEPT, reason_kind
from data_prep.store import Store
from jdap.files import write_whole

REPORT = "report.json"
REPORTS = (REPORT, "report.html")


class ReportError(ValueError):
    """A folder of which nothing can be told."""


def summarise(folder: Path) -> dict[str, Any]:
    """The report of a folder of shards, as it is written to ``report.json``.

    * ``shards``, ``samples``, ``frames``, ``bytes``: of the complete shards
    * ``clips``: status → count; ``inputs``: how many videos; ``reasons``: kind of reason → count (not of kept clips)
    * ``seconds``: stage → seconds; ``scores``: score → [5 %, median, 95 %] over kept clips' means

    Raises :class:`ReportError` where there is neither a record nor a sidecar, or one cannot be read.
    """
    rows = list(read_rows(Store(folder)))
    sidecars = [_load(path) for path in sorted(folder.rglob("*.json")) if path.with_suffix(".tar").exists()]
    if not rows and not sidecars:
        raise ReportError(
            f"{folder} holds neither records of units nor shards with sidecars: give a folder that prepare made"
        )
    seconds: dict[str, float] = defaultdict(float)
    for source in rows or sidecars:
        for stage, spent in source.get("seconds", {}).items():
            seconds[stage] += spent
    turned_down = Counter(reason_kind(row["reason"]) for row in rows if row["status"] != KEPT)
    if not rows:
        for sidecar in sidecars:
            turned_down.update(sidecar.get("rejected", {}))
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["status"] == KEPT:
            for name, value in row["scores"].items():
                scores[name].append(value)
    return {
        "shards": len(sidecars),
        **{name: sum(int(s.get(name, 0)) for s in sidecars) for name in ("samples", "frames", "bytes")},
        "inputs": len({row["source"] for row in rows}),
        "clips": dict(sorted(Counter(row["status"] for row in rows).items())),
        "reasons": dict(turned_down.most_common()),
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "scores": {name: np.quantile(values, [0.05, 0.5, 0.95]).round(5).tolist() for name, values in scores.items()},
    }


def print_report(report: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    counts = Table("what", "number", title="Yield")
    for name in ("inputs", *report["clips"], "shards", "samples", "frames"):
        counts.add_row(name if name not in report["clips"] else f"clips {name}", str(_count(report, name)))
    counts.add_row("megabytes", f"{report['bytes'] / 1e6:.1f}")
    console.print(counts)
    if report["reasons"]:
        table = Table("reason", "clips", title="Turned down")
        for reason, count in report["reasons"].items():
            table.add_row(reason, str(count))
        console.print(table)
    if report["seconds"]:
        table = Table("stage", "seconds", "share", "ms a frame", title="Time")
        total, frames = sum(report["seconds"].values()), max(report["frames"], 1)
        for stage, spent in report["seconds"].items():
            table.add_row(stage, f"{spent:.1f}", f"{spent / max(total, 1e-9):.0%}", f"{1000 * spent / frames:.0f}")
        console.print(table)
    if report["scores"]:
        table = Table("score", "5 %", "median", "95 %", title="Scores of kept clips")
        for name, (low, middle, high) in sorted(report["scores"].items()):
            table.add_row(name, f"{low:.4g}", f"{middle:.4g}", f"{high:.4g}")
        console.print(table)


def _count(report: dict[str, Any], name: str) -> int:
    return report["clips"][name] if name in report["clips"] else report[name]


def _load(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ReportError(f"{path} cannot be read ({error}): prepare the folder again") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep report``."""
    parser.description = "Yield, reasons, time and scores of a folder of shards; writes report.json into it."
    parser.add_argument("folder", type=Path, help="folder that prepare or studio made")


def run(args: argparse.Namespace) -> int:
    """Print the report and write it."""
    report = summarise(args.folder)
    print_report(report, Console())
    write_whole(args.folder / REPORT, json.dumps(report, indent=1).encode())
    return 0
