"""Training on several sources at once: named sets of shards, their weights over the steps, and the mixing.

The source of every training sample is drawn by itself: source s of weight w_s(k) at the optimiser step k gives it with
probability w_s(k) / Σ w(k), however many samples each source holds. Every source is an endless stream of its own, so a
small one comes round more often and a large one never crowds it out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import webdataset as wds

from jdap.data.position import Progress
from jdap.shards.urls import ShardError


@dataclass(frozen=True)
class Source:
    """A named set of training shards.

    Args:
        shards: a folder, brace pattern, fsspec URL, ``shipped:shards/train``, or a list of such.
        weight: how often it is drawn, against the other sources: a number of at least 0, or a schedule
            ``[[step, weight], …]`` over the optimiser's steps: linear between them, constant before and after.
        confidence: how far its depth is trusted, 0 … 1, where its samples hold no map of their own. Null: by their
            depth_source, :data:`jdap.data.draw.CONFIDENCE_OF`.
        people: who of it is trained on: so many (a hash of their names chooses: fewer are always among more), or these,
            by their ``person_id``. Null: everyone. It is asked of shards of pictures, not of latents.
    """

    shards: str | list[str]
    weight: float | list[tuple[int, float]] = 1.0
    confidence: float | None = None
    people: int | list[str] | None = None

    def weight_at(self, step: int) -> float:
        """The weight at an optimiser step."""
        if not isinstance(self.weight, list):
            return self.weight
        if step <= self.weight[0][0]:
            return self.weight[0][1]
        for (before, low), (after, high) in pairwise(self.weight):
            if step < after:
                return low + (high - low) * (step - before) / (after - before)
        return self.weight[-1][1]

    @property
    def points(self) -> list[tuple[int, float]]:
        """The schedule's (step, weight); a constant weight is one point."""
        return self.weight if isinstance(self.weight, list) else [(0, self.weight)]


def used(sources: dict[str, Source]) -> dict[str, Source]:
    """The sources whose weight is above 0 at some step, after a check of all of them.

    Raises ValueError, in one line that names the source: a bad name, weight, schedule or confidence; or a step at which
    no source has any weight.
    """
    for name, source in sources.items():
        what, steps = f"source {name!r}", [step for step, _ in source.points]
        if not name.isidentifier():
            raise ValueError(f"{what}: a name is letters, digits and underscores, for it also names curves of the log")
        if not steps or steps[0] < 0 or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"{what}: the steps of weight {source.weight} must rise from 0 or later")
        if not all(math.isfinite(weight) and weight >= 0 for _, weight in source.points):
            raise ValueError(f"{what}: weight must be finite and at least 0, got {source.weight}")
        if source.confidence is not None and not 0 <= source.confidence <= 1:
            raise ValueError(f"{what}: confidence must lie in [0, 1], got {source.confidence}")
        if source.people == [] or (isinstance(source.people, int) and source.people < 1):
            raise ValueError(f"{what}: people must be at least 1, or names, got {source.people}")
    # A sum of piecewise linear weights that are never negative can only be 0 where it is 0 at one of their points.
    for step in sorted({step for source in sources.values() for step, _ in source.points}):
        if not any(source.weight_at(step) > 0 for source in sources.values()):
            raise ValueError(f"no source has any weight at step {step}: {', '.join(sources)}")
    if not sources:
        raise ValueError("data.train names no source")
    return {name: source for name, source in sources.items() if any(weight > 0 for _, weight in source.points)}


class Mix:
    """The processor that mixes: endless examples, each of a source that is drawn by the weights of the moment.

    Args:
        sources: the weights, by name.
        streams: the processors of each source, from shards to examples; they must be endless.
        step: the optimiser step that the next example is for.
        seed: of the draws; make it differ between readers.
        progress: counts what is drawn, and holds the places of the streams.
    """

    def __init__(
        self,
        sources: dict[str, Source],
        streams: dict[str, list[Callable[..., Iterator[Any]]]],
        step: Callable[[], int],
        seed: str,
        progress: Progress,
    ) -> None:
        self.sources, self.streams, self.step, self.seed, self.progress = sources, streams, step, seed, progress

    def __call__(self) -> Iterator[Any]:
        """Examples. Raises :class:`ShardError` that names the source; a source of bad shards is met before any step."""
        streams = {name: iter(wds.DataPipeline(*processors)) for name, processors in self.streams.items()}
        progress, names = self.progress, list(streams)
        progress.held = {name: replace(place) for name, place in progress.places.items()}
        first = {name: _next(name, stream) for name, stream in streams.items()}
        while True:
            step, rng = self.step(), random.Random(f"{self.seed} {progress.drawn}")
            (name,) = rng.choices(names, [self.sources[name].weight_at(step) for name in names])
            progress.drawn += 1
            progress.held.pop(name, None)
            yield first.pop(name) if name in first else _next(name, streams[name])


def _next(name: str, stream: Iterator[Any]) -> Any:
    try:
        return next(stream)
    except ShardError as error:
        raise ShardError(f"source {name!r}: {error}") from error
