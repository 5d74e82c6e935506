"""``python -m data_prep report DIR_OR_URL``: what became of the inputs, why, what took the time, and how it looks.

The numbers are printed, and written to ``report.json`` and, with charts and pictures, to ``report.html``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from data_prep.choices import PAGE, REPORT
from data_prep.clips.quality import HELD, KEPT
from data_prep.folders.page import render_page
from data_prep.folders.summary import summarise
from data_prep.store import Store


def print_report(report: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    counts = Table("what", "number", title="Yield")
    if report["units"][1]:
        counts.add_row("units done", f"{report['units'][0]} of {report['units'][1]}")
    names = ("inputs", *(["pictures"] if report["pictures"] else []), "shards", "samples", "frames")
    for name in names:
        counts.add_row(name, str(report[name]))
    for status, number in report["clips"].items():
        counts.add_row(f"clips {status}", f"{number} ({number / sum(report['clips'].values()):.0%})")
    counts.add_row("megabytes", f"{report['bytes'] / 1e6:.1f}")
    console.print(counts)
    if report["reasons"]:
        table = Table("reason", "clips", "status", title="Turned down")
        for reason, told in report["reasons"].items():
            table.add_row(reason, str(told["clips"]), told["status"])
        console.print(table)
    if report["seconds"]:
        table = Table("step", "seconds", "share", "ms a frame", title="Time of a worker")
        drawn = max(sum(report["clip_frames"].get(status, 0) for status in (KEPT, HELD)), 1)
        total = max(sum(report["seconds"].values()), 1e-9)
        for step, spent in report["seconds"].items():
            table.add_row(step, f"{spent:.1f}", f"{spent / total:.0%}", f"{1000 * spent / drawn:.1f}")
        table.add_row("all", f"{total:.1f}", "", f"{1000 * total / drawn:.1f}")
        console.print(table)
        console.print(f"{report['frames_per_second']:g} frames a second and worker")
    if report["scores"]:
        table = Table("score", "5 %", "median", "95 %", "kept from", "to", title="Scores of kept clips")
        for name, told in report["scores"].items():
            ends = ("" if end is None else f"{end:g}" for end in (told["least"], told["most"]))
            table.add_row(name, *("–" if value is None else f"{value:.4g}" for value in told["quantiles"]), *ends)
        console.print(table)


def run(args: argparse.Namespace) -> int:
    """Print the report and write it."""
    report = summarise(args.folder)
    console = Console()
    print_report(report, console)
    store = Store(args.folder)
    store.write(REPORT, json.dumps(report, indent=1).encode())
    store.write(PAGE, render_page(report, store))
    console.print(f"look at {args.folder}/{PAGE}", markup=False, soft_wrap=True)
    return 0
