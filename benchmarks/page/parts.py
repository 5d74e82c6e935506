"""What a page is made of: figures with their intervals, tables that say their frame and number, plots, pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

#: Pictures are made no wider than this, and are JPEG: a page is to be sent by mail.
PICTURE_PX, QUALITY = 1400, 85


@dataclass(frozen=True)
class Figure:
    """A number, the ends of its interval (None: there is none), and how many digits of it mean something."""

    value: float
    ends: tuple[float, float] | None
    digits: int = 3
    signed: bool = False

    def __str__(self) -> str:
        """``0.063 [0.060, 0.066]``; a number without an interval says so."""
        if math.isnan(self.value):
            return "–"
        shape = f"{'+' if self.signed else ''}.{self.digits}f"
        if self.ends is None:
            return f"{self.value:{shape}} (no interval)"
        low, high = self.ends
        return f"{self.value:{shape}} [{low:{shape}}, {high:{shape}}]"


def figure(row: Mapping[str, Any] | None, key: str = "mean", digits: int | None = None, signed: bool = False) -> Figure:
    """What a row of a benchmark's JSON says under ``key`` and ``key_ci`` (null: NaN, or no interval)."""
    value = None if row is None else row.get(key)
    if row is None or value is None:
        return Figure(math.nan, None)
    low, high = row.get(f"{key}_ci") or (None, None)
    usual = {"dB": 1, "°": 1, "%": 1, "mm": 2}.get(str(row.get("unit", "")), 3)
    interval = None if low is None or high is None else (float(low), float(high))
    return Figure(float(value), interval, usual if digits is None else digits, signed)


@dataclass(frozen=True)
class PageTable:
    """A table: what it is about, in which ``frame`` (or unit) its numbers are, and of how many (``n``)."""

    title: str
    frame: str
    n: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Figure]]

    def __post_init__(self) -> None:
        if not (self.frame and self.n):
            raise ValueError(f"table {self.title!r} must say its frame and n")


@dataclass
class Section:
    """What one benchmark found: its tables, plots (SVG) and pictures (caption, data URI), notes, and its stamp."""

    title: str
    about: str
    folder: str
    stamp: dict[str, Any]
    sheets: list[PageTable] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pivot(
    rows: Sequence[Mapping[str, Any]], name: str, column: str, *, signed: bool = False, arrows: bool = True
) -> tuple[list[str], list[list[str | Figure]]]:
    """Rows of means as a table: a line for each value of ``name``, a column for each of ``column``."""
    columns = list(dict.fromkeys(row[column] for row in rows))
    better = {row[column]: row.get("higher_is_better") for row in rows}
    mark = {True: "↑", False: "↓", None: ""} if arrows else dict.fromkeys((True, False, None), "")
    units = {row[column]: row.get("unit") or "" for row in rows}
    found = {(row[name], row[column]): row for row in rows}
    lines: list[list[str | Figure]] = [
        [line, *(figure(found.get((line, c)), signed=signed) for c in columns)]
        for line in dict.fromkeys(row[name] for row in rows)
    ]
    heads = [f"{c}{mark[better[c]]}" + (f", {units[c]}" if units[c] else "") for c in columns]
    return [name, *heads], lines


def count(rows: Sequence[Mapping[str, Any]], what: str = "pictures") -> str:
    """``n`` of rows: one number, or from … to."""
    numbers = sorted({int(row["n"]) for row in rows if row.get("n")})
    return f"{'–'.join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))} {what}" if numbers else f"0 {what}"


def picture_uri(path: Path) -> str:
    """A picture as a data URI, scaled down to :data:`PICTURE_PX`."""
    image = Image.open(path).convert("RGB")
    if image.width > PICTURE_PX:
        image = image.resize((PICTURE_PX, round(image.height * PICTURE_PX / image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
