"""Plots of a page as SVG: means with their intervals."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Plot

from benchmarks.page.parts import Figure

_SIZE_INCHES = (6.4, 0.36)


def forest(title: str, unit: str, lines: Sequence[tuple[str, Figure]]) -> str:
    """A line a method: its mean as a point and its interval as a bar."""
    plot, axes = _axes(title, max(1.2, 0.7 + _SIZE_INCHES[1] * len(lines)))
    for place, (_, one) in enumerate(lines):
        low, high = one.ends or (one.value, one.value)
        axes.errorbar(
            [one.value], [place], xerr=[[one.value - low], [high - one.value]], fmt="o", capsize=3, color="#2a6f97"
        )
    axes.set_yticks(range(len(lines)), [name for name, _ in lines])
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    return _svg(plot)


def curves(title: str, across: str, unit: str, lines: Mapping[str, Sequence[tuple[str, Figure]]]) -> str:
    """A curve a method over named places, such as bins of yaw, with a bar for each interval."""
    plot, axes = _axes(title, 3.0)
    places = list(dict.fromkeys(place for line in lines.values() for place, _ in line))
    for name, line in lines.items():
        values = [one.value for _, one in line]
        ends = [one.ends or (one.value, one.value) for _, one in line]
        error = [[v - low for v, (low, _) in zip(values, ends, strict=True)]]
        error.append([high - v for v, (_, high) in zip(values, ends, strict=True)])
        axes.errorbar([places.index(p) for p, _ in line], values, yerr=error, marker="o", capsize=3, label=name)
    axes.set_xticks(range(len(places)), places)
    axes.set(xlabel=across, ylabel=unit)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    return _svg(plot)


def growth(title: str, across: str, unit: str, lines: Mapping[str, Sequence[tuple[int, Figure]]]) -> str:
    """A curve a series over numbers, both on logarithmic axes, where a power law is a straight line."""
    plot, axes = _axes(title, 3.4)
    for name, line in lines.items():
        values = [one.value for _, one in line]
        ends = [one.ends or (one.value, one.value) for _, one in line]
        error = [[v - low for v, (low, _) in zip(values, ends, strict=True)]]
        error.append([high - v for v, (_, high) in zip(values, ends, strict=True)])
        axes.errorbar([n for n, _ in line], values, yerr=error, marker="o", capsize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel=across, ylabel=unit)
    numbers = sorted({n for line in lines.values() for n, _ in line})
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    ticks = np.geomspace(low, high, 6)[1:-1]
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _svg(plot)


def _axes(title: str, height: float) -> tuple[Plot, mpl.axes.Axes]:
    plot = Plot(figsize=(_SIZE_INCHES[0], height))
    FigureCanvasSVG(plot)
    plot.set_layout_engine("constrained")
    axes = plot.subplots()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return plot, axes


def _svg(plot: Plot) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jdap"}):
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # Inside of a page: without the declaration of an XML file.
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
