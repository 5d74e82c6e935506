"""The picture of a depth benchmark: for a few cases what was given, what is true, what each method says, and how wrong.

Shapes: H x W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from jdap.io.files import write_whole
from jdap.metrics.depth import FAR, NEAR

_CELL_INCHES = 1.9
_BARE = "0.93"


@dataclass(frozen=True)
class DepthExample:
    """One picture: ``rgb_HW3`` in [0, 1]; ``target_HW`` in the normalised frame (0.1 near … 1 far) and the measured
    ``mask_HW``; ``range_mm``, the millimetres between 0.1 and 1; aligned ``predictions`` (H, W) by method.
    """

    title: str
    key: str
    rgb_HW3: np.ndarray
    target_HW: np.ndarray
    mask_HW: np.ndarray
    range_mm: float
    predictions: dict[str, np.ndarray]


def plot_cases(cases: Sequence[DepthExample], path: Path) -> None:
    """Write a PNG with two rows a case: depths above, errors below; colours mean the same in the whole picture."""
    methods = list(cases[0].predictions)
    limit = _error_limit(cases)
    columns = 2 + len(methods)
    figure = Figure(figsize=(_CELL_INCHES * columns + 1.2, 2.25 * _CELL_INCHES * len(cases) + 0.4), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2 * len(cases), columns, squeeze=False)
    for case, (top, bottom) in zip(cases, zip(axes[::2], axes[1::2], strict=True), strict=True):
        top[0].imshow(case.rgb_HW3.clip(0, 1))
        top[0].set(xticks=[], yticks=[])
        top[0].set_ylabel(f"{case.title}\n{case.key}", fontsize=8)
        top[0].set_title("picture", fontsize=9)
        depth = _show(top[1], case.target_HW, case.mask_HW, "viridis_r", NEAR, FAR)
        top[1].set_title("ground truth", fontsize=9)
        for name, above, below in zip(methods, top[2:], bottom[2:], strict=True):
            _show(above, case.predictions[name], case.mask_HW, "viridis_r", NEAR, FAR)
            above.set_title(name, fontsize=9)
            error = _show_error(below, case, name, limit)
        for axis in bottom[:2]:
            axis.set_axis_off()
        figure.colorbar(depth, ax=top[-1], label="depth (0.1 near, 1 far)", fraction=0.06)
        figure.colorbar(error, ax=bottom[-1], label="error (red: too far)", fraction=0.06, extend="both")
    title = f"Image-to-depth: best, median and worst picture by RMSE of {methods[0]}, normalised frame"
    _save(figure, title, path)


def plot_views(cases: Sequence[DepthExample], path: Path) -> None:
    """Write a PNG of views, two a row: picture, ground truth, what the first method says, and its error."""
    (method, *_), limit = cases[0].predictions, _error_limit(cases)
    rows = -(-len(cases) // 2)
    figure = Figure(figsize=(8 * _CELL_INCHES + 1.2, 1.15 * _CELL_INCHES * rows + 0.4), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(rows, 8, squeeze=False)
    places = axes.reshape(2 * rows, 4)
    for case, (picture, truth, made, error) in zip(cases, places, strict=False):
        picture.imshow(case.rgb_HW3.clip(0, 1))
        picture.set(xticks=[], yticks=[])
        picture.set_title(case.title, fontsize=9)
        depth = _show(truth, case.target_HW, case.mask_HW, "viridis_r", NEAR, FAR)
        truth.set_title("ground truth", fontsize=9)
        _show(made, case.predictions[method], case.mask_HW, "viridis_r", NEAR, FAR)
        made.set_title(method, fontsize=9)
        wrong = _show_error(error, case, method, limit)
    for axis in places[len(cases) :].flatten():
        axis.set_axis_off()
    figure.colorbar(depth, ax=axes[:, 0], label="depth (0.1 near, 1 far)", location="left", fraction=0.06)
    figure.colorbar(wrong, ax=axes[:, -1], label="error (red: too far)", fraction=0.06, extend="both")
    _save(figure, f"Image-to-depth on renders of a scan: {method}, normalised frame", path)


def _show_error(axis: Axes, case: DepthExample, method: str, limit: float) -> AxesImage:
    wrong = case.predictions[method] - case.target_HW
    rmse = float(np.sqrt(np.mean(wrong[case.mask_HW] ** 2)))
    axis.set_title(f"RMSE {rmse:.4f} ≈ {rmse / (FAR - NEAR) * case.range_mm:.1f} mm", fontsize=8)
    return _show(axis, wrong, case.mask_HW, "RdBu_r", -limit, limit)


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())


def _error_limit(cases: Sequence[DepthExample]) -> float:
    """The end of the colour scale of errors: 99 % of the first method's lie within, and it shows 0.05 at least.

    Set by the baselines it would hide the errors that the picture is looked at for.
    """
    first = next(iter(cases[0].predictions))
    errors = [np.abs(case.predictions[first] - case.target_HW)[case.mask_HW] for case in cases]
    return max(float(np.quantile(np.concatenate(errors), 0.99)), 0.05)


def _show(axis: Axes, values_HW: np.ndarray, mask_HW: np.ndarray, colours: str, low: float, high: float) -> AxesImage:
    axis.set_facecolor(_BARE)
    axis.set(xticks=[], yticks=[])
    return axis.imshow(
        np.ma.masked_array(values_HW, ~mask_HW), cmap=colours, vmin=low, vmax=high, interpolation="nearest"
    )
