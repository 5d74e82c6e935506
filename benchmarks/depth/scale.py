"""``python -m benchmarks scale studio:50=A studio:200=B … --out DIR``: how depth's error falls with more data.

It trains nothing: it reads ``pictures.csv`` of runs of ``benchmarks depth`` on the same pictures, one of each trained
model. Of each series a power law is fitted to the mean errors,

    error(N) = c · N^(−b),    log error = log c − b log N by least squares,

beside it 2^(−b), what is left of the error when N is doubled. Intervals resample people, all models
on the same ones; they do not hold what another seed of training changes, so give several runs of one N where you can:
their mean counts. Then what each series gains over the first at the same N, and each N over the series' least.
Writes ``scale.json`` and ``scale.csv``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import BenchmarkError, report
from jdap.metrics.bootstrap import interval, resampled_means
from jdap.metrics.depth import SCALE_SHIFT, UNIT_OF_FRAME

Series = dict[str, dict[int, list[np.ndarray]]]
#: What a row is of; the last three are of a whole series.
ERROR, OVER_LEAST, OVER_FIRST = "RMSE", "minus the least number's", "minus the first series'"
EXPONENT, FACTOR, DOUBLED = "exponent b", "factor c", "left of the error by doubling"


def run(args: argparse.Namespace) -> int:
    """Read, fit, print, write."""
    series, people = read_series(args.runs, args.method, args.frame)
    rows = scale_rows(series, people, args.across, UNIT_OF_FRAME[args.frame], args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {f"{name}:{number}": str(folder) for name, number, folder in args.runs}
    stamp = {"runs": runs, "across": args.across, "method": args.method, "frame": args.frame, "seed": args.seed}
    stamp |= {"pictures": len(people), "people": len(set(people)), **report.software_stamp()}
    report.write_json(args.out / "scale.json", {"rows": rows, "stamp": stamp})
    report.write_csv(args.out / "scale.csv", rows)
    _print(rows, stamp, Console())
    return 0


def read_series(runs: Sequence[tuple[str, int, Path]], method: str, frame: str) -> tuple[Series, list[str]]:
    """RMSE of each picture (P,) by series, number and seed, after scale and shift; and whose the P pictures are.

    Raises :class:`BenchmarkError` that names a folder without such rows, or of other pictures than the first.
    """
    found: Series = {}
    whose: dict[str, str] = {}
    for name, number, folder in runs:
        path = folder / "pictures.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = [line for line in csv.DictReader(file) if line["method"] == method and line["frame"] == frame]
            lines = [line for line in lines if line["alignment"] == SCALE_SHIFT]
            errors = {line["picture"]: float(line["rmse"]) for line in lines}
        except (OSError, KeyError, ValueError) as error:
            raise BenchmarkError(f"{path}: no pictures.csv of `python -m benchmarks depth`: {error!r}") from error
        if not errors:
            raise BenchmarkError(f"{path}: holds no row of method {method} in the frame {frame}")
        whose = whose or {line["picture"]: line["person"] for line in lines}
        if errors.keys() != whose.keys():
            raise BenchmarkError(f"{path}: not of the same pictures as {runs[0][2]}: measure both on the same shards")
        found.setdefault(name, {}).setdefault(number, []).append(np.array([errors[key] for key in whose]))
    return found, list(whose.values())


def scale_rows(series: Series, people: Sequence[str], across: str, unit: str, seed: int) -> list[dict[str, Any]]:
    """A row a series, ``what`` and ``number`` (0: of all): ``n`` pictures, ``seeds``, ``mean`` and ``mean_ci``."""
    keys = [(name, number) for name, numbers in series.items() for number in sorted(numbers)]
    columns = np.stack([np.mean(series[name][number], axis=0) for name, number in keys], axis=1)
    means, draws = columns.mean(0), resampled_means(columns, people, seed=seed)
    at = {key: place for place, key in enumerate(keys)}
    alone = len(set(people)) < 2
    first = next(iter(series))
    rows: list[dict[str, Any]] = []

    def add(name: str, what: str, number: int, unit: str, value: float, drawn: np.ndarray) -> None:
        ends = [float("nan")] * 2 if alone else list(interval(drawn))
        seeds = min(map(len, series[name].values())) if not number else len(series[name][number])
        row = {"series": name, "what": what, "number": number, "across": across, "unit": unit, "n": len(people)}
        rows.append(row | {"seeds": seeds, "mean": float(value), "mean_ci": ends})

    for name, numbers in series.items():
        places = [at[name, number] for number in sorted(numbers)]
        for place in places:
            add(name, ERROR, keys[place][1], unit, means[place], draws[:, place])
        for place in places[1:]:
            add(name, OVER_LEAST, keys[place][1], unit, *_difference(means, draws, place, places[0]))
        for place in places if name != first else ():
            if (first, keys[place][1]) in at:
                add(
                    name, OVER_FIRST, keys[place][1], unit, *_difference(means, draws, place, at[first, keys[place][1]])
                )
        if len(places) > 1:
            ns = np.array(sorted(numbers), dtype=float)
            (b, c), (b_D, c_D) = power_law(ns, means[places]), power_law(ns, draws[:, places])
            add(name, EXPONENT, 0, "", float(b), b_D)
            add(name, FACTOR, 0, unit, float(c), c_D)
            add(name, DOUBLED, 0, "", float(2**-b), 2**-b_D)
    return rows


def power_law(numbers_K: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(b, c) of error = c · N^(−b), by least squares of the logarithms; ``errors`` (…, K) positive, K ≥ 2 numbers."""
    x = np.log(numbers_K) - np.log(numbers_K).mean()
    y = np.log(errors)
    slope = (y * x).sum(-1) / (x**2).sum()
    return -slope, np.exp(y.mean(-1) - slope * np.log(numbers_K).mean())


def _difference(means: np.ndarray, draws: np.ndarray, place: int, other: int) -> tuple[float, np.ndarray]:
    return float(means[place] - means[other]), draws[:, place] - draws[:, other]


def _print(rows: Sequence[Mapping[str, Any]], stamp: Mapping[str, Any], console: Console) -> None:
    table = report.grid("series", (stamp["across"], "what", "seeds", "mean", "95 % interval"))
    for row in rows:
        digits = 2 if row["unit"] == "mm" else 4
        ends = " … ".join(f"{end:.{digits}f}" for end in row["mean_ci"])
        table.add_row(
            row["series"], str(row["number"] or ""), row["what"], str(row["seeds"]), f"{row['mean']:.{digits}f}", ends
        )
    report.show(table, console)
    console.print(
        f"{stamp['pictures']} pictures of {stamp['people']} people, the same for all; frame: {stamp['frame']}; "
        "intervals over people, not over seeds of training",
        style="dim",
    )
