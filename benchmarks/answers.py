"""Numbers of answers, a list a measure (``values[answer][measure]``), as rows, paired differences and a table.

A measure has a unit, and more of it is better, worse or neither (None): ``measures[name] = (unit, better)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import report

Values = Mapping[str, Mapping[str, Sequence[float]]]
Measures = Mapping[str, tuple[str, bool | None]]
_ARROWS = {True: "↑", False: "↓", None: ""}


def rows(values: Values, measures: Measures, people: Sequence[str], seed: int, **named: str) -> list[dict[str, Any]]:
    """A row an answer and measure, which begins with what is ``named``: the mean and its interval over people."""
    return [
        {**named, "answer": answer, "measure": measure}
        | report.mean_and_interval(np.array(numbers), people, seed)
        | dict(zip(("unit", "higher_is_better"), measures[measure], strict=True))
        for answer, found in values.items()
        for measure, numbers in found.items()
    ]


def minus(first: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The differences, number by number, of the measures that both answers have."""
    return {name: (np.array(first[name]) - np.array(other[name])).tolist() for name in first if name in other}


def compared(
    values: Values, pairs: Iterable[tuple[str, str]], measures: Iterable[str], people: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Paired differences, first − other, of pictures of which both have a number, with intervals over people."""
    names, rows = list(measures), []
    for first, other in pairs:
        differences = minus(values.get(first, {}), values.get(other, {}))
        for measure in (name for name in names if name in differences):
            found = report.mean_and_interval(np.array(differences[measure]), people, seed)
            if found["n"]:
                row = {"first": first, "other": other, "measure": measure, "difference": found["mean"]}
                rows.append(row | {"difference_ci": found["mean_ci"], "n": found["n"]})
    return rows


def table(rows: Iterable[dict[str, Any]], measures: Measures, headers: Mapping[str, str] | None = None) -> Table:
    """A row an answer, a column a measure that there is: mean and half of the 95 % interval's width."""
    found = {(row["answer"], row["measure"]): row for row in rows}
    names = [name for name in measures if any(name == measure for _, measure in found)]
    shown = report.grid("answer", ((headers or {}).get(name, name) + _ARROWS[measures[name][1]] for name in names))
    for answer in dict.fromkeys(answer for answer, _ in found):
        shown.add_row(answer, *(report.mean_cell(found.get((answer, name))) for name in names))
    return shown


def print_differences(differences: Iterable[dict[str, Any]], digits: int, console: Console) -> None:
    """A line a paired difference, with its interval."""
    for row in differences:
        mean, low, high = (f"{x:+.{digits}f}" for x in (row["difference"], *row["difference_ci"]))
        line = f"{row['first']} − {row['other']}, {row['measure']}: {mean} [{low}, {high}]"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
