"""How results leave a benchmark: a table for people, CSV and JSON for programs, and a stamp that says what was run."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

import jdap
from benchmarks import BenchmarkError
from jdap.io.files import write_whole
from jdap.metrics.bootstrap import grouped_interval
from jdap.metrics.depth import METRIC, NORMALISED, PAPER, SCALE_SHIFT

#: arXiv 2501.08649, image-to-depth. Measured on its authors' studio captures, which nobody else has.
PAPER_FIGURES = "paper (its own studio test set, not comparable): AbsRel 0.162, δ1 0.765, RMSE 0.047"
FRAME_TITLES = {
    NORMALISED: "normalised frame (the face's depth is 0.1 near … 1 far)",
    PAPER: "the paper's frame, as we reconstruct it (0 near … 1 far)",
    METRIC: "metric frame (RMSE in mm; δ1 says nothing here)",
}


def software_stamp() -> dict[str, Any]:
    """What made a result: versions, ``git_commit`` (``-dirty`` if edited, None without one), cores, and the machine's
    load, the mean number of busy programs over the last minute and quarter of an hour."""
    one, _, fifteen = os.getloadavg()
    return {
        "jdap": jdap.__version__,
        "git_commit": _git_commit(),
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": [round(one, 2), round(fifteen, 2)],
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all. NaN and infinity, which JSON does not have, become null."""
    write_whole(path, (json.dumps(_finite(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; a pair ``x_ci`` becomes columns ``x_lo``, ``x_hi``. What a row lacks is
    empty; no rows are an empty file."""
    buffer = io.StringIO()
    flat = [_flat(row) for row in rows]
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_whole(path, buffer.getvalue().encode())


def put_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two lines of a file. Raises :class:`BenchmarkError` where it has not both."""
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise BenchmarkError(f"{path}: it lacks the lines {begin} and {end}, between which a table is put")
    write_whole(path, f"{before}{begin}\n{text}\n{end}{after}".encode())


def mean_and_interval(values_N: np.ndarray, people: Sequence[str], seed: int) -> dict[str, Any]:
    """``n``, ``mean`` and ``mean_ci`` of the finite values: the 95 % interval of the bootstrap over people."""
    kept = np.isfinite(values_N)
    whose = [p for p, keep in zip(people, kept, strict=True) if keep]
    mean = float(values_N[kept].mean()) if whose else float("nan")
    return {"n": len(whose), "mean": mean, "mean_ci": list(grouped_interval(values_N[kept], whose, seed=seed))}


def mean_cell(row: dict[str, Any] | None) -> str:
    """A row of :func:`mean_and_interval`, with its ``unit``, as mean ± half of the interval's width; "" of nothing."""
    if row is None or not row["n"]:
        return ""
    digits = {"dB": 1, "°": 1, "%": 1, "of 2": 4}.get(row["unit"], 3)
    low, high = row["mean_ci"]
    return f"{row['mean']:.{digits}f}" + ("" if math.isnan(low) else f"±{(high - low) / 2:.{digits}f}")


def grid(first: str, columns: Iterable[str]) -> Table:
    """An empty table: names at the left under ``first``, and columns of figures."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def show(table: Table, console: Console) -> None:
    """Print a table whole: where the console is narrower (80 columns in a log), its figures would be cut."""
    width = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    Console(file=console.file, width=max(console.width, width)).print(table)


def print_left_out(stamp: dict[str, Any], console: Console) -> None:
    """What was not measured, and why."""
    for name, why in stamp["left_out"].items():
        console.print(f"left out: {name} ({why})", style="yellow", markup=False)


def print_table(rows: Sequence[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """Print the depth table after scale and shift, one block a frame, and under it what a reader must know to read it.

    Other alignments are in the files.
    """
    rows = [row for row in rows if row["alignment"] == SCALE_SHIFT]
    for frame in dict.fromkeys(row["frame"] for row in rows):
        console.print(f"Image-to-depth, {FRAME_TITLES[frame]}", style="bold")
        table = grid("method", ("n", "AbsRel↓", "δ1↑", "RMSE↓", "95 % interval", "of range", "vs mean"))
        for row in rows:
            if row["frame"] == frame:
                table.add_row(*_cells(row))
        show(table, console)
    console.print(
        f"{stamp['pictures']} pictures of {stamp['people']} people; scale and shift aligned per picture on skin; "
        f"interval: RMSE, bootstrap over {stamp['interval_over']}; vs mean: RMSE against that of the training mean",
        style="dim",
    )
    for line in _notes(rows, stamp):
        console.print(line, style="yellow")
    console.print(PAPER_FIGURES, style="dim")


def _cells(row: dict[str, Any]) -> list[str]:
    digits = 2 if row["unit"] == "mm" else 4
    below = row["rmse_below_mean"]
    return [
        row["method"],
        str(row["n"]),
        _number(row["absrel"], 4),
        _number(row["delta1"], 3),
        _number(row["rmse"], digits),
        "–".join(_number(bound, digits) for bound in row["rmse_ci"]),
        f"{_number(100 * row['rmse_share'], 1)} %",
        "" if below is None else f"{-100 * below:+.0f} %",
    ]


def _notes(rows: Sequence[dict[str, Any]], stamp: dict[str, Any]) -> list[str]:
    notes = [f"left out: {name} ({reason})" for name, reason in stamp["left_out"].items()]
    if stamp["pictures_without_skin_depth"]:
        notes.append(f"{stamp['pictures_without_skin_depth']} pictures have no skin depth and are not counted")
    if fitted := stamp["depth_source"].get("fitted"):
        notes.append(f"the depth of {fitted} pictures is a fitted face model, not ground truth")
    if stamp["interval_over"] != "people":
        notes.append(f"the interval is over {stamp['interval_over']} of one person: it says nothing of other people")
    elif stamp["people"] < 2:
        notes.append("one person only: no interval can be given")
    for row in rows:
        if row["negative_scale"] > 0 and row["frame"] == rows[0]["frame"]:
            count = round(row["negative_scale"] * row["n"])
            notes.append(f"{row['method']}: relief inside out (negative scale) in {count} of {row['n']} pictures")
    return notes


def _number(value: float, digits: int) -> str:
    return "?" if math.isnan(value) else f"{value:.{digits}f}"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key.endswith("_ci"):
            flat[f"{key.removesuffix('_ci')}_lo"], flat[f"{key.removesuffix('_ci')}_hi"] = value or (None, None)
        else:
            flat[key] = value
    return flat


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _git_commit() -> str | None:
    root = Path(jdap.__file__).resolve().parents[1]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed package may lie inside of somebody else's checkout (a virtual environment does).
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
