"""``python -m benchmarks paired A/modes.json B/modes.json``: what one run of ``modes`` gained over others, by pairs.

Two models that answered about the same pictures are compared picture by picture: the mean of the differences, first −
other, and its 95 % interval, which resamples people. That is far narrower than two intervals side by side, because what
is hard about a picture is hard for both. It is how ablations are read. Writes ``paired.json`` and ``paired.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.modes.measure import CODEC, MEAN, NEAREST, OTHER, REFERENCE, TRUE
from jdap.metrics.bootstrap import grouped_interval

#: What must be the same for runs to be comparable.
SAME = ("shards", "steps", "guidance", "seed", "size_px")
BASELINES = (CODEC, REFERENCE, OTHER, TRUE, NEAREST, MEAN)


def run(args: argparse.Namespace) -> int:
    """Compare, print, write."""
    if len(args.runs) < 2:
        raise BenchmarkError("a comparison needs two modes.json at least")
    first, *others = [_read(path) for path in args.runs]
    rows: list[dict[str, Any]] = []
    for path, other in zip(args.runs[1:], others, strict=True):
        wrong = [name for name in SAME if first["stamp"][name] != other["stamp"][name]]
        if wrong or first["pictures"]["key"] != other["pictures"]["key"]:
            raise BenchmarkError(f"{path}: not of the same pictures and settings as {args.runs[0]}: {', '.join(wrong)}")
        rows += compared(first, other, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = {"runs": [str(path) for path in args.runs], **report.software_stamp()}
    report.write_json(args.out / "paired.json", {"rows": rows, "stamp": stamp})
    report.write_csv(args.out / "paired.csv", rows)
    print_table(rows, Console())
    return 0


def compared(first: dict[str, Any], other: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """A row for each measure of each answer that both models gave, baselines left out.

    ``difference`` is first − other, over the ``n`` pictures where both have a value; ``gain`` says whether the interval
    leaves zero, and to which side: 1 better, −1 worse, 0 neither.
    """
    better = {(r["question"], r["answer"], r["measure"]): r["higher_is_better"] for r in first["rows"]}
    rows = []
    for question, answers in first["pictures"]["values"].items():
        for answer, measures in answers.items():
            for measure, mine in measures.items():
                theirs = other["pictures"]["values"].get(question, {}).get(answer, {}).get(measure)
                if theirs is None or answer in BASELINES or (question, answer, measure) not in better:
                    continue
                a, b = (np.array([np.nan if x is None else x for x in values], float) for values in (mine, theirs))
                kept = ~(np.isnan(a) | np.isnan(b))
                if not kept.any():
                    continue
                people = [p for p, k in zip(first["pictures"]["person_id"], kept, strict=True) if k]
                low, high = grouped_interval((a - b)[kept], people, seed=seed)
                sign = 1 if better[question, answer, measure] else -1
                rows.append(
                    {
                        "first": Path(first["stamp"]["weights"]).parent.name or first["stamp"]["weights"],
                        "other": Path(other["stamp"]["weights"]).parent.name or other["stamp"]["weights"],
                        "question": question,
                        "answer": answer,
                        "measure": measure,
                        "n": int(kept.sum()),
                        "first_mean": float(a[kept].mean()),
                        "other_mean": float(b[kept].mean()),
                        "difference": float((a - b)[kept].mean()),
                        "difference_ci": [low, high],
                        "gain": sign * (int(low > 0) - int(high < 0)),
                    }
                )
    if not rows:
        raise BenchmarkError("the runs have no answer in common")
    return rows


def print_table(rows: list[dict[str, Any]], console: Console) -> None:
    """One block for each other run and question; 80 columns are what a log has."""
    for other, question in dict.fromkeys((row["other"], row["question"]) for row in rows):
        mine = [row for row in rows if (row["other"], row["question"]) == (other, question)]
        console.print(f"{question}: {mine[0]['first']} against {other}", style="bold")
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for header in ("answer", "measure", "first", "other", "difference", "95 % interval"):
            table.add_column(header, no_wrap=True, justify="left" if header == "answer" else "right")
        for row in mine:
            low, high = row["difference_ci"]
            table.add_row(
                row["answer"],
                row["measure"],
                f"{row['first_mean']:.3f}",
                f"{row['other_mean']:.3f}",
                f"{row['difference']:+.3f}",
                f"{low:+.3f} … {high:+.3f}",
                style={1: "green", -1: "red", 0: ""}[row["gain"]],
            )
        report.show(table, console)
    console.print("green: better, red: worse; otherwise the interval holds zero", style="dim")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not all(name in data for name in ("rows", "stamp", "pictures")) or "person_id" not in data["pictures"]:
            raise ValueError("it lacks rows, stamp or pictures")
    except (OSError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: no modes.json of `python -m benchmarks modes`: {error}") from error
    return data
