"""Batches behind a DataLoader: endless training streams that are cut into epochs, and can go on anywhere.

Batch n of a rank, counted over all epochs, is made by its worker n mod W. Every batch comes with the place in which it
leaves its worker (:class:`jdap.data.position.Progress`), and the loader remembers the places of what was taken from it.
When it starts an epoch it hands them back: a worker that is elsewhere (in a new process, or ahead, for the epoch before
was cut) goes there. So what a trainer gets depends on how many batches it took, and on nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jdap.data.position import Progress
from jdap.data.shards import Processor, ReaderShard


@dataclass(frozen=True)
class Clock:
    """What a trainer shows when an epoch starts, or goes on after a resume.

    ``taken`` batches were trained on in all, ``epoch_taken`` of this epoch; ``step``: optimiser steps that were taken;
    ``accumulated``: batches a step.
    """

    taken: int = 0
    epoch_taken: int = 0
    step: int = 0
    accumulated: int = 1

    def step_of(self, ahead: int) -> int:
        """The optimiser step of the batch that comes after ``ahead`` others."""
        return self.step - self.epoch_taken // self.accumulated + (self.epoch_taken + ahead) // self.accumulated


class Batches(IterableDataset):
    """Batches of one rank for evaluation, shared out to DataLoader workers without overlap.

    Args:
        processors: makes the list of processors for a ``share`` and a ``seed`` (None: evaluation, one turn).
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, processors: Callable[..., list[Processor]], rank: int = 0, world: int = 1) -> None:
        self.processors, self.rank, self.world = processors, rank, world

    def __iter__(self) -> Iterator[Any]:
        return self.stream(*_worker())

    def stream(self, worker: int, workers: int, seed: int | None = None, **more: Any) -> Iterator[Any]:
        """What one worker reads."""
        share = ReaderShard(self.rank * workers + worker, self.world * workers)
        return iter(wds.DataPipeline(*self.processors(share=share, seed=seed, **more)))


class TrainingBatches(Batches):
    """An endless stream, cut into epochs: items are (batch, where it leaves its worker), and None for a turn to pass.

    Args:
        processors, rank, world: as above.
        sources: the names of the sources, in the order of a place's numbers.
        workers: W, at least 1, be it this process itself.
        seed: of everything that is drawn.
        epoch_steps: batches in an epoch, over all workers of this rank.
    """

    def __init__(
        self,
        processors: Callable[..., list[Processor]],
        rank: int,
        world: int,
        sources: list[str],
        workers: int,
        seed: int,
        epoch_steps: int,
    ) -> None:
        super().__init__(processors, rank, world)
        self.sources, self.seed, self.epoch_steps = sources, seed, epoch_steps
        # In memory that workers see, for the loader writes them at the start of each epoch.
        self.clock = torch.tensor(astuple(Clock())).share_memory_()
        self.places = torch.tensor([Progress.of(sources).row()] * workers).share_memory_()
        self._step = 0
        self._progress = Progress()
        self._stream: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _worker()
        place = self.places[worker].tolist()
        if self._stream is None or self._progress.row() != place:
            self._progress = Progress.of(self.sources, place)
            self._stream = self.stream(worker, workers, self.seed, step=lambda: self._step, progress=self._progress)
        return self._epoch(worker, workers, self._stream, Clock(*self.clock.tolist()))

    def _epoch(self, worker: int, workers: int, stream: Iterator[Any], clock: Clock) -> Iterator[Any]:
        end = clock.taken + self.epoch_steps - clock.epoch_taken
        # A DataLoader takes an item of each worker in turn, of the first one first.
        for n in range(clock.taken - clock.taken % workers + worker, end, workers):
            if n < clock.taken:
                yield None
                continue
            self._step = clock.step_of(n - clock.taken)
            batch = next(stream)
            yield batch, self._progress.row()

    def __getstate__(self) -> dict[str, Any]:
        # A running stream cannot travel to another process; there it starts from its place.
        return self.__dict__ | {"_stream": None}


class TrainingLoader(DataLoader):
    """Epochs of :class:`TrainingBatches`; :meth:`places` tells where the workers are.

    Args:
        dataset: the batches.
        length: batches in an epoch, as Lightning is told; it may take fewer.
        clock: shows what the trainer's clock shows; None: batches are taken as they are asked for.
        places: (W, …) where to start, or None: at the start.
        options: of ``DataLoader``.
    """

    dataset: TrainingBatches

    def __init__(
        self,
        dataset: TrainingBatches,
        length: int,
        clock: Callable[[], Clock] | None = None,
        places: Tensor | None = None,
        **options: Any,
    ) -> None:
        # Each iterator draws a seed for its workers: of a generator of its own, so that training's stay as they are.
        super().__init__(dataset, generator=torch.Generator().manual_seed(dataset.seed), **options)
        self.length, self.clock = length, clock
        self._taken = 0
        self._places = dataset.places.clone() if places is None else places.clone()
        # Of the latest batches: a trainer may have asked for some that it has not trained on.
        self._latest: deque[tuple[int, list[int]]] = deque()

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Any:
        clock = self.clock() if self.clock else Clock(self._taken)
        self._places = self.places(clock.taken)
        self._latest.clear()
        self.dataset.clock.copy_(torch.tensor(astuple(clock)))
        self.dataset.places.copy_(self._places)
        return self._take(super().__iter__(), clock.taken)

    def places(self, taken: int) -> Tensor:
        """Where the workers are (W, …) after ``taken`` batches of all, which must be among the latest."""
        places = self._places.clone()
        for n, row in self._latest:
            if n < taken:
                places[n % len(places)] = torch.tensor(row)
        return places

    def _take(self, items: Iterator[Any], n: int) -> Iterator[Any]:
        for item in items:
            if item is None:
                continue
            batch, row = item
            self._latest.append((n, row))
            if len(self._latest) > 4 * len(self._places):
                old, settled = self._latest.popleft()
                self._places[old % len(self._places)] = torch.tensor(settled)
            n += 1
            self._taken = n
            yield batch


def _worker() -> tuple[int, int]:
    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)
