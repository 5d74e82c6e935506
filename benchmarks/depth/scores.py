"""What a benchmark of depth measures: every method on every picture, and the rows that come of it.

Shapes: B pictures, H x W pixels, N measured pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from benchmarks.depth.method import Method, TrainingMean, Unavailable
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.regions import REGIONS
from jdap.batch import ImageBatch
from jdap.metrics.bootstrap import grouped_interval, interval, resampled_means
from jdap.metrics.depth import (
    DEPTH_FRAMES,
    DEPTH_MEASURES,
    FAR,
    METRIC,
    NEAR,
    NORMALISED,
    SCALE_SHIFT,
    UNIT_OF_FRAME,
    check_finite,
    ground_truth,
    rmse,
    scale_shift,
)

#: The frame whose RMSE ranks pictures and in which they are drawn.
RANKING = NORMALISED
#: In place of a region: all of the face, after a tilt is taken out, too.
UNTILTED = "untilted"
#: A combination of unit columns whose squared length is less is none: a prediction may be constant, or a plane.
_INDEPENDENT = 1e-9


@dataclass
class DepthScores:
    """What was measured, a picture at a time, in the order of the test set."""

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    depth_source: list[str] = field(default_factory=list)
    #: method -> frame -> measure (also ``scale``, ``rmse_share`` and, of photos in mm, :func:`of_region`) -> N numbers
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    #: Pictures without measurable skin depth.
    empty: int = 0
    #: method -> why it has no row
    left_out: dict[str, str] = field(default_factory=dict)
    #: method -> seconds of each call of predict, with the pictures it was given
    seconds: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def column(self, method: str, frame: str, measure: str) -> np.ndarray:
        """One measure (N,)."""
        return np.array(self.values[method][frame][measure])


def measure(
    methods: Iterable[Method], batches: Iterable[ImageBatch], required: frozenset[str] = frozenset()
) -> DepthScores:
    """Ask every method for every picture, and measure each answer in both frames.

    A method that the data cannot serve (:class:`Unavailable`) is dropped as a whole, so that all rows are about the
    same pictures; one that is ``required`` raises :class:`BenchmarkError` instead. So does a prediction that is not
    finite on skin.
    """
    serving = {method.name: method for method in methods}
    scores = DepthScores(
        values={name: {f: {} for f in DEPTH_FRAMES} for name in serving}, seconds={name: [] for name in serving}
    )
    for batch in batches:
        _, mask = ground_truth(RANKING, batch.depth_mm, batch.skin, batch.range_mm)
        keep = mask.flatten(1).any(1)
        scores.empty += int((~keep).sum())
        for name, kept in (("key", batch.key), ("person_id", batch.person_id), ("depth_source", batch.depth_source)):
            getattr(scores, name).extend(x for x, k in zip(kept, keep.tolist(), strict=True) if k)
        for name, method in list(serving.items()):
            try:
                prediction, seconds = timed_prediction(method, batch)
            except Unavailable as reason:
                if name in required:
                    raise BenchmarkError(f"method {name}: {reason}; leave it out of --methods") from reason
                scores.left_out[name] = str(reason)
                del serving[name], scores.values[name], scores.seconds[name]
                continue
            scores.seconds[name].append((seconds, len(batch)))
            for frame in DEPTH_FRAMES:
                for key, values in _score(prediction, batch, frame).items():
                    scores.values[name][frame].setdefault(key, []).extend(values[keep].tolist())
    return scores


def rows(scores: DepthScores, seed: int) -> list[dict[str, Any]]:
    """The table: one row a method and frame, as ``depth.json`` holds it; ``scores`` has one picture at least.

    Intervals are 95 % percentile intervals of the bootstrap over people, NaN when there is one person only.
    """
    table = []
    for frame in DEPTH_FRAMES:
        for name in scores.values:
            row: dict[str, Any] = {"method": name, "frame": frame, "alignment": SCALE_SHIFT, "n": len(scores.key)}
            columns = {key: scores.column(name, frame, key) for key in DEPTH_MEASURES}
            row |= {key: float(values.mean()) for key, values in columns.items()}
            row |= {f"{key}_ci": list(grouped_interval(v, scores.person_id, seed=seed)) for key, v in columns.items()}
            row["unit"] = UNIT_OF_FRAME[frame]
            row["rmse_share"] = float(scores.column(name, frame, "rmse_share").mean())
            row["negative_scale"] = float((scores.column(name, frame, "scale") < 0).mean())
            row |= _against_mean(scores, name, frame, seed)
            table.append(row)
    return table


def of_region(name: str) -> str:
    """The measure's name: RMSE in a region of a photo's face, mm, after the alignment of the whole; NaN without it."""
    return f"rmse_{name}"


def timed_prediction(method: Method, batch: ImageBatch) -> tuple[Tensor, float]:
    """What a method says (B, 1, H, W), checked for shape and finiteness on skin, and the seconds it took.

    Raises :class:`BenchmarkError` that names the method and the picture.
    """

    def now() -> float:
        if batch.rgb.is_cuda:
            torch.cuda.synchronize(batch.rgb.device)
        return time.perf_counter()

    start = now()
    prediction = method.predict(batch)
    seconds = now() - start
    if prediction.shape != batch.depth_mm.shape:
        raise BenchmarkError(
            f"method {method.name} returned depth {tuple(prediction.shape)} for pictures {tuple(batch.depth_mm.shape)}"
        )
    try:
        check_finite(prediction, batch.skin, batch.key)
    except ValueError as error:
        raise BenchmarkError(f"method {method.name}: {error}") from error
    return prediction, seconds


def _score(prediction: Tensor, batch: ImageBatch, frame: str) -> dict[str, Tensor]:
    target, mask = ground_truth(frame, batch.depth_mm, batch.skin, batch.range_mm)
    scale, shift = scale_shift(prediction, target, mask)
    aligned = scale[:, None, None, None] * prediction.double() + shift[:, None, None, None]
    values = {name: measure(aligned, target, mask) for name, measure in DEPTH_MEASURES.items()}
    face = batch.range_mm[:, 1] - batch.range_mm[:, 0] if frame != NORMALISED else FAR - NEAR
    values |= {"scale": scale, "rmse_share": values["rmse"] / face}
    if frame == METRIC and isinstance(batch, PhotoBatch) and batch.regions is not None:
        regions = zip(REGIONS, batch.regions.split(1, dim=1), strict=True)
        values |= {of_region(name): rmse(aligned, target, mask & region) for name, region in regions}
        values[of_region(UNTILTED)] = untilted_rmse(prediction, target, mask)
    return values


def untilted_rmse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B,) RMSE after the scale, shift and tilt (a plane over the picture) that fit best; NaN where the mask is empty.

    What is left is shape: how far a head nods, and how a scanner's axis lies to the photo's, is taken out.
    """
    found = []
    for p, d, m in zip(prediction[:, 0].double(), target[:, 0].double(), mask[:, 0], strict=True):
        v, u = m.nonzero().double().T
        columns = torch.stack([p[m], torch.ones_like(u), u, v], 1)
        # Of columns in the size of one another, or rounding decides what is independent.
        columns = columns / columns.norm(dim=0).clamp_min(1e-12)
        values, vectors = torch.linalg.eigh(columns.T @ columns)
        used = vectors[:, values > _INDEPENDENT]
        basis, _ = torch.linalg.qr(columns @ used)
        found.append((d[m] - basis @ (basis.T @ d[m])).square().mean().sqrt())
    return torch.stack(found)


def _against_mean(scores: DepthScores, name: str, frame: str, seed: int) -> dict[str, Any]:
    # How far RMSE lies under that of the training mean, as a share of it. Both means come from the same resampled
    # people, so what is hard for everybody does not widen the interval.
    if name == TrainingMean.name or TrainingMean.name not in scores.values:
        return {"rmse_below_mean": None, "rmse_below_mean_ci": None}
    pair = np.stack([scores.column(m, frame, "rmse") for m in (name, TrainingMean.name)], axis=1)
    ours, mean = pair.mean(0)
    draws = resampled_means(pair, scores.person_id, seed=seed)
    one_person = len(set(scores.person_id)) < 2
    return {
        "rmse_below_mean": float(1 - ours / mean),
        "rmse_below_mean_ci": [float("nan")] * 2 if one_person else list(interval(1 - draws[:, 0] / draws[:, 1])),
    }
