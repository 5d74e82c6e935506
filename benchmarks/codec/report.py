"""The table and the picture of ``python -m benchmarks codec``."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from jdap.io.files import write_whole

#: header -> text of a row, in the order of the columns
TABLE_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "factor": lambda r: f"{r['factor']}",
    "C": lambda r: f"{r['channels']}",
    "widths": lambda r: f"{r['widths']}",
    "latents": lambda r: f"{r['latents']}",
    "parameters": lambda r: f"{r['parameters'] / 1e6:.2f} M",
    "seconds": lambda r: f"{r['seconds']:g}",
    "steps": lambda r: f"{r['steps']}",
    "RGB dB": lambda r: f"{r['psnr_db']:.1f}",
    "depth RMSE": lambda r: f"{r['rmse_depth']:.4f}",
    "photos dB": lambda r: "" if r["photos_db"] is None else f"{r['photos_db']:.1f}",
    "encode 16, s": lambda r: f"{r['encode_s']:.3f}",
    "decode 16, s": lambda r: f"{r['decode_s']:.3f}",
    "UNet step, s": lambda r: f"{r['unet_step_s']:.2f}",
    "portrait, s": lambda r: f"{r['unet_sample_s']:.2f}",
}
PANELS = (
    ("psnr_db", "RGB, held-out people: PSNR, dB"),
    ("rmse_depth", "depth on skin: RMSE (0.1 … 1)"),
    ("photos_db", "RGB, photographs: PSNR, dB"),
)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """For the terminal."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in TABLE_COLUMNS:
        made.add_column(header, justify="right")
    for row in _ordered(rows):
        made.add_row(*(text(row) for text in TABLE_COLUMNS.values()))
    return made


def markdown(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the table as Markdown."""
    lines = ["| " + " | ".join(TABLE_COLUMNS) + " |", "|" + "---:|" * len(TABLE_COLUMNS)]
    lines += ["| " + " | ".join(text(row) for text in TABLE_COLUMNS.values()) + " |" for row in _ordered(rows)]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG: error against seconds of training, and at the end against the seconds of a sampled portrait."""
    panels = [panel for panel in PANELS if rows[0][panel[0]] is not None]
    figure = Figure(figsize=(4.2 * len(panels), 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(panels), squeeze=False)
    shapes = list(dict.fromkeys((row["factor"], row["channels"], row["widths"]) for row in rows))
    factors = sorted({factor for factor, *_ in shapes})
    kinds = list(dict.fromkeys(shape[1:] for shape in shapes))
    for factor, *kind in shapes:
        own = [row for row in rows if [row["factor"], row["channels"], row["widths"]] == [factor, *kind]]
        # colour is the number of channels and the widths, line and marker the factor
        style = {"color": f"C{kinds.index(tuple(kind)) % 10}", "marker": "osD^v"[factors.index(factor) % 5]}
        name = f"{factor}, {kind[0]}, {kind[1]}"
        line = ("-", "--", ":", "-.")[factors.index(factor) % 4]
        for (top, bottom), (key, _) in zip(axes.T, panels, strict=True):
            top.plot([r["seconds"] for r in own], [r[key] for r in own], line, label=name, **style)
            bottom.plot(own[-1]["unet_sample_s"], own[-1][key], line, **style)
            bottom.annotate(f" {name}", (own[-1]["unet_sample_s"], own[-1][key]), fontsize=8)
    for (top, bottom), (_, title) in zip(axes.T, panels, strict=True):
        top.set(xlabel="processor seconds of training", title=title)
        bottom.set(xlabel="seconds of a portrait sampled in 10 steps")
        bottom.margins(x=0.2)
        top.grid(alpha=0.3)
        bottom.grid(alpha=0.3)
    axes[0][0].legend(title="factor, C, widths", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())


def _ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["factor"], row["channels"], row["widths"], row["seconds"]))
