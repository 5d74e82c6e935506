"""Pairs of the studio: the same head before the same camera in two lights.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from jdap.light.lights import Light
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.urls import resolve_shards

REMEDY = "`python -m data_prep studio --relight` makes pairs"
NEEDED = ("light_ambient", "exposure_gain", "relit_ambient", "relit_gain")


@dataclass(frozen=True, eq=False)
class Pairs:
    """``old_B3SS``, ``new_B3SS`` sRGB in [0, 1]; ``depth_mm_B1SS``; ``skin_B1SS`` bool; ``camera_px_B3``; the two
    lights as exposed; ``key``, ``person_id``."""

    old_B3SS: Tensor
    new_B3SS: Tensor
    depth_mm_B1SS: Tensor
    skin_B1SS: Tensor
    camera_px_B3: Tensor
    old_light: Light
    new_light: Light
    key: tuple[str, ...]
    person_id: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.key)

    def select(self, kept: list[int]) -> Pairs:
        """Some of the pairs."""

        def some(value: Any) -> Any:
            return tuple(value[i] for i in kept) if isinstance(value, tuple) else value[kept]

        return Pairs(**{field.name: some(getattr(self, field.name)) for field in fields(self)})

    @property
    def person_B1SS(self) -> Tensor:
        """(B, 1, S, S) bool: whatever is not background."""
        return self.depth_mm_B1SS > 0


def read_pairs(shards: str, count: int, limit: int | None = None) -> Iterator[Pairs]:
    """The first frame of each sample, ``count`` at a time, at most ``limit``.

    Raises :class:`benchmarks.BenchmarkError` for samples that hold no second light.
    """
    samples = (sample for url in resolve_shards(shards) for sample in read_samples(url))
    chosen = islice(samples, limit)
    while some := tuple(islice(chosen, count)):  # itertools.batched is of Python 3.12
        for sample in some:
            lacks = [name for name in NEEDED if name not in sample.arrays]
            if lacks:
                raise BenchmarkError(f"{shards}: sample {sample.key} has no {', '.join(lacks)}; {REMEDY}")
        yield _pairs(some)


def _pairs(samples: tuple[Sample, ...]) -> Pairs:
    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    def array(name: str) -> Tensor:
        return stacked([sample.arrays[name][0] for sample in samples])

    def light(name: str, gain: str) -> Light:
        exposed = array(gain)[:, None, None]
        return Light(array(f"{name}_ambient") * exposed, array(f"{name}_lamps"), array(f"{name}_power") * exposed)

    return Pairs(
        old_B3SS=stacked([s.rgb_FHW3[0] for s in samples]).permute(0, 3, 1, 2).float() / 255,
        new_B3SS=stacked([s.maps["relit"][0] for s in samples]).permute(0, 3, 1, 2).float() / 255,
        depth_mm_B1SS=stacked([s.depth_mm_FHW[0] for s in samples])[:, None],
        skin_B1SS=stacked([s.skin_FHW[0] for s in samples])[:, None],
        camera_px_B3=array("camera_px"),
        old_light=light("light", "exposure_gain"),
        new_light=light("relit", "relit_gain"),
        key=tuple(s.key for s in samples),
        person_id=tuple(s.record.person_id for s in samples),
    )
