"""Whether a folder of shards is whole and right, to the last byte.

Of every folder: shards and their sidecars. Of a folder that ``prepare`` made also its plan and records: whether every
unit is done and every video has its rows, and whether rows and shards say the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep.clips.quality import HELD, KEPT
from data_prep.engines.plan import PLAN_FOLDER, Plan, Unit, load_plan
from data_prep.engines.records import MANIFEST, Done, is_of, read_records
from data_prep.store import Store
from jdap.io.progress import track
from jdap.shards import schema
from jdap.shards.latents import decode_members, latents_member
from jdap.shards.reader import read_tar
from jdap.shards.sample import Sample
from jdap.shards.schema import Record, SchemaError
from jdap.shards.writer import sidecar_path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Defect:
    """Something wrong with a file of a shard folder; ``name``: its name in the folder."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass
class _Seen:
    """What the shards hold, as far as they were read."""

    keys: dict[str, str] = field(default_factory=dict)
    splits: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: shard → its SHA-256, and clip → frames
    sha256: dict[str, str] = field(default_factory=dict)
    frames: dict[str, Counter[str]] = field(default_factory=dict)


def verify(place: str | Path, console: Console | None = None) -> list[Defect]:
    """Everything that is wrong with the shards below ``place``; an empty list is a clean bill.

    Checks that nothing half-written lies there, that every shard has its sidecar and the size, SHA-256 and counts
    that it names, that every sample decodes in full and keeps the schema, that no key occurs twice, and that no person
    is in two of the splits ``train``, ``val``, ``test``; then plan, records and manifest, where there is a plan. Raises
    FileNotFoundError where there is nothing to check.
    """
    store = Store(place)
    if not (store.exists() if store.path is None else store.path.is_dir()):
        raise FileNotFoundError(f"{place} is not a folder of shards")
    files = store.walk()
    shards = [name for name in files if name.endswith(".tar")]
    problems = [
        Defect(name, "half-written, left by an interrupted run: delete it") for name in files if name.endswith(".part")
    ]
    plan = load_plan(store)
    if not shards and not problems and plan is None:
        raise FileNotFoundError(
            f"no shard (*.tar) below {place}: make some with `python -m data_prep prepare` or studio"
        )
    seen = _Seen()
    for shard in track(shards, "shard", console) if console else shards:
        problems += [Defect(shard, what) for what in _verify_shard(store, shard, files[shard], seen)]
    for person, where in sorted(seen.splits.items()):
        if len(where) > 1:
            problems.append(Defect(".", f"{person} is in more than one split: {', '.join(sorted(where))}"))
    return problems + (list(_verify_plan(store, plan, files, seen)) if plan is not None else [])


def _verify_shard(store: Store, shard: str, size: int, seen: _Seen) -> Iterator[str]:
    sidecar = _read_sidecar(store, shard)
    if isinstance(sidecar, str):
        yield sidecar
        sidecar = {}
    samples = frames = 0
    seen.frames[shard] = Counter()
    with store.local(shard) as path:
        with path.open("rb") as file:
            seen.sha256[shard] = digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sidecar and sidecar["bytes"] != size:
            yield f"{size} bytes, the sidecar says {sidecar['bytes']}: cut short or overwritten"
        elif sidecar and sidecar["sha256"] != digest:
            yield "SHA-256 differs from the sidecar's: the file was changed"
        try:
            for key, members in read_tar(path):
                samples += 1
                try:
                    record = _decode(members)
                except SchemaError as error:
                    yield f"sample {key}: {error}"
                    continue
                frames += record.frames
                yield from _see(shard, key, record, seen)
        except SchemaError as error:
            yield str(error)
            return
    if sidecar and (samples, frames) != (sidecar["samples"], sidecar["frames"]):
        yield f"{samples} samples, {frames} frames; sidecar: {sidecar['samples']}, {sidecar['frames']}"


def _see(shard: str, key: str, record: Record, seen: _Seen) -> Iterator[str]:
    if record.key != key:
        yield f"sample {key}: its record belongs to {record.key}"
    if key in seen.keys:
        yield f"sample {key} is in {seen.keys[key]} too"
    seen.keys[key] = shard
    seen.frames[shard][record.clip_id] += record.frames
    folder = Path(shard).parent.name
    if folder in SPLITS:
        seen.splits[record.person_id].add(folder)


def _decode(members: dict[str, bytes]) -> Record:
    """The record of a sample of pictures or of latents, after everything in it was decoded and checked."""
    if latents_member(0) in members:
        return decode_members(members)[0]
    return Sample.from_members(members).record


def _read_sidecar(store: Store, shard: str) -> dict[str, Any] | str:
    """The sidecar, or what is wrong with it."""
    path = sidecar_path(Path(shard))
    try:
        sidecar = json.loads(store.read(path.as_posix()))
    except FileNotFoundError:
        return f"has no sidecar {path.name}: incomplete, prepare it again"
    except ValueError as error:
        return f"sidecar {path.name} cannot be read ({error})"
    if not isinstance(sidecar, dict) or sidecar.get("schema_version") not in schema.VERSIONS:
        return f"sidecar {path.name} is not of schema version {' or '.join(map(str, schema.VERSIONS))}"
    missing = {"samples", "frames", "bytes", "sha256"} - set(sidecar)
    return f"sidecar {path.name} lacks {sorted(missing)}" if missing else sidecar


def _verify_plan(store: Store, plan: Plan, files: dict[str, int], seen: _Seen) -> Iterator[Defect]:
    """Plan against records, records against shards, and the manifest against the records."""
    missing, told = dict(plan.units), set[str]()
    manifest = hashlib.sha256()
    for name, done in read_records(store):
        if isinstance(done, str):
            yield Defect(name, done)
            continue
        for row in done.rows:
            manifest.update(f"{json.dumps(row)}\n".encode())
        told |= {shard["shard"] for shard in done.shards}
        unit = missing.get(done.unit)
        if unit is None:
            yield Defect(name, "belongs to no unit of the plan: delete it")
        elif done.sha256 == unit.sha256(plan.settings):
            del missing[done.unit]
            for what in _verify_record(unit, done, seen):
                yield Defect(name, what)
    if missing:
        first = min(missing.values(), key=lambda unit: unit.number)
        yield Defect(
            PLAN_FOLDER, f"{len(missing)} of {len(plan.units)} units are not done (first: {first.name}): prepare again"
        )
    for shard in sorted(set(seen.frames) - told):
        if shard.removeprefix(f"{HELD}/").startswith("clips-"):
            yield Defect(shard, "belongs to no unit that is done: prepare again, or delete it")
    if not missing and MANIFEST not in files:
        yield Defect(MANIFEST, "is missing: prepare again writes it")
    elif not missing:
        with store.local(MANIFEST) as path, path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != manifest.digest():
                yield Defect(MANIFEST, "does not say what the records say: prepare again writes it")


def _verify_record(unit: Unit, done: Done, seen: _Seen) -> Iterator[str]:
    broken = False
    for shard in done.shards:
        name = shard["shard"]
        if name not in seen.sha256:
            broken = True
            yield f"its shard {name} is missing: prepare again"
        elif seen.sha256[name] != shard["sha256"]:
            broken = True
            yield f"its shard {name} has another SHA-256: delete that shard and prepare again"
    for video in unit.videos:
        if not any(is_of(row, video.video_id) for row in done.rows):
            yield f"no row of {video.name}: delete the record and prepare again"
    for status in () if broken else (KEPT, HELD):
        rows = Counter({row["clip_id"]: int(row["frames"]) for row in done.rows if row["status"] == status})
        stored = sum(
            (
                seen.frames.get(s["shard"], Counter())
                for s in done.shards
                if s["shard"].startswith(HELD) == (status == HELD)
            ),
            Counter[str](),
        )
        for clip in sorted({*rows, *stored}):
            if rows[clip] != stored[clip]:
                yield f"clip {clip}: its row says {rows[clip]} frames {status}, the shards hold {stored[clip]}"
