"""Shards to batches: where shards are found, and the visible list of processors that turns them into batches.

:func:`image_processors` and :func:`jdap.data.clips.clip_processors` list what a WebDataset ``DataPipeline`` runs, in
order::

    shards of each turn → split by shard → tar to samples → usable ones → split by sample → draw frames
    → shuffle in blocks → decode → resize, augment → (mix with other sources) → batch

A sample says whether it holds pictures or latents (:mod:`jdap.data.latents`), which are neither resized nor augmented.
With named sources (:mod:`jdap.data.curriculum`) everything before the batch stands once for each source.

Splitting: a :class:`ReaderShard` is one DataLoader worker of one rank. With at least as many shards as sharers each
reads shards of its own; with fewer, everyone walks through all shards and keeps every count-th sample. So no worker of
a training is ever idle, and in evaluation every sample is seen exactly once, though not by ranks equally often.

Order: training goes on for ever, in an order and with draws that follow from the seed alone, and can start anywhere in
it (:mod:`jdap.data.position`); evaluation is one turn.

Bad shards and samples: evaluation stops at the first with an error that names it; training logs one warning a shard and
goes on, until :data:`jdap.data.tars.GIVE_UP_AFTER` in a row are bad.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Generator

from jdap.data import draw
from jdap.data.curriculum import Mix, Source
from jdap.data.draw import Drawn
from jdap.data.latents import LatentExample, LatentReader, collate, latent_batch
from jdap.data.people import theirs
from jdap.data.position import Progress, StreamPosition, shuffled
from jdap.data.tars import BadSamplePolicy, RawSample, read_tars
from jdap.data.transforms import Example, resize
from jdap.shards.schema import Record, SchemaError
from jdap.shards.urls import SHARDS_REMEDY, ShardError, resolve_shards

__all__ = ["ALONE", "ReaderShard", "ShardError", "image_processors", "resolve_shards"]

Processor = Callable[..., Iterator[Any]]
Augmentation = Callable[[Example, Generator], Example]


@dataclass(frozen=True)
class ReaderShard:
    """One of ``count`` readers: every DataLoader worker of every rank is one."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a share's index must be within 0 … count − 1, got {self}")


ALONE = ReaderShard()
ONLY_TRAINING = "holds latents, which only training reads; name shards of pictures here"
#: The name of shards that have none.
UNNAMED = ""


class ShardOrder:
    """The first processor: each shard of a share, once in order or, ``endless``, shuffled by turn, from ``start`` on.

    A shard is ``{url, turn, shard, everything, of}``, as :class:`jdap.data.position.StreamPosition` says.
    ``faults.good`` tells it whether a turn had anything usable. In training a share that had nothing (its shards were
    bad) reads all shards in the next turn; when that finds nothing either, :class:`ShardError` is raised.
    """

    def __init__(
        self,
        urls: list[str],
        share: ReaderShard,
        faults: BadSamplePolicy,
        seed: int,
        endless: bool,
        start: StreamPosition | None = None,
    ) -> None:
        self.urls, self.share, self.faults, self.seed, self.endless = urls, share, faults, seed, endless
        self.start = replace(start or StreamPosition())

    def __call__(self) -> Iterator[RawSample]:
        """Shards, turn by turn."""
        share, of, start = self.share, len(self.urls), self.start
        everything = of < share.count or share.count == 1 or bool(start.everything)
        for turn in itertools.count(start.turn):
            before, order = self.faults.good, list(self.urls)
            if self.endless:
                random.Random(f"{self.seed} {turn}").shuffle(order)
            for shard, url in enumerate(order if everything else order[share.index :: share.count]):
                if turn > start.turn or shard >= start.shard:
                    yield {"url": url, "turn": turn, "shard": shard, "everything": int(everything), "of": of}
            # what lies before the start was good, or there were no start in this turn
            if self.faults.good == before and (turn > start.turn or start == StreamPosition()):
                if everything:
                    raise ShardError(
                        f"none of {of} shards holds a usable sample, {self.urls[0]} first; {SHARDS_REMEDY}"
                    )
                everything = True
            if not self.endless:
                return


def usable(
    samples: Iterable[RawSample],
    faults: BadSamplePolicy,
    clip_frames: int | None = None,
    fps: float | None = None,
    latents: LatentReader | None = None,
    people: frozenset[str] | None = None,
) -> Iterator[tuple[RawSample, Record]]:
    """Samples with their records, all members there. Raises :class:`ShardError` for latents that ``latents`` refuses.

    With ``clip_frames`` clips alone: stills are left out, and a clip that is shorter or not at ``fps`` is bad. With
    ``people`` theirs alone; a turn in which a reader met none of them had nothing for it.
    """
    for sample in samples:
        try:
            record = draw.read_record(sample)
            refusal = record.latents and (latents.refusal(record) if latents else ONLY_TRAINING)
            if refusal:  # nothing is wrong with it, so this is no fault to go on after
                raise ShardError(f"{sample['__url__']}: {refusal}")
            if people is not None and record.person_id not in people:
                continue
            if clip_frames is not None:
                if record.fps == 0:
                    continue
                if record.fps != fps or record.frames < clip_frames:
                    raise SchemaError(f"{record.frames} frames at {record.fps} fps, asked for {clip_frames} at {fps}")
        except ShardError:
            raise
        except SchemaError as error:
            faults.bad(sample["__url__"], error, sample["__key__"])
            continue
        faults.pass_good()
        yield sample, record


def split_by_sample(
    samples: Iterable[tuple[RawSample, Record]], share: ReaderShard
) -> Iterator[tuple[RawSample, Record]]:
    """Every count-th sample, where shards were too few for :class:`ShardOrder` to split: other ones in each turn."""
    for sample, record in samples:
        place = sample["place"]
        if sample["of"] >= share.count or (place.index + place.turn) % share.count == share.index:
            yield sample, record


def draw_frames(
    samples: Iterable[tuple[RawSample, Record]],
    seed: int | None,
    choose: Callable[[Record, Generator | None], list[tuple[int, Sequence[int]]]],
    stride: int = 1,
    start: StreamPosition | None = None,
) -> Iterator[Drawn]:
    """What is chosen of each sample: target frames and a reference.

    ``choose`` gives (reference, targets), drawn from a generator by (seed, turn, key), or with ``seed`` None without
    one. Of the sample at ``start`` the choices before it are left out.
    """
    start = replace(start or StreamPosition())
    for sample, record in samples:
        chance = (seed, sample["place"].turn, sample["__key__"])
        chosen = choose(record, None if seed is None else draw.seeded(*chance))
        for n, (reference, targets) in enumerate(chosen):
            if replace(sample["place"], pair=n) != replace(start, pair=n, given=0) or n >= start.pair:
                yield draw.pick(sample, record, reference, targets, (*chance, n), n, stride)


def decode(
    drawn: Iterable[Drawn],
    faults: BadSamplePolicy,
    size_px: int | None,
    augmentation: Augmentation | None,
    audio_margin: int | None = None,
    source: str | None = None,
    confidence: float | None = None,
    latents: LatentReader | None = None,
) -> Iterator[Example | LatentExample]:
    """What was drawn: decoded, resized to ``size_px`` (None: as stored) and augmented by its own chance."""
    for one in drawn:
        try:
            if one.record.latents and latents is not None:
                yield latents(one, source, confidence, audio_margin)
                faults.pass_good()
                continue
            example = draw.decode(one, audio_margin, source, confidence)
        except SchemaError as error:
            faults.bad(one.url, error, one.key)
            continue
        faults.pass_good()
        if size_px is not None:
            example = resize(example, size_px)
        if augmentation is not None:
            example = augmentation(example, draw.seeded("augment", *one.chance))
        yield example


def batched(examples: Iterable[Any], size: int, collate: Callable[[list[Any]], Any], last: bool) -> Iterator[Any]:
    """Batches of ``size`` examples, and with ``last`` the smaller rest.

    No example is asked for before its batch is (webdataset's own is one ahead): sources are drawn by a batch's step.
    """
    examples = iter(examples)
    while batch := list(itertools.islice(examples, size)):
        if len(batch) == size or last:
            yield collate(batch)


def image_processors(
    shards: list[str] | dict[str, Source],
    batch_size: int,
    size_px: int | None = None,
    share: ReaderShard = ALONE,
    seed: int | None = None,
    shuffle: int = 0,
    pairs: int = 1,
    targets: int = 1,
    eval_frames: int | None = None,
    augmentation: Augmentation | None = None,
    latents: LatentReader | None = None,
    keep_bytes: int = 0,
    step: Callable[[], int] = lambda: 0,
    progress: Progress | None = None,
) -> list[Processor]:
    """The processors from shards (URLs, or sources that hold URLs, by name) to :class:`jdap.batch.ImageBatch`.

    Of shards of latents to :class:`jdap.batch.LatentBatch`; without ``latents`` they are refused.

    With a ``seed`` for training: endless, bad shards skipped, ``pairs`` random references with ``targets`` frames each
    of each sample and turn, mixed in blocks of ``shuffle`` such groups, still encoded, only whole batches, up to
    ``keep_bytes`` of shards kept in memory (shared out evenly to the sources). ``step`` tells the optimiser step that
    the next batch is for; the stream starts at ``progress``, and keeps it up to date.
    Without one for evaluation: one turn, strict, ``eval_frames`` targets of each sample as
    :func:`jdap.data.draw.fixed_pairs` gives them, a last batch that may be smaller.
    """

    choose = partial(draw.choose_pairs, pairs=pairs, eval_frames=eval_frames, targets=targets)

    def examples(source: Source, name: str | None, keep_bytes: int, place: StreamPosition) -> list[Processor]:
        reading, decoding = BadSamplePolicy(strict=seed is None), BadSamplePolicy(strict=seed is None)
        return [
            ShardOrder(list(source.shards), share, reading, seed or 0, endless=seed is not None, start=place),
            partial(read_tars, faults=reading, keep_bytes=keep_bytes, start=place),
            partial(usable, faults=reading, latents=latents, people=theirs(source)),
            partial(split_by_sample, share=share),
            partial(draw_frames, seed=seed, choose=choose, start=place),
            *in_blocks(shuffle, seed, share, place),
            partial(
                decode,
                faults=decoding,
                size_px=size_px,
                augmentation=augmentation,
                source=name,
                confidence=source.confidence,
                latents=latents,
            ),
        ]

    groups = batch_size if seed is None else batch_size // targets
    as_batch = partial(collate, of_pictures=draw.image_batch, of_latents=latent_batch)
    batch = partial(batched, size=groups, collate=as_batch, last=seed is None)
    return [*of_all(shards, examples, keep_bytes, seed, share, step, progress), batch]


def of_all(
    shards: list[str] | dict[str, Source],
    examples: Callable[[Source, str | None, int, StreamPosition], list[Processor]],
    keep_bytes: int,
    seed: int | None,
    share: ReaderShard,
    step: Callable[[], int],
    progress: Progress | None,
) -> list[Processor]:
    """The processors to examples: of one set of shards as they are, of named sources behind the one that mixes them."""
    progress = progress or Progress.of(source_names(shards))
    if not isinstance(shards, dict):
        return examples(Source(shards), None, keep_bytes, progress.places[UNNAMED])
    each = keep_bytes // len(shards)
    streams = {name: examples(source, name, each, progress.places[name]) for name, source in shards.items()}
    return [Mix(shards, streams, step, f"mix {seed} {share.index} of {share.count}", progress)]


def source_names(shards: list[str] | dict[str, Source]) -> list[str]:
    """The names by which :class:`jdap.data.position.Progress` knows the sources."""
    return list(shards) if isinstance(shards, dict) else [UNNAMED]


def in_blocks(size: int, seed: int | None, share: ReaderShard, place: StreamPosition) -> list[Processor]:
    """Training's order, seeded for each reader apart."""
    if seed is None:
        return []
    return [partial(shuffled, size=size, seed=f"{seed} {share.index} of {share.count}", place=place)]
