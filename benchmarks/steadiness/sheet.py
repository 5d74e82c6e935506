"""The picture of steadiness: photos, what a method says of them, and how far each check is off."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jdap.io.files import write_whole
from jdap.metrics.depth import FAR, NEAR

_CELL_INCHES = 1.7
#: The end of the colour scale of differences.
_LIMIT = 0.2


@dataclass(frozen=True, eq=False)
class Shown:
    """One photo: ``rgb_SS3`` uint8, ``relief_SS`` in the normalised frame on ``skin_SS`` bool, and check → (S, S) how
    far it is off, NaN where nothing is."""

    title: str
    name: str
    rgb_SS3: np.ndarray
    relief_SS: np.ndarray
    skin_SS: np.ndarray
    off: dict[str, np.ndarray]


def plot_shown(shown: Sequence[Shown], method: str, path: Path) -> None:
    """Write a PNG with a row a photo: picture, depth, and the difference of each check on one colour scale."""
    columns = 2 + max((len(one.off) for one in shown), default=0)
    figure = Figure(figsize=(_CELL_INCHES * columns + 1, 1.15 * _CELL_INCHES * max(len(shown), 1) + 0.5), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(max(len(shown), 1), columns, squeeze=False)
    for axis in axes.flatten():
        axis.set(xticks=[], yticks=[])
    for one, row in zip(shown, axes, strict=False):
        row[0].imshow(one.rgb_SS3)
        row[0].set_ylabel(f"{one.title}\n{one.name}", fontsize=7)
        row[1].imshow(np.ma.masked_array(one.relief_SS, ~one.skin_SS), cmap="viridis_r", vmin=NEAR, vmax=FAR)
        row[1].set_title("depth", fontsize=9)
        for axis, (check, off) in zip(row[2:], one.off.items(), strict=True):
            drawn = axis.imshow(np.ma.masked_invalid(off), cmap="RdBu_r", vmin=-_LIMIT, vmax=_LIMIT)
            axis.set_title(f"{check} {np.sqrt(np.nanmean(off**2)):.3f}", fontsize=9)
        figure.colorbar(drawn, ax=row[-1], fraction=0.06, extend="both")
    figure.suptitle(
        f"Steadiness of {method}: difference of each check's last view (a face's range is 0.9)", fontsize=10
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
