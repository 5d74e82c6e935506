"""The table and the picture of curves of mouths."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from benchmarks import report
from benchmarks.mouth.curves import CURVE_MEASURES, Curves
from jdap.io.files import write_whole

#: Frames of each clip that are shown in a strip.
CURVE_STRIP_FRAMES = 20
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def print_table(
    table: Sequence[dict[str, Any]],
    stamp: dict[str, Any],
    console: Console,
    extra: dict[str, Callable[[dict[str, Any]], float | None]] | None = None,
) -> None:
    """A block a reader, a row an arm: correlation with its interval, and the other measures' means."""
    extra = extra or {}
    for reader in dict.fromkeys(row["reader"] for row in table):
        found = {(row["arm"], row["measure"]): row for row in table if row["reader"] == reader}
        console.print(f"read from {reader}", style="bold")
        headers = ("clips", "correlation↑", "95 % interval", *list(CURVE_MEASURES)[1:], "found", *extra)
        shown = report.grid("arm", headers)
        for arm in dict.fromkeys(arm for arm, _ in found):
            first = found[arm, "correlation"]
            low, high = first["mean_ci"]
            cells = [str(first["n"]), _number(first["mean"]), "" if np.isnan(low) else f"{low:+.3f} … {high:+.3f}"]
            cells += [_number(found[arm, name]["mean"], 2) for name in list(CURVE_MEASURES)[1:]]
            cells += ["" if first["found"] is None else f"{100 * first['found']:.0f} %"]
            cells += [_number(of(first), 2) for of in extra.values()]
            shown.add_row(arm, *cells)
        report.show(shown, console)
    console.print(
        f"{stamp['clips']} clips of {stamp['people']} people; correlation of openings within a clip, at no lag; best: "
        "of lags ±5 frames; amplitude: deviation over the true one's; interval: bootstrap over people",
        style="dim",
    )
    report.print_left_out(stamp, console)


def plot(
    curves: Curves, arms: Sequence[str], path: Path, strips: dict[str, list[Tensor]] | None = None, clips: int = 4
) -> None:
    """Write a PNG: a row a clip with the true curve and each arm's by each reader, and under it strips of frames.

    ``strips[arm]`` are frames (F, 3, H, W) in [-1, 1] of the first clips. Curves are drawn with mean 0 and in units of
    their own deviation, as correlation sees them.
    """
    strips = strips or {}
    count = min(clips, len(curves.key))
    readers = list(dict.fromkeys(reader for found in curves.read.values() for reader in found))
    heights = [1.5, *[0.62] * len(strips)]
    figure = Figure(figsize=(4.0 * len(readers) + 0.4, sum(heights) * count + 0.5), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(count * len(heights), len(readers), height_ratios=heights * count)
    for k in range(count):
        for column, reader in enumerate(readers):
            axes = figure.add_subplot(grid[k * len(heights), column])
            _plot(axes, curves, k, reader, arms)
            if k == 0:
                axes.set_title(f"read from {reader}", fontsize=9)
            if column == 0:
                axes.set_ylabel(curves.person_id[k], fontsize=7)
        for row, (arm, frames) in enumerate(strips.items()):
            axes = figure.add_subplot(grid[k * len(heights) + 1 + row, :])
            shown = frames[k][np.linspace(0, len(frames[k]) - 1, CURVE_STRIP_FRAMES).round().astype(int)]
            axes.imshow(((shown.clamp(-1, 1) + 1) / 2).permute(2, 0, 3, 1).flatten(1, 2).numpy())
            axes.set(xticks=[], yticks=[])
            axes.set_ylabel(arm, fontsize=7)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())


def _plot(axes: Axes, curves: Curves, k: int, reader: str, arms: Sequence[str]) -> None:
    axes.plot(_plotted(curves.true[k]), color="black", linewidth=1.8, label="true")
    for arm, colour in zip(arms, _COLOURS, strict=False):
        if reader in curves.read.get(arm, {}):
            r = curves.values(arm, reader)["correlation"][k]
            curve = curves.read[arm][reader][k]
            axes.plot(_plotted(curve), color=colour, linewidth=1, label=arm)
            axes.text(
                0.01 + 0.16 * arms.index(arm), 0.02, f"{r:.2f}", color=colour, fontsize=7, transform=axes.transAxes
            )
    axes.set(xticks=[], yticks=[])
    axes.margins(x=0)


def _plotted(curve_F: Tensor) -> np.ndarray:
    values = curve_F.double().numpy()
    if not np.isfinite(values).any():
        return values
    return (values - np.nanmean(values)) / max(np.nanstd(values), 1e-3)


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"
