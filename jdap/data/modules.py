"""LightningDataModules over shards: the processors of :mod:`jdap.data.shards` behind DataLoaders.

Training never runs dry: the stream of batches is endless, and one Lightning epoch is ``epoch_steps`` batches of it on
each rank. The next epoch goes on where the last one stopped. ``Trainer(max_steps=…)`` therefore ends a run, and
validation comes after each epoch or by ``val_check_interval``.

A checkpoint holds where the readers are, and a resumed run goes on with the very next batch, wherever in an epoch that
is. Another number of processes, workers or sources makes other readers: a warning says that the data starts anew, by a
seed of its own, rather than with the draws of step 0 again.

Training shards may be named sources with weights that change over the optimiser's steps
(:mod:`jdap.data.curriculum`). A batch's step is known where it is drawn, be it far ahead in a worker
(:class:`jdap.data.loader.Clock`).
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from jdap.batch import TypedBatch
from jdap.data.clips import clip_processors
from jdap.data.curriculum import Source, used
from jdap.data.latents import LatentReader, read_depth_sums
from jdap.data.loader import Batches, Clock, TrainingBatches, TrainingLoader
from jdap.data.people import chosen_people
from jdap.data.shards import UNNAMED, Processor, image_processors, resolve_shards, source_names
from jdap.data.transforms import augment
from jdap.shards.reader import check_filled
from jdap.shards.schema import SchemaError
from jdap.shards.urls import ShardError
from jdap.units import FPS

Shards = str | list[str] | None


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
        self._resumed: dict[str, Any] | None = None
        self._loader: TrainingLoader | None = None
        self._readers: dict[str, Any] = {}

    @abstractmethod
    def processors(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Processor]]:
        """The processors over ``shards``, still to be told ``share``, ``seed`` and, in training, ``step``."""

    def check(self) -> None:
        """Raises :class:`jdap.data.shards.ShardError` where shards that are named are not there, or hold no sample."""
        if self.train:
            shards = self._training_shards()
            for urls in [shards] if isinstance(shards, list) else [list(source.shards) for source in shards.values()]:
                check_filled(urls)
        for spec in self.specs.values():
            if spec:
                check_filled(resolve_shards(spec))

    def train_dataloader(self) -> DataLoader:
        """Endless batches in epochs of ``epoch_steps``. Raises :class:`jdap.data.shards.ShardError`."""
        # Lightning warns of lengths that forget the workers, and of loaders that cannot resume in an epoch; this one is
        # exact, and it can: its state is this module's.
        warnings.filterwarnings("ignore", message=".*IterableDataset. has .__len__. defined")
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
        shards = self._training_shards()
        rank, world = self._place()
        places, seed = self._start(shards, rank)
        batches = TrainingBatches(
            self.processors(shards, training=True),
            rank,
            world,
            source_names(shards),
            max(1, self.workers),
            seed,
            self._epoch_length,
        )
        self._loader = TrainingLoader(
            batches, self.epoch_steps, self._clock if self.trainer else None, places, **self._options
        )
        self._readers = self._readers_of(shards, seed)
        return self._loader

    def val_dataloader(self) -> DataLoader | list:
        """Every sample once, in order; nothing where no validation shards were named."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader | list:
        """Every sample once, in order; nothing where no test shards were named."""
        return self._evaluation("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a typed batch; Lightning moves tensors, and would not look into a frozen dataclass."""
        return batch.to(device) if isinstance(batch, TypedBatch) else batch

    def state_dict(self) -> dict[str, Any]:
        """Where every worker of every rank is, and of which readers that is true."""
        if self._loader is None or self.trainer is None:
            return {}
        places = self._loader.places(self._clock().taken).to(self.trainer.strategy.root_device)
        everyones = self.trainer.strategy.all_gather(places).reshape(-1, *places.shape)
        return {"places": everyones.cpu(), "step": self.trainer.global_step} | self._readers

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._resumed = state_dict

    def _start(self, shards: list[str] | dict[str, Source], rank: int) -> tuple[Tensor | None, int]:
        """Where this rank's workers start, None for the start, and the seed; a warning where they cannot go on."""
        if self._resumed is None:
            return None, self.seed
        then = self._resumed
        readers = self._readers_of(shards, then.get("seed", self.seed))
        differs = [f"{name} was {then.get(name)}, is {now}" for name, now in readers.items() if then.get(name) != now]
        if "places" in then and not differs:
            return then["places"][rank], then["seed"]
        # Some prime: neighbouring seeds and steps do not meet.
        step = then.get("step", 0)
        rank_zero_warn(
            "the data of the checkpoint cannot be gone on with, so its order starts anew: "
            f"{'; '.join(differs) or 'it holds no place in the data'}"
        )
        return None, self.seed + 1_000_003 * step

    def _readers_of(self, shards: list[str] | dict[str, Source], seed: int) -> dict[str, Any]:
        """What decides the order of the data: a place has a meaning for the same alone."""
        sets = shards if isinstance(shards, dict) else {UNNAMED: Source(shards)}
        return {
            "processes": self._place()[1],
            "workers": max(1, self.workers),
            "shards": {name: len(source.shards) for name, source in sets.items()},
            "people": {name: source.people for name, source in sets.items()},
            "configured_seed": self.seed,
            "seed": seed,
        }

    def _training_shards(self) -> list[str] | dict[str, Source]:
        if not isinstance(self.train, dict):
            return resolve_shards(self.train or [])
        found = {}
        for name, source in self.train.items():
            try:
                urls = resolve_shards(source.shards)
                people = None if source.people is None else chosen_people(urls, source.people)
                found[name] = replace(source, shards=urls, people=people)
            except SchemaError as error:
                raise ShardError(f"source {name!r}: {error}") from error
        return found

    def _evaluation(self, split: str) -> DataLoader | list:
        spec = self.specs[split]
        if not spec:
            return []
        batches = Batches(self.processors(resolve_shards(spec), training=False), *self._place())
        # A generator of its own: a validation must not move the draws of training.
        return DataLoader(batches, generator=torch.Generator().manual_seed(self.seed), **self._options)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def _epoch_length(self) -> int:
        """Batches of an epoch that Lightning takes."""
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(self.epoch_steps, limit if isinstance(limit, int) else int(self.epoch_steps * limit))

    def _clock(self) -> Clock:
        assert self.trainer is not None
        # Processed: a batch that an exception came into is not, and is drawn again by a run that goes on.
        batches = self.trainer.fit_loop.epoch_loop.batch_progress
        # A checkpoint at the very end of an epoch leaves its batches counted.
        epoch_taken = batches.current.processed % self._epoch_length  # type: ignore[attr-defined]
        taken: int = batches.total.processed  # type: ignore[attr-defined]
        step, accumulated = self.trainer.global_step, self.trainer.accumulate_grad_batches
        return Clock(taken, epoch_taken, step, accumulated)

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
        pairs: references drawn of a training sample each time that it is read; more spare bandwidth.
        targets: training pictures of each reference: one pass of the ReferenceNet then serves them all. It must divide
            ``batch_size``.
        eval_frames: targets of each sample in evaluation; null: all of stills, first, middle and last of a clip.
        shuffle: training pictures that are mixed at a time, in each worker, of each source.
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
        targets: PositiveInt = 1,
        eval_frames: PositiveInt | None = None,
        shuffle: NonNegativeInt = 200,
        keep_mb: NonNegativeInt = 256,
        epoch_steps: PositiveInt = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val, test, workers, epoch_steps, seed)
        if batch_size % targets:
            raise ValueError(f"data.batch_size {batch_size} must be a multiple of data.targets {targets}")
        self.batch_size, self.size_px, self.eval_frames = batch_size, size_px, eval_frames
        self.training = {
            "targets": targets,
            "augmentation": partial(augment, flip_=flip, jitter=jitter, zoom=zoom),
            "latents": LatentReader(size_px, flip, jitter, zoom),
            "pairs": pairs,
            "shuffle": shuffle,
            "keep_bytes": keep_mb << 20,
        }

    def cached_depth_sums(self) -> tuple[Tensor, Tensor] | None:
        """Sum (1, H, W) of the normalised depth over the skin of all training pictures, and in how many it is skin.

        As :mod:`jdap.data.caching` wrote them beside its shards; None where the training shards hold
        pictures.
        """
        shards = self._training_shards()
        urls = shards if isinstance(shards, list) else [url for s in shards.values() for url in s.shards]
        return read_depth_sums(urls)

    def processors(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Processor]]:
        """See :func:`jdap.data.shards.image_processors`."""
        more: dict[str, Any] = self.training if training else {"eval_frames": self.eval_frames}
        return partial(image_processors, shards, self.batch_size, self.size_px, **more)


class ClipDataModule(ShardDataModule):
    """Batches of clips with sound, :class:`jdap.batch.ClipBatch`. Stills among the shards are left out.

    Training shards may hold latents that ``jdap cache-latents --clips`` made, whose batches are
    :class:`jdap.batch.ClipLatentBatch`; of ``flip``, ``jitter`` and ``zoom`` they have what was cached. Validation and
    test need pictures.

    Args:
        train: training shards: a folder, brace pattern, fsspec URL, ``shipped:shards/train``, or a list of such; or
            named sources that are mixed by weight, ``{name: {shards: …, weight: …, confidence: …}}``, see
            :class:`jdap.data.curriculum.Source`.
        val: validation shards, or null.
        test: test shards, or null.
        batch_size: clips in a batch of one rank.
        frames: frames of a window; clips that are too short for one are refused.
        fps: frames per second that the clips must have.
        stride: take every stride-th frame, so that batches are at fps / stride, the sound along with them.
        windows: windows drawn of a training clip each time that it is read; more spare bandwidth.
        size_px: side of the pictures; stored ones of another size are resized. Null: as stored.
        workers: processes that decode, on each rank; 0 decodes in the training process.
        flip: mirror half of the training clips.
        jitter: strength of the colour change in training, 0 … 1; the same for every frame and the reference.
        zoom: largest share that a random crop takes off the side of a training clip.
        gain_db: how much louder or quieter the sound of a training clip may be made.
        audio_margin: how many frames' time of sound comes before the first and after the last frame of a window.
        shuffle: training windows that are mixed at a time, in each worker, of each source.
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
        fps: PositiveFloat = float(FPS),
        stride: PositiveInt = 1,
        windows: PositiveInt = 1,
        size_px: PositiveInt | None = 128,
        workers: NonNegativeInt = 0,
        flip: bool = True,
        jitter: ClosedUnitInterval = 0.1,
        zoom: ClosedUnitInterval = 0.0,
        gain_db: NonNegativeFloat = 0.0,
        audio_margin: NonNegativeInt = 0,
        shuffle: NonNegativeInt = 32,
        keep_mb: NonNegativeInt = 256,
        epoch_steps: PositiveInt = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val, test, workers, epoch_steps, seed)
        self.batch_size, self.frames, self.fps, self.size_px = batch_size, frames, fps, size_px
        self.windows = {"stride": stride, "audio_margin": audio_margin}
        self.training = {
            "augmentation": partial(augment, flip_=flip, jitter=jitter, zoom=zoom, gain_db=gain_db),
            "latents": LatentReader(size_px, flip, jitter, zoom, clips=True, gain_db=gain_db),
            "windows": windows,
            "shuffle": shuffle,
            "keep_bytes": keep_mb << 20,
        }

    def processors(self, shards: list[str] | dict[str, Source], training: bool) -> Callable[..., list[Processor]]:
        """See :func:`jdap.data.clips.clip_processors`."""
        more: dict[str, Any] = self.windows | (self.training if training else {})
        return partial(clip_processors, shards, self.batch_size, self.frames, self.fps, self.size_px, **more)
