"""Pipelines that a benchmark measures beside each other, by the names they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from benchmarks import BenchmarkError
from jdap.pipelines.base import JointPipeline

Loaded = TypeVar("Loaded", bound=JointPipeline)


def load_named(
    kind: type[Loaded], named: Sequence[tuple[str, str]], device: torch.device, steps: int, **options: Any
) -> dict[str, Loaded]:
    """The pipelines of ``--weights NAME=FOLDER …`` by name, on a device; ``options`` of ``from_pretrained``.

    Raises :class:`benchmarks.BenchmarkError` for names that meet, steps that do not fit, and pictures of different
    sides.
    """
    if len({name for name, _ in named}) < len(named):
        raise BenchmarkError(f"--weights: names must differ, got {', '.join(name for name, _ in named)}")
    found = {name: kind.from_pretrained(folder, **options).quiet().to(device) for name, folder in named}
    for pipeline in found.values():
        check_steps(pipeline, steps)
    sizes = {name: pipeline.size_px for name, pipeline in found.items()}
    if len(set(sizes.values())) > 1:
        raise BenchmarkError(f"--weights: their pictures have different sides in pixels: {sizes}")
    return found


def check_steps(pipeline: JointPipeline, steps: int) -> None:
    """Raises :class:`benchmarks.BenchmarkError` for steps that the pipeline's schedule does not have."""
    try:
        pipeline.schedule.spaced(steps)
    except ValueError as error:
        raise BenchmarkError(f"--steps: {error}") from error
