"""LightningDataModules over shards: the stages of :mod:`jdap.data.shards` behind DataLoaders.

Training never runs dry: the stream of batches is endless, and one Lightning epoch is ``epoch_steps`` batches of it on
each rank. The next epoch goes on where the last one stopped. ``Trainer(max_steps=…)`` therefore ends a run, and
validation comes after each epoch or by ``val_check_interval``. A resumed run starts a stream of its own, seeded by the
seed and the step, rather than the draws of step 0 again.

Training shards may be named sources with weights that change over the optimiser's steps
(:mod:`jdap.data.curriculum`). A batch's step is known where it is drawn, be it far ahead in a worker: when the loader
starts an epoch, the trainer is at step k₀ and accumulates the gradients of a batches a step, so the epoch's batch j
(over all workers of a rank) is for step k₀ + ⌊j / a⌋. That holds after a resume too, for k₀ is read from the trainer.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import webdataset as wds
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveFloat, PositiveInt
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jdap.batch import ClipBatch, ImageBatch, LatentBatch
from jdap.data.curriculum import Source, used
from jdap.data.latents import LatentReader, read_depth_sums
from jdap.data.shards import Share, Stage, clip_stages, image_stages, resolve_shards
from jdap.data.sources import ShardError
from jdap.data.transforms import augment

Shards = str | list[str] | None


class Batches(IterableDataset):
    """Batches of one rank, shared out to DataLoader workers without overlap.

    Args:
        stages: makes the list of stages for a ``share`` and a ``seed`` (None: evaluation, one turn).
        rank: of this process.
        world: number of processes.
        seed: of an endless training stream, or None.
        epoch_steps: batches in one iteration of a training stream, over all workers of this rank.
    """

    def __init__(
        self,
        stages: Callable[..., list[Stage]],
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        epoch_steps: int = 1,
    ) -> None:
        self.stages, self.rank, self.world, self.seed, self.epoch_steps = stages, rank, world, seed, epoch_steps
        # The step at which an epoch begins, and batches a step: in memory that workers see, see TrainingLoader.
        self.clock = torch.tensor([0, 1]).share_memory_()
        self._step = 0
        self._stream: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if self.seed is None:
            return self._new_stream(worker, workers)
        self._stream = self._stream or self._new_stream(worker, workers, step=lambda: self._step)
        return self._epoch(worker, workers, *self.clock.tolist())

    def _new_stream(self, worker: int, workers: int, **more: Any) -> Iterator[Any]:
        share = Share(self.rank * workers + worker, self.world * workers)
        return iter(wds.DataPipeline(*self.stages(share=share, seed=self.seed, **more)))

    def _epoch(self, worker: int, workers: int, first_step: int, accumulated: int) -> Iterator[Any]:
        assert self._stream is not None
        # A DataLoader takes a batch of each worker in turn.
        for index in range(worker, self.epoch_steps, workers):
            self._step = first_step + index // accumulated
            yield next(self._stream)

    def __getstate__(self) -> dict[str, Any]:
        # A running stream cannot travel to another process; there it starts from the seed.
        return self.__dict__ | {"_stream": None}


class TrainingBatches(Batches):
    """An endless stream, cut into epochs: its length is exact, for :class:`Batches` shares it out to the workers."""

    def __len__(self) -> int:
        return self.epoch_steps


class TrainingLoader(DataLoader):
    """Tells its :class:`TrainingBatches` at the start of each epoch what the trainer's clock shows.

    Args:
        dataset: the batches.
        clock: the optimiser step now, and the batches of one step.
        options: of ``DataLoader``.
    """

    def __init__(self, dataset: TrainingBatches, clock: Callable[[], tuple[int, int]], **options: Any) -> None:
        super().__init__(dataset, **options)
        self.clock = clock

    def __iter__(self) -> Any:
        self.dataset.clock.copy_(torch.tensor(self.clock()))  # type: ignore[attr-defined]
        return super().__iter__()


class ShardDataModule(LightningDataModule):
    """What the data modules share: where shards are, how they are read, and the epoch."""

    def __init__(
        self,
        train: Shards | dict[str, Source],
        val: Shards,
        test: Shards,
        workers: int,
        epoch_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.train = used(train) if isinstance(train, dict) else train
        self.specs = {"val": val, "test": test}
        self.workers, self.epoch_steps, self.seed = workers, epoch_steps, seed
        self._resumed_at = 0

    @abstractmethod
    def stages(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Stage]]:
        """The stages over ``shards``, still to be told ``share``, ``seed`` and, in training, ``step``."""

    def train_dataloader(self) -> DataLoader:
        """Endless batches in epochs of ``epoch_steps``. Raises :class:`jdap.data.shards.ShardError`."""
        # Lightning warns of lengths that forget the workers; this one is exact.
        warnings.filterwarnings("ignore", message=".*IterableDataset. has .__len__. defined")
        # Some prime: neighbouring seeds and steps do not meet.
        seed = self.seed + 1_000_003 * self._resumed_at
        stages = self.stages(self._training_shards(), training=True)
        batches = TrainingBatches(stages, *self._place(), seed, self.epoch_steps)
        return TrainingLoader(batches, self._clock, **self._options)

    def val_dataloader(self) -> DataLoader | list:
        """Every sample once, in order; nothing where no validation shards were named."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader | list:
        """Every sample once, in order; nothing where no test shards were named."""
        return self._evaluation("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a typed batch; Lightning moves tensors, and would not look into a frozen dataclass."""
        return batch.to(device) if isinstance(batch, ImageBatch | LatentBatch | ClipBatch) else batch

    def state_dict(self) -> dict[str, int]:
        """The optimiser step, so that a resumed run draws other pictures than the steps before it."""
        return {"step": self.trainer.global_step if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._resumed_at = state_dict["step"]

    def _training_shards(self) -> list[str] | dict[str, Source]:
        if not isinstance(self.train, dict):
            return resolve_shards(self.train or [])
        found = {}
        for name, source in self.train.items():
            try:
                found[name] = replace(source, shards=resolve_shards(source.shards))
            except ShardError as error:
                raise ShardError(f"source {name!r}: {error}") from error
        return found

    def _evaluation(self, split: str) -> DataLoader | list:
        spec = self.specs[split]
        if not spec:
            return []
        batches = Batches(self.stages(resolve_shards(spec), training=False), *self._place())
        return DataLoader(batches, **self._options)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _clock(self) -> tuple[int, int]:
        return (self.trainer.global_step, self.trainer.accumulate_grad_batches) if self.trainer else (0, 1)

    @property
    def _options(self) -> dict[str, Any]:
        return {"batch_size": None, "num_workers": self.workers, "persistent_workers": self.workers > 0}


class ImageDataModule(ShardDataModule):
    """Batches of reference and target pictures, :class:`jdap.batch.ImageBatch`.

    Training shards may hold latents that ``jdap cache-latents`` made, whose batches are
    :class:`jdap.batch.LatentBatch`; of ``flip``, ``jitter`` and ``zoom`` they have what was cached. Validation and test
    need pictures.

    Args:
        train: training shards: a folder, brace pattern, fsspec URL, ``shipped:shards/train``, or a list of such; or
            named sources that are mixed by weight, ``{name: {shards: …, weight: …, confidence: …}}``, see
            :class:`jdap.data.curriculum.Source`.
        val: validation shards, or null.
        test: test shards, or null.
        batch_size: pictures in a batch of one rank.
        size_px: side of the pictures; stored ones of another size are resized. Null: as stored.
        workers: processes that decode, on each rank; 0 decodes in the training process.
        flip: mirror half of the training pictures.
        jitter: strength of the colour change in training, 0 … 1; the same for reference and target.
        zoom: largest share that a random crop takes off the side of a training target.
        pairs: pictures drawn of a training sample each time that it is read; more spare bandwidth.
        eval_frames: targets of each sample in evaluation; null: all of stills, first, middle and last of a clip.
        shuffle: training pictures in the buffer that mixes them, in each worker, of each source.
        keep_mb: megabytes of training shards that each worker keeps in memory, rather than to read them again.
        epoch_steps: batches of one Lightning epoch, on each rank.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        train: str | list[str] | dict[str, Source] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        batch_size: PositiveInt = 16,
        size_px: PositiveInt | None = 128,
        workers: NonNegativeInt = 0,
        flip: bool = True,
        jitter: ClosedUnitInterval = 0.1,
        zoom: ClosedUnitInterval = 0.0,
        pairs: PositiveInt = 1,
        eval_frames: PositiveInt | None = None,
        shuffle: NonNegativeInt = 200,
        keep_mb: NonNegativeInt = 256,
        epoch_steps: PositiveInt = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val, test, workers, epoch_steps, seed)
        self.batch_size, self.size_px, self.eval_frames = batch_size, size_px, eval_frames
        self.training = {
            "augmentation": partial(augment, flip_=flip, jitter=jitter, zoom=zoom),
            "latents": LatentReader(size_px, flip, jitter, zoom),
            "pairs": pairs,
            "shuffle": shuffle,
            "keep_bytes": keep_mb << 20,
        }

    def cached_depth_sums(self) -> tuple[Tensor, Tensor] | None:
        """Sum (1, H, W) of the normalised depth over the skin of all training pictures, and in how many it is skin.

        As :mod:`jdap.cache` wrote them beside its shards; None where the training shards hold pictures.
        """
        shards = self._training_shards()
        urls = shards if isinstance(shards, list) else [url for s in shards.values() for url in s.shards]
        return read_depth_sums(urls)

    def stages(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Stage]]:
        """See :func:`jdap.data.shards.image_stages`."""
        more: dict[str, Any] = self.training if training else {"eval_frames": self.eval_frames}
        return partial(image_stages, shards, self.batch_size, self.size_px, **more)


class ClipDataModule(ShardDataModule):
    """Batches of clips with sound, :class:`jdap.batch.ClipBatch`. Stills among the shards are left out.

    Args:
        train: training shards: a folder, brace pattern, fsspec URL, ``shipped:shards/train``, or a list of such; or
            named sources that are mixed by weight, ``{name: {shards: …, weight: …, confidence: …}}``, see
            :class:`jdap.data.curriculum.Source`.
        val: validation shards, or null.
        test: test shards, or null.
        batch_size: clips in a batch of one rank.
        frames: consecutive frames of a clip; shorter ones are refused.
        fps: frames per second that the clips must have.
        size_px: side of the pictures; stored ones of another size are resized. Null: as stored.
        workers: processes that decode, on each rank; 0 decodes in the training process.
        flip: mirror half of the training clips.
        jitter: strength of the colour change in training, 0 … 1; the same for every frame and the reference.
        zoom: largest share that a random crop takes off the side of a training clip.
        shuffle: training clips in the buffer that mixes them, in each worker, of each source.
        keep_mb: megabytes of training shards that each worker keeps in memory, rather than to read them again.
        epoch_steps: batches of one Lightning epoch, on each rank.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        train: str | list[str] | dict[str, Source] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        batch_size: PositiveInt = 1,
        frames: PositiveInt = 16,
        fps: PositiveFloat = 25.0,
        size_px: PositiveInt | None = 128,
        workers: NonNegativeInt = 0,
        flip: bool = True,
        jitter: ClosedUnitInterval = 0.1,
        zoom: ClosedUnitInterval = 0.0,
        shuffle: NonNegativeInt = 32,
        keep_mb: NonNegativeInt = 256,
        epoch_steps: PositiveInt = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val, test, workers, epoch_steps, seed)
        self.batch_size, self.frames, self.fps, self.size_px = batch_size, frames, fps, size_px
        self.training = {
            "augmentation": partial(augment, flip_=flip, jitter=jitter, zoom=zoom),
            "shuffle": shuffle,
            "keep_bytes": keep_mb << 20,
        }

    def stages(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Stage]]:
        """See :func:`jdap.data.shards.clip_stages`."""
        more: dict[str, Any] = self.training if training else {}
        return partial(clip_stages, shards, self.batch_size, self.frames, self.fps, self.size_px, **more)
