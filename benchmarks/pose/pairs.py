"""Pairs of the studio: two pictures of one sitting, with heads fitted to them, and the true ones.

Shapes: B pairs, S x S pixels, V vertices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from jdap.depth import normalise, skin_range_mm
from jdap.geometry import head_rotation
from jdap.pose.change import PoseError
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.motion import Motion, Mover
from jdap.pose.pipeline import PosePipeline
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.urls import resolve_shards

#: Motions are made on a grid of so many pixels: pictures are of 128.
GRID_PX = 256


@dataclass(frozen=True, eq=False)
class PosePair:
    """``old_HW3``, ``new_HW3`` uint8; the new picture's true normalised ``depth_11SS`` and ``person_SS`` bool; the
    motions that were ``fitted`` to both pictures, and the ``true`` one."""

    old_HW3: np.ndarray
    new_HW3: np.ndarray
    depth_11SS: Tensor
    person_SS: Tensor
    fitted: Motion
    true: Motion
    key: str
    person_id: str


def read_pose_pairs(shards: str, pipeline: PosePipeline, limit: int | None = None) -> Iterator[PosePair | str]:
    """The first two frames of each sample, or where no face is found in one of them the sample's key.

    Raises :class:`benchmarks.BenchmarkError` for samples of one frame.
    """
    samples = (sample for url in resolve_shards(shards) for sample in read_samples(url))
    for sample in islice(samples, limit):
        if sample.record.frames < 2:
            raise BenchmarkError(f"{shards}: {sample.key} has one frame; `data_prep studio --sittings` makes pairs")
        try:
            yield _pair(sample, pipeline)
        except PoseError:
            yield sample.key


def _pair(sample: Sample, pipeline: PosePipeline) -> PosePair:
    heads, old, new = pipeline.heads, sample.rgb_FHW3[0], sample.rgb_FHW3[1]
    one = pipeline.fit(old)
    other = pipeline.fit(new, one.camera)
    fitted = Mover(heads, one, GRID_PX).to(heads.acting(one, other))
    first, second = (true_head(heads, sample, k) for k in (0, 1))
    true = Mover(heads, first, GRID_PX).to(seen_by(heads.acting(first, second), second, first))
    depth_mm = torch.from_numpy(sample.depth_mm_FHW[1])[None, None]
    skin = torch.from_numpy(sample.skin_FHW[1])[None, None]
    depth = normalise(depth_mm, skin_range_mm(depth_mm, skin))
    return PosePair(old, new, depth, depth_mm[0, 0] > 0, fitted, true, sample.key, sample.record.person_id)


def true_head(heads: Heads, sample: Sample, frame: int) -> FittedHead:
    """The head of a frame of the studio, as it was drawn."""
    arrays = {name: torch.from_numpy(values[frame]) for name, values in sample.arrays.items()}
    model = heads.model
    still = torch.zeros(1, len(model.expression_names))
    return FittedHead(
        model.vertices(arrays["identity"][None], still)[0],
        arrays["expression"],
        head_rotation(arrays["rotation"]),
        arrays["translation_mm"],
        arrays["camera_px"],
        sample.record.size_px,
        0.0,
    )


def seen_by(points_V3: Tensor, theirs: FittedHead, ours: FittedHead) -> Tensor:
    """Points that lie by our camera where the given ones lie by theirs, at the same depth."""
    f, f_own = theirs.camera_px_3[0], ours.camera_px_3[0]
    shift = theirs.camera_px_3[1:] - ours.camera_px_3[1:]
    return torch.cat([(points_V3[:, :2] * f + points_V3[:, 2:] * shift) / f_own, points_V3[:, 2:]], 1)
