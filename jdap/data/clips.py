"""Clips: windows of frames with their sound for the temporal stage, and whole clips for benchmarks.

A window is ``frames`` frames of one sample, every ``stride``-th, with a reference and the sound of exactly that time,
and of ``audio_margin`` frames more on both sides. Nothing but these frames is decoded.

Shapes: B clips, F frames, S audio samples; T frames of a whole sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Generator

from jdap import depth
from jdap.batch import ClipBatch, ClipLatentBatch
from jdap.data import draw
from jdap.data.curriculum import Source
from jdap.data.latents import LatentExample, LatentReader, collate, maps_of
from jdap.data.people import theirs
from jdap.data.pose import mouth_px
from jdap.data.position import Progress, StreamPosition
from jdap.data.shards import (
    ALONE,
    Augmentation,
    Processor,
    ReaderShard,
    ShardOrder,
    batched,
    decode,
    draw_frames,
    in_blocks,
    of_all,
    split_by_sample,
    usable,
)
from jdap.data.tars import BadSamplePolicy, RawSample, read_tars
from jdap.data.transforms import Example
from jdap.shards import schema
from jdap.shards.schema import Record, frame_member
from jdap.shards.urls import ShardError, resolve_shards
from jdap.units import FPS, SAMPLE_RATE


def span(frames: int, stride: int) -> int:
    """How many frames of a sample lie between the first and the last of a window, both included."""
    return (frames - 1) * stride + 1


def choose_windows(
    record: Record, generator: Generator | None, frames: int, stride: int = 1, windows: int = 1
) -> list[tuple[int, Sequence[int]]]:
    """(reference, frames) of ``windows`` windows; without a generator one, the first, with the last frame.

    A start is uniformly random among all that there are. Several are spread evenly over the sample from a random one
    on (systematic sampling), so that a sample that was read once is used well. The reference is at least half the
    sample away from the window's middle, or as far as there is, and so outside of the window if it can be.
    """
    length = span(frames, stride)
    if generator is None:
        return [(record.frames - 1, range(0, length, stride))]
    starts, offset = record.frames - length + 1, torch.rand((), generator=generator).item()
    firsts = [int((offset + k / windows) % 1 * starts) for k in range(windows)]
    return [
        (
            draw.choose(draw.far_from(record, first + (length - 1) / 2), generator),
            range(first, first + length, stride),
        )
        for first in firsts
    ]


def clip_batch(examples: list[Example]) -> ClipBatch:
    """Examples of equally many frames as a batch; one depth range serves a window."""
    draw.check_sizes(examples)
    depth_mm = torch.stack([e.depth_mm_F1HW for e in examples])
    skin = torch.stack([e.skin_F1HW for e in examples])
    # The frames of a clip side by side are one tall picture: its quantiles are the clip's.
    range_mm = depth.skin_range_mm(depth_mm.flatten(1, 3)[:, None], skin.flatten(1, 3)[:, None])
    return ClipBatch(
        reference_rgb=draw.signed(torch.stack([e.reference_3HW for e in examples])),
        rgb=draw.signed(torch.stack([e.rgb_F3HW for e in examples])),
        depth_mm=depth_mm,
        depth=depth.normalise(depth_mm, range_mm),
        skin=skin,
        confidence=torch.stack([e.confidence_F1HW for e in examples]),
        range_mm=range_mm,
        **_beside_frames(examples),
    )


def clip_latent_batch(examples: list[LatentExample]) -> ClipLatentBatch:
    """Latents of equally many frames as a batch; one depth range serves a sample."""
    return ClipLatentBatch(
        reference=torch.stack([e.reference_Chw for e in examples]),
        **maps_of(examples),
        range_mm=torch.stack([e.range_mm_F2[0] for e in examples]),
        codec=examples[0].codec,
        **_beside_frames(examples),
    )


def _beside_frames(examples: Sequence[Example | LatentExample]) -> dict[str, Any]:
    """What batches of clips hold beside their frames. Silence where there is no sound."""
    fps, margin = examples[0].fps, examples[0].audio_margin
    pose = torch.stack([e.pose_F6 for e in examples])
    camera_px = torch.stack([e.camera_px_F3 for e in examples])
    silence = torch.zeros(round((pose.shape[1] + 2 * margin) * SAMPLE_RATE / fps))
    return {
        "camera_px": camera_px,
        "pose": pose,
        # Flip, zoom and resize moved pose and camera, and so move what is projected by them.
        "mouth_px": mouth_px(pose, camera_px),
        "lip_opening_mm": torch.stack([e.lip_opening_mm_F for e in examples]),
        "audio": torch.stack([silence if e.audio is None else e.audio for e in examples]),
        "has_audio": torch.tensor([e.audio is not None for e in examples]),
        "fps": fps,
        "audio_margin": margin,
        **draw.names_of(examples),
    }


def clip_processors(
    shards: list[str] | dict[str, Source],
    batch_size: int,
    frames: int,
    fps: float = float(FPS),
    size_px: int | None = None,
    share: ReaderShard = ALONE,
    seed: int | None = None,
    shuffle: int = 0,
    augmentation: Augmentation | None = None,
    stride: int = 1,
    windows: int = 1,
    audio_margin: int = 0,
    keep_bytes: int = 0,
    latents: LatentReader | None = None,
    step: Callable[[], int] = lambda: 0,
    progress: Progress | None = None,
) -> list[Processor]:
    """The processors from shards to :class:`jdap.batch.ClipBatch`, or of latents to
    :class:`jdap.batch.ClipLatentBatch`; what is not said here is as in ``image_processors``.

    Of each clip, which must be at ``fps`` and long enough, ``windows`` windows a turn in training, mixed in blocks of
    ``shuffle``, and one in evaluation: :func:`choose_windows`. Batches are at ``fps / stride``. Stills are left out.
    """
    choose = partial(choose_windows, frames=frames, stride=stride, windows=windows)

    def examples(source: Source, name: str | None, keep_bytes: int, place: StreamPosition) -> list[Processor]:
        reading, decoding = BadSamplePolicy(strict=seed is None), BadSamplePolicy(strict=seed is None)
        return [
            ShardOrder(list(source.shards), share, reading, seed or 0, endless=seed is not None, start=place),
            partial(read_tars, faults=reading, keep_bytes=keep_bytes, start=place),
            partial(
                usable,
                faults=reading,
                clip_frames=span(frames, stride),
                fps=fps,
                latents=latents,
                people=theirs(source),
            ),
            partial(split_by_sample, share=share),
            partial(draw_frames, seed=seed, choose=choose, stride=stride, start=place),
            *in_blocks(shuffle, seed, share, place),
            partial(
                decode,
                faults=decoding,
                size_px=size_px,
                augmentation=augmentation,
                audio_margin=audio_margin,
                source=name,
                confidence=source.confidence,
                latents=latents,
            ),
        ]

    as_batch = partial(collate, of_pictures=clip_batch, of_latents=clip_latent_batch)
    batch = partial(batched, size=batch_size, collate=as_batch, last=seed is None)
    return [*of_all(shards, examples, keep_bytes, seed, share, step, progress), batch]


def read_clips(
    shards: str | list[str],
    fps: float = float(FPS),
    size_px: int | None = None,
    stride: int = 1,
    audio_margin: int = 0,
    frames: int | None = None,
) -> Iterator[ClipBatch]:
    """Whole clips in order, one at a time: all frames of a clip's samples (at most the first ``frames``), unchanged.

    Samples that follow one another without a gap are one clip, with one range of depth, and the clip's last frame as
    the reference; after a gap another clip begins. ``shards`` as in :func:`jdap.shards.urls.resolve_shards`. Memory
    holds one clip. Raises :class:`ShardError` for bad shards, and for a clip whose samples lie apart.
    """
    faults = BadSamplePolicy(strict=True)
    turn = ShardOrder(resolve_shards(shards), ALONE, faults, seed=0, endless=False)
    whole = join_samples(usable(read_tars(turn(), faults), faults, clip_frames=1, fps=fps))
    drawn = (
        draw.pick(sample, record, record.frames - 1, range(record.frames)[::stride][:frames], stride=stride)
        for sample, record in whole
    )
    for example in decode(drawn, faults, size_px, None, audio_margin):
        yield clip_batch([example])  # type: ignore[list-item]


def join_samples(samples: Iterable[tuple[RawSample, Record]]) -> Iterator[tuple[RawSample, Record]]:
    """Neighbouring samples of one clip as one sample, still encoded; a gap between them begins another.

    Raises :class:`ShardError` where a clip goes on after another one.
    """
    done: set[str] = set()
    for clip_id, group in groupby(samples, key=lambda pair: pair[1].clip_id):
        parts = sorted(group, key=lambda pair: pair[1].first_frame)
        if clip_id in done:
            raise ShardError(
                f"{parts[0][0]['__url__']}: samples of clip {clip_id} lie apart, so it cannot be read whole; name "
                "shards in which they follow one another, as `python -m data_prep` writes them"
            )
        done.add(clip_id)
        run = parts[:1]
        for part in parts[1:]:
            if part[1].first_frame != run[-1][1].first_frame + run[-1][1].frames:
                yield _join(run)
                run = []
            run.append(part)
        yield _join(run)


def _join(run: list[tuple[RawSample, Record]]) -> tuple[RawSample, Record]:
    if len(run) == 1:
        return run[0]
    (sample, record), count = run[0], sum(r.frames for _, r in run)
    joined = {name: value for name, value in sample.items() if name.startswith("__") or name in ("of", "place")}
    # Optional members and scores go on where every part has them.
    optional = (kind for kind in schema.OPTIONAL_KINDS if all(frame_member(kind, 0) in s for s, _ in run))
    kinds = [*schema.FRAME_KINDS, *optional]
    offset = 0
    for part, its in run:
        for kind in kinds:
            for i in range(its.frames):
                joined[frame_member(kind, offset + i)] = part[frame_member(kind, i)]
        offset += its.frames
    try:
        arrays = [schema.decode_arrays(s["arrays.safetensors"], r.frames) for s, r in run]
        names = set.intersection(*map(set, arrays))
        merged = {name: np.concatenate([a[name] for a in arrays]) for name in names}
        joined["arrays.safetensors"] = schema.encode_arrays(merged, count)
        if any("audio.wav" in s for s, _ in run):
            joined["audio.wav"] = schema.encode_audio(np.concatenate([_sound(*pair) for pair in run]))
    except ValueError as error:  # SchemaError, or arrays of other sizes
        raise ShardError(f"{sample['__url__']}: clip {record.clip_id} cannot be joined: {error}") from error
    shared = set.intersection(*(set(r.scores) for _, r in run))
    scores = {name: [n for _, r in run for n in r.scores[name]] for name in sorted(shared)}
    return joined, replace(record, frames=count, scores=scores)


def _sound(sample: RawSample, record: Record) -> np.ndarray:
    """The sample's sound (S,), as long as its pictures; silence where it has none."""
    out = np.zeros(round(record.frames * SAMPLE_RATE / record.fps), np.float32)
    if "audio.wav" in sample:
        sound = schema.decode_audio(sample["audio.wav"])[: len(out)]
        out[: len(sound)] = sound
    return out
