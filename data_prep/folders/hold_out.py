"""Shards parted by time: → ``DIR/train`` and ``DIR/test``.

The last share of every clip is kept aside, of stills the last ones of every person. Between the two parts of a clip
lies a gap that neither has, and another one where the next clip goes on with the same face (``prepare`` cuts a clip a
minute): frames next to each other are nearly one picture, and would say nothing of what was learnt.

Nothing is encoded anew. Chunks of a clip are joined, so that a training pair may lie as far apart as the clip is long.
The folder is there whole or not at all, and made again it holds the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.choices import TEST, TRAIN
from data_prep.store import Store
from jdap.io.files import replace_folder, write_whole
from jdap.io.progress import track
from jdap.shards import schema
from jdap.shards.reader import read_tar
from jdap.shards.sample import StoredSample
from jdap.shards.schema import Record, SchemaError
from jdap.shards.writer import ShardWriter, sidecar_path
from jdap.units import SAMPLE_RATE

#: Frames of a sample at most: ten seconds. A sample is read whole.
LONGEST_SAMPLE = 250
#: What says that a folder is ours, and how it was made.
NOTE = "hold-out.json"


class HoldOutError(ValueError):
    """Shards of which nothing can be kept aside, or a folder that is not ours to write."""


@dataclass(frozen=True)
class Chunk:
    """A sample as it is stored; ``frames[i]`` holds frame i's members as (what stands before its number, after it) →
    bytes."""

    record: Record
    frames: list[dict[tuple[str, str], bytes]]
    arrays: dict[str, np.ndarray]
    audio: np.ndarray | None

    @classmethod
    def of(cls, members: dict[str, bytes]) -> Chunk:
        """Raises :class:`SchemaError` for members that do not keep the schema, and for latents."""
        record = Record.from_json(json.loads(members["json"]))
        if record.latents:
            raise SchemaError("holds latents: name the shards of pictures that they were made of")
        frames: list[dict[tuple[str, str], bytes]] = [{} for _ in range(record.frames)]
        for name, data in members.items():
            kind, _, rest = name.partition(".")
            number, _, suffix = rest.partition(".")
            if number.isdecimal() and int(number) < record.frames:
                frames[int(number)][kind, suffix] = data
        arrays = schema.decode_arrays(members["arrays.safetensors"], record.frames)
        audio = schema.decode_audio(members["audio.wav"]) if "audio.wav" in members else None
        return cls(record, frames, arrays, audio)


#: A frame: its chunk, and its number there.
ChunkFrame = tuple[Chunk, int]


@dataclass
class HoldOutOutcome:
    """Frames of ``train`` and ``test``, those ``between`` that neither has, and whose they are."""

    train: int = 0
    test: int = 0
    between: int = 0
    people: set[str] = field(default_factory=set)


def hold_out(shards: str | Path, out: Path, share: float = 0.2, gap_s: float = 0.2) -> HoldOutOutcome:
    """Write ``out/train`` and ``out/test``; an older folder of ours is replaced.

    ``gap_s`` seconds of each clip lie between them. Raises :class:`HoldOutError` where ``out`` is not ours or nothing
    can be kept aside, :class:`SchemaError` for a shard that cannot be read.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and any(out.iterdir()) and not (out / NOTE).exists():
        raise HoldOutError(f"{out} exists, is not empty, and was not made by hold-out: name another folder")
    part, outcome = out.with_name(f"{out.name}.part"), HoldOutOutcome()
    shutil.rmtree(part, ignore_errors=True)
    try:
        with ShardWriter(part / TRAIN, "clips") as train, ShardWriter(part / TEST, "clips") as test:
            for frames, goes_on in _groups(Store(shards)):
                _split(frames, goes_on, share, gap_s, train, test, outcome)
        if not outcome.test:
            raise HoldOutError(f"{shards}: {outcome.train} single frames, of which none can be kept aside")
        note = {"from": str(shards), "share": share, "gap_s": gap_s}
        write_whole(part / NOTE, json.dumps(note, indent=1).encode())
        replace_folder(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return outcome


def _split(
    frames: list[ChunkFrame],
    goes_on: bool,
    share: float,
    gap_s: float,
    train: ShardWriter,
    test: ShardWriter,
    outcome: HoldOutOutcome,
) -> None:
    """The frames of a clip, or of a person's stills, in their order; ``goes_on``: right after those of another clip."""
    count, record = len(frames), frames[0][0].record
    gap = round(gap_s * record.fps)
    kept = max(1, round(share * count)) if count > 1 else 0
    last = max(1, count - kept - gap) if kept else count
    first = min(gap, last) if goes_on else 0
    for writer, some in ((train, frames[first:last]), (test, frames[count - kept :])):
        for piece in _pieces(some):
            writer.write(_stored(piece))
    outcome.train += last - first
    outcome.test += kept
    outcome.between += count - kept - last + first
    outcome.people.add(record.person_id)


def _groups(store: Store) -> Iterator[tuple[list[ChunkFrame], bool]]:
    """The frames of each clip, and of each person's stills, and whether they follow on another clip's.

    Only what is not complete yet is held in memory.
    """
    names = store.names()
    tars = sorted(name for name in names if name.endswith(".tar"))
    whole = [name for name in tars if sidecar_path(Path(name)).name in names]
    if not tars:
        raise HoldOutError(f"no shards (*.tar) at {store}: `python -m data_prep prepare` kept no clip, or never ran")
    counts, ends = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for record, _ in _samples(store, whole or tars):
        counts[_owner(record)] += 1
        ends[record.clip_id, record.person_id] += record.frames
    after = {(_video(clip), person, _start(clip) + frames) for (clip, person), frames in ends.items()}
    begun: dict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for record, members in _samples(store, track(whole or tars, "shard", Console(stderr=True))):
        owner = _owner(record)
        begun[owner].append(Chunk.of(members))
        if len(begun[owner]) == counts[owner]:
            chunks = sorted(begun.pop(owner), key=lambda chunk: (chunk.record.clip_id, chunk.record.first_frame))
            place = (_video(record.clip_id), record.person_id, _start(record.clip_id))
            goes_on = bool(record.fps) and place in after
            yield [(chunk, i) for chunk in chunks for i in range(chunk.record.frames)], goes_on


def _samples(store: Store, tars: Iterable[str]) -> Iterator[tuple[Record, dict[str, bytes]]]:
    for name in tars:
        with store.local(name) as path:
            for key, members in read_tar(path):
                try:
                    yield Record.from_json(json.loads(members["json"])), members
                except (KeyError, SchemaError, ValueError) as error:
                    raise SchemaError(f"{name}: sample {key}: {error}; see `python -m data_prep verify`") from error


def _owner(record: Record) -> tuple[str, str]:
    return ("clip", record.clip_id) if record.fps else ("stills", record.person_id)


def _video(clip_id: str) -> str:
    return clip_id.rpartition("_")[0]


def _start(clip_id: str) -> int:
    """The frame of its video at which a clip begins, as ``prepare`` names it; 0 for other names."""
    found = re.match(r"\d+", clip_id.rpartition("_")[2])
    return int(found[0]) if found else 0


def _pieces(frames: list[ChunkFrame]) -> Iterator[list[ChunkFrame]]:
    """Runs of consecutive frames of one clip, or of one sample's stills, cut evenly where they are too long."""
    runs: list[list[ChunkFrame]] = []
    for frame in frames:
        if runs and _follows(runs[-1][-1], frame):
            runs[-1].append(frame)
        else:
            runs.append([frame])
    for run in runs:
        parts = -(-len(run) // LONGEST_SAMPLE)
        bounds = [len(run) * k // parts for k in range(parts + 1)]
        yield from (run[low:high] for low, high in pairwise(bounds))


def _follows(one: ChunkFrame, other: ChunkFrame) -> bool:
    (before, i), (after, j) = one, other
    same = before.record.clip_id == after.record.clip_id and before.record.size_px == after.record.size_px
    return same and before.record.first_frame + i + 1 == after.record.first_frame + j


def _stored(piece: list[ChunkFrame]) -> StoredSample:
    """Frames as one sample. What only some chunks have (a kind of map, an array, a score, sound) is left out."""
    chunks = {id(chunk): chunk for chunk, _ in piece}
    spans = {key: [i for chunk, i in piece if id(chunk) == key] for key in chunks}
    parts = [(chunk, spans[key][0], spans[key][-1] + 1) for key, chunk in chunks.items()]
    first, (start, low, high) = piece[0][0].record, parts[0]
    kinds = set.intersection(*(set(chunk.frames[i]) for chunk, i in piece))
    scores = set.intersection(*(set(chunk.record.scores) for chunk, *_ in parts))
    arrays = set.intersection(*(set(chunk.arrays) for chunk, *_ in parts))
    record = replace(
        first,
        frames=len(piece),
        first_frame=first.first_frame + low,
        scores={name: [x for c, a, b in parts for x in c.record.scores[name][a:b]] for name in sorted(scores)},
        speech=first.speech if len(parts) == 1 and high - low == len(start.frames) else {},  # it speaks of all of it
    )
    members = {"json": json.dumps(record.to_json(), sort_keys=True).encode()}
    for n, (chunk, i) in enumerate(piece):
        shown = {place: data for place, data in chunk.frames[i].items() if place in kinds}
        members |= {f"{kind}.{n:04d}.{suffix}": data for (kind, suffix), data in shown.items()}
    joined = {name: np.concatenate([c.arrays[name][a:b] for c, a, b in parts]) for name in sorted(arrays)}
    members["arrays.safetensors"] = schema.encode_arrays(joined, len(piece))
    sound = [_heard(chunk, a, b) for chunk, a, b in parts]
    if all(one is not None for one in sound):
        members["audio.wav"] = schema.encode_audio(np.concatenate([one for one in sound if one is not None]))
    return StoredSample(record.key, record, members)


def _heard(chunk: Chunk, low: int, high: int) -> np.ndarray | None:
    if chunk.audio is None or not chunk.record.fps:
        return None
    return chunk.audio[round(low * SAMPLE_RATE / chunk.record.fps) : round(high * SAMPLE_RATE / chunk.record.fps)]
