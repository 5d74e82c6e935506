"""``python -m benchmarks audit``: do the depth and the picture that a model draws together belong together?

The check that the paper names for next. Portraits are drawn from references, and each is asked six questions
(:mod:`benchmarks.modes.audit_measures`): is depth that is estimated again from its RGB, by the model and by a head
fitted to landmarks, the depth that was drawn; do the silhouettes meet; do landmarks of the RGB and of the relief of the
depth; has it one face, and one nose. Beside: ``true``, pictures and their true depth, which is what the instruments
cost; and ``swapped``, the drawn RGB with the depth drawn of the next person.

A drawn sample *fails* a check when it is worse than 95 % of the true pictures; ``failing`` is the share that does, and
``excess`` how far they are beyond that line. Where the line itself is the common value (one face) failing is anything
beyond it. Writes ``audit.json``, ``audit.csv`` and ``audit.png`` (the worst samples, worst first).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, report
from benchmarks.counts import count_pictures
from benchmarks.depth.depth import pictures
from benchmarks.modes.audit_measures import CHECKS, Auditor
from benchmarks.modes.measure import TRUE, ModeSettings, estimated, portraits
from jdap.batch import ImageBatch, other_people
from jdap.data.modules import ImageDataModule
from jdap.faces.landmarker import Landmarker
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.pipelines.grid import depth_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline

DRAWN_PAIR, SWAPPED = "drawn", "swapped"
#: The share of true pictures that a failing sample is worse than.
FAILING_LINE = 0.95
#: Samples in the sheet.
WORST_SHOWN = 12


@dataclass
class AuditScores:
    """``values[answer][check]``, a number a sample; ``cells[column]``: pictures (3, S, S) of every drawn sample."""

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cells: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, answer: str, found: dict[str, Tensor]) -> None:
        """Take in a batch's numbers."""
        place = self.values.setdefault(answer, {})
        for name, values in found.items():
            place.setdefault(name, []).extend(values.tolist())

    def column(self, answer: str, check: str) -> np.ndarray:
        """One check (N,), turned so that more is worse."""
        return np.array(self.values[answer][check]) * (-1 if CHECKS[check][1] else 1)


def lines(scores: AuditScores) -> dict[str, float]:
    """Where each check's line lies, more being worse; NaN where no true picture says anything."""
    found = {}
    for check in CHECKS:
        true = scores.column(TRUE, check)
        true = true[np.isfinite(true)]
        found[check] = float(np.quantile(true, FAILING_LINE)) if len(true) else float("nan")
    return found


def rows(scores: AuditScores, seed: int) -> list[dict[str, Any]]:
    """A row a check (``question``), answer and measure: ``value``, ``failing`` (share), ``excess`` of those that fail.

    ``any check``: the share that fails at least one. Samples about which a check cannot tell are not in its ``n``;
    ``any check`` has all samples, and what cannot be told is no failure there: it is the least that fails.
    """
    table = []

    def add(check: str, answer: str, measure: str, values: np.ndarray, unit: str, better: bool | None) -> None:
        row = {"question": check, "answer": answer, "measure": measure, "unit": unit, "higher_is_better": better}
        table.append(row | report.mean_and_interval(values, scores.person_id, seed))

    line = lines(scores)
    for check, (unit, better) in CHECKS.items():
        for answer in scores.values:
            values = scores.column(answer, check)
            known = np.isfinite(values)
            failing = np.where(known, (values > line[check]).astype(float), np.nan)
            add(check, answer, "value", np.array(scores.values[answer][check]), unit, better)
            add(check, answer, "failing", failing, "share", False)
            add(check, answer, "excess", np.where(failing == 1, values - line[check], np.nan), unit, False)
    for answer in scores.values:
        some = np.stack([scores.column(answer, check) > line[check] for check in CHECKS])
        add("any check", answer, "failing", some.any(0).astype(float), "share", False)
    return table


def worst(scores: AuditScores) -> list[int]:
    """Drawn samples from the worst on, by the sum over checks of how many true pictures they are worse than."""
    total = np.zeros(len(scores.key))
    for check in CHECKS:
        drawn, true = (scores.column(answer, check) for answer in (DRAWN_PAIR, TRUE))
        true = np.sort(true[np.isfinite(true)])
        if len(true):
            beyond = (drawn - true[-1]).clip(0) / max(float(np.ptp(true)), 1e-9)
            rank = np.searchsorted(true, drawn) / len(true) + np.nan_to_num(beyond)
            total += np.where(np.isfinite(drawn), rank, 0)
    return np.argsort(-total, kind="stable").tolist()


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, measure, print the table, and write the files into ``args.out``."""
    console, device = Console(), find_device(args.device)
    pipeline = PortraitPipeline.from_pretrained(args.weights).quiet().to(device)
    if pipeline.one_step_start is not None:
        raise BenchmarkError(f"--weights {args.weights}: they only estimate depth in one step; they draw nothing")
    estimator = pipeline if args.estimator is None else PortraitPipeline.from_pretrained(args.estimator).quiet()
    estimator = estimator.to(device)
    settings = ModeSettings(args.steps, args.guidance, seed=args.seed)
    data = ImageDataModule(test=args.shards, batch_size=args.batch_size, size_px=pipeline.size_px, eval_frames=1)
    scores = AuditScores()
    total = count_pictures(args.shards, args.count, 1)
    with Landmarker() as landmarker, Telling("sample", total, console=console) as telling:
        audit = Auditor(landmarker)
        for batch in pictures(data.test_dataloader(), device, args.count):
            look(scores, audit, pipeline, estimator, batch, settings)
            telling.advance(len(batch))
    if not scores.key:
        raise BenchmarkError(f"{args.shards}: holds no pictures")
    args.out.mkdir(parents=True, exist_ok=True)
    table = rows(scores, args.seed)
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        **{name: getattr(args, name) for name in ("weights", "estimator", "shards", "steps", "guidance", "seed")},
        "samples": len(scores.key),
        "people": len(set(scores.person_id)),
        "lines": {name: -line if CHECKS[name][1] else line for name, line in lines(scores).items()},
        "left_out": {},
    }
    per_sample = {"key": scores.key, "person_id": scores.person_id, "values": scores.values}
    report.write_json(args.out / "audit.json", {"rows": table, "stamp": stamp, "samples": per_sample})
    report.write_csv(args.out / "audit.csv", table)
    shown = worst(scores)[:WORST_SHOWN]
    columns = [torch.stack([cells[i] for i in shown]) for cells in scores.cells.values()]
    labelled_grid(columns, list(scores.cells)).save(args.out / "audit.png")
    print_table(table, stamp, console)
    return 0


def look(
    scores: AuditScores,
    audit: Auditor,
    pipeline: PortraitPipeline,
    estimator: PortraitPipeline,
    batch: ImageBatch,
    settings: ModeSettings,
) -> None:
    """Draw from a batch's references, and note what is found of that and of the true pictures."""
    made = portraits(pipeline, batch, settings)
    again = estimated(estimator, made.rgb, settings, batch.key)
    others, lonely = other_people(batch.person_id)
    found, sheet = audit(made.rgb, made.depth, again)
    scores.add(DRAWN_PAIR, found)
    scores.add(TRUE, audit(batch.rgb, batch.depth, estimated(estimator, batch.rgb, settings, batch.key))[0])
    swapped, _ = audit(made.rgb, made.depth[others], again)
    scores.add(SWAPPED, {name: torch.where(lonely, torch.nan, values) for name, values in swapped.items()})
    scores.key += batch.key
    scores.person_id += batch.person_id
    cells = {
        "reference": batch.reference_rgb,
        "drawn": made.rgb,
        "its depth": depth_picture(made.depth),
        "estimated again": depth_picture(again),
        "relief": sheet["relief"],
        "depth red, RGB cyan": sheet["silhouettes"],
    }
    for name, values in cells.items():
        scores.cells.setdefault(name, []).extend(values.float().cpu())


def print_table(table: list[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """A line a check and answer."""
    found = {(row["question"], row["answer"], row["measure"]): row for row in table}
    shown = report.grid("check", ("answer", "n", "value", "failing", "excess", "unit"))
    for check, answer in dict.fromkeys((row["question"], row["answer"]) for row in table):
        cells = [found.get((check, answer, measure)) for measure in ("value", "failing", "excess")]
        n = found[check, answer, "failing"]["n"]
        unit = CHECKS[check][0] if check in CHECKS else ""
        shown.add_row(check, answer, str(n), *(report.mean_cell(cell) for cell in cells), unit)
    report.show(shown, console)
    console.print(
        f"{stamp['samples']} samples of {stamp['people']} people; failing: share that is worse than {FAILING_LINE:.0%} "
        "of the true pictures; ±: half of the 95 % bootstrap interval over people",
        style="dim",
    )
