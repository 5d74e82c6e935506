"""What a benchmark of depth measures: every method on every picture, in every frame and under every alignment.

Shapes: B pictures, R regions, H x W pixels, N measured pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from benchmarks.depth.method import Method, Unavailable, promises
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.regions import REGIONS
from jdap.batch import ImageBatch
from jdap.metrics.alignment import ALIGNMENTS, DISPARITY, PROMISED
from jdap.metrics.depth import (
    DEPTH_FRAMES,
    DEPTH_MEASURES,
    FRAME_ENDS,
    METRIC,
    NORMALISED,
    SCALE_SHIFT,
    STRICT_DELTAS,
    check_finite,
    ground_truth,
    rmse,
    within,
)
from jdap.metrics.ssi import MIN_PIXELS
from jdap.metrics.surface import boundary_f1, normal_angle_deg

#: The frame whose RMSE ranks pictures and in which they are drawn.
RANKING = NORMALISED
#: In place of a region: all of the face, after a tilt is taken out, too; and what has depth and is no skin.
UNTILTED, BEYOND = "untilted", "beyond the skin"
NORMAL_DEG, BOUNDARY_F1 = "normal_deg", "boundary_f1"
#: A combination of unit columns whose squared length is less is none: a prediction may be constant, or a plane.
_INDEPENDENT = 1e-9
#: Finds the face's regions of pictures, (B, R, H, W) bool; none of a picture in which there is no face.
FindRegions = Callable[[ImageBatch], Tensor]


@dataclass
class DepthScores:
    """What was measured, a picture at a time, in the order of the test set."""

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    depth_source: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    #: NaN where it is not known
    yaw_deg: list[float] = field(default_factory=list)
    #: method -> frame -> alignment -> measure (also ``scale``, ``rmse_share``; in mm :func:`of_region`) -> N numbers
    values: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = field(default_factory=dict)
    #: Pictures without measurable skin depth.
    empty: int = 0
    #: method -> why it has no row
    left_out: dict[str, str] = field(default_factory=dict)
    #: method -> seconds of each call of predict, with the pictures it was given
    seconds: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def column(self, method: str, frame: str, measure: str, alignment: str = SCALE_SHIFT) -> np.ndarray:
        """One measure (N,)."""
        return np.array(self.values[method][frame][alignment][measure])

    def tables(self) -> Iterator[tuple[str, str, str]]:
        """Frame, alignment and method of every row, in the order of tables."""
        for frame in DEPTH_FRAMES:
            for alignment in ALIGNMENTS:
                for method, frames in self.values.items():
                    if alignment in frames[frame]:
                        yield frame, alignment, method


def measurable(batch: ImageBatch) -> Tensor:
    """(B,) bool: pictures with depth on at least :data:`jdap.metrics.ssi.MIN_PIXELS` pixels of skin, and some relief.

    Of fewer a scale and a shift would explain most.
    """
    _, mask = ground_truth(RANKING, batch.depth_mm, batch.skin, batch.range_mm)
    return mask.flatten(1).sum(1) >= MIN_PIXELS


def measure(
    methods: Iterable[Method],
    batches: Iterable[ImageBatch],
    required: frozenset[str] = frozenset(),
    alignments: Sequence[str] = tuple(ALIGNMENTS),
    find_regions: FindRegions | None = None,
) -> DepthScores:
    """Ask every method for every picture, and measure each answer in every frame, by these ``alignments``.

    A method that the data cannot serve (:class:`Unavailable`) is dropped as a whole, so that all rows are about the
    same pictures; one that is ``required`` raises :class:`BenchmarkError` instead. So does a prediction that is not
    finite on skin. Photos bring their regions; of other pictures ``find_regions`` does.
    """
    serving = {method.name: method for method in methods}
    scores = DepthScores(values={name: {f: {} for f in DEPTH_FRAMES} for name in serving})
    scores.seconds = {name: [] for name in serving}
    for batch in batches:
        keep = measurable(batch)
        scores.empty += int((~keep).sum())
        yaws = torch.full((len(batch),), torch.nan) if batch.yaw_deg is None else batch.yaw_deg
        for name in ("key", "person_id", "depth_source", "source"):
            getattr(scores, name).extend(x for x, k in zip(getattr(batch, name), keep.tolist(), strict=True) if k)
        scores.yaw_deg.extend(yaws[keep.to(yaws.device)].tolist())
        regions = _regions(batch, find_regions)
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
                # Photos' millimetres have an origin of their own.
                promised = frame in promises(method) and not (frame == METRIC and isinstance(batch, PhotoBatch))
                for alignment in alignments:
                    if alignment in PROMISED and not promised:
                        continue
                    place = scores.values[name][frame].setdefault(alignment, {})
                    for key, values in _score(prediction, batch, frame, alignment, regions).items():
                        place.setdefault(key, []).extend(values[keep].tolist())
    return scores


def of_region(name: str) -> str:
    """The measure's name: RMSE in a region of the face, mm, after the alignment of the whole; NaN without it."""
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


def _regions(batch: ImageBatch, find: FindRegions | None) -> Tensor | None:
    if isinstance(batch, PhotoBatch) and batch.regions is not None:
        return batch.regions
    return None if find is None else find(batch)


def _score(
    prediction: Tensor, batch: ImageBatch, frame: str, alignment: str, regions: Tensor | None
) -> dict[str, Tensor]:
    target, mask = ground_truth(frame, batch.depth_mm, batch.skin, batch.range_mm)
    if alignment in PROMISED and frame in FRAME_ENDS:
        prediction = within(frame, prediction)
    if alignment == DISPARITY and frame in FRAME_ENDS:
        # Disparity is 1 / z before the camera; 1 / d* of depth between 0 and 1 would be none.
        aligned, scale = ALIGNMENTS[alignment](prediction, batch.depth_mm, mask)
        near_mm, far_mm = batch.range_mm.double().T[..., None, None, None]
        aligned = within(frame, 2 * (aligned - near_mm) / (far_mm - near_mm) - 1)
    else:
        aligned, scale = ALIGNMENTS[alignment](prediction, target, mask)
    values = {name: measure(aligned, target, mask) for name, measure in (DEPTH_MEASURES | STRICT_DELTAS).items()}
    ends = FRAME_ENDS.get(frame)
    near, far = batch.range_mm.T if ends is None else ends
    values |= {"scale": scale, "rmse_share": values["rmse"] / (far - near)}
    if frame != METRIC:
        return values
    values[NORMAL_DEG] = normal_angle_deg(aligned, target, mask, batch.camera_px)
    values[BOUNDARY_F1] = boundary_f1(aligned, target, mask)
    if alignment == SCALE_SHIFT:
        if regions is not None:
            parts = zip(REGIONS, regions.split(1, dim=1), strict=True)
            values |= {of_region(name): rmse(aligned, target, mask & part) for name, part in parts}
        values[of_region(UNTILTED)] = untilted_rmse(prediction, target, mask)
        values[of_region(BEYOND)] = rmse(aligned, target, _beyond(batch) & mask.flatten(1).any(1)[:, None, None, None])
    return values


def _beyond(batch: ImageBatch) -> Tensor:
    """What is not skin and has depth that is exact: the studio's. A fit has no hair to be right about."""
    exact = torch.tensor([source == "studio" for source in batch.depth_source], device=batch.skin.device)
    return ~batch.skin & (batch.depth_mm > 0) & exact[:, None, None, None]


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
