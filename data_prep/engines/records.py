"""What is done of a plan: the records ``units/000123.json`` that workers leave, and what is made of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.clips.quality import HELD
from data_prep.engines.plan import Plan, Unit
from data_prep.machine.faults import is_open
from data_prep.store import Store, contained
from jdap.shards.writer import sidecar_path

ClipRow = dict[str, Any]
#: Where records and contact sheets lie in the store, and what is made of all rows.
RECORDS, SHEETS, MANIFEST = "units", "contact", "manifest.jsonl"
#: What ``python -m data_prep report`` writes beside them.
#: Records that are read at a time: a terabyte's do not fit into memory.
_AT_ONCE = 64


@dataclass(frozen=True)
class Done:
    """A unit's record: its number, the SHA-256 of the plan's unit that it belongs to, its shards as their sidecars
    describe them (``shard``, ``samples``, ``frames``, ``bytes``, ``sha256``), its rows, and the versions of the
    ``software`` that made it."""

    unit: int
    sha256: str
    shards: tuple[dict[str, Any], ...]
    rows: tuple[ClipRow, ...]
    software: dict[str, str]

    @property
    def open_rows(self) -> int:
        """How many rows speak of a machine's fault or a bug, not of their video."""
        return sum(is_open(row) for row in self.rows)


def parse_record(data: bytes) -> Done:
    """A record's file. Raises ValueError, KeyError or TypeError where it is none, or names files outside its folder."""
    found = json.loads(data)
    done = Done(
        int(found["unit"]),
        str(found["sha256"]),
        tuple(found["shards"]),
        tuple(found["rows"]),
        dict(found.get("software", {})),
    )
    for shard in done.shards:
        contained(shard["shard"])
    for row in done.rows:
        if "/" in contained(row["clip_id"]):
            raise ValueError(f"{row['clip_id'][:100]!r} is no id of a clip")
    return done


def read_records(store: Store) -> Iterator[tuple[str, Done | str]]:
    """(name, record or what is wrong with it) of all records of a folder, by number."""
    names = [name for name in store.names(RECORDS) if name.endswith(".json")]
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        for name, data in zip(some, store.read_all(some), strict=True):
            try:
                done = parse_record(data)
            except (ValueError, KeyError, TypeError) as error:
                yield name, f"cannot be read ({type(error).__name__}: {error}): delete it and prepare again"
                continue
            yield name, done


def missing_units(plan: Plan, store: Store, retry: bool = False) -> list[Unit]:
    """The plan's units that are not whole: no record, one of other inputs or settings, or shards or sidecars that are
    not there or of another size. (That every byte is right is for ``verify`` to say.) With ``retry`` also those with
    videos or clips that failed by no fault of theirs."""
    there = store.names() | store.names(HELD)
    whole = set()
    for _, done in read_records(store):
        if isinstance(done, Done) and done.unit in plan.units:
            right = done.sha256 == plan.units[done.unit].sha256(plan.settings)
            shards = all(there.get(s["shard"]) == s["bytes"] for s in done.shards)
            if retry and done.open_rows:
                continue
            if right and shards and all(sidecar_path(Path(s["shard"])).as_posix() in there for s in done.shards):
                whole.add(done.unit)
    return [unit for unit in plan if unit.number not in whole]


def read_record(store: Store, unit: Unit) -> Done | None:
    """A unit's record; None where there is none that can be read."""
    name = f"{RECORDS}/{unit.name}.json"
    if not store.sizes([name]):
        return None
    try:
        return parse_record(store.read(name))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def is_of(row: ClipRow, video_id: str) -> bool:
    """Whether a row is of this video."""
    return row["clip_id"] == video_id or row["clip_id"].startswith(f"{video_id}_")


def is_done(plan: Plan, unit: Unit, store: Store) -> bool:
    """Whether a unit is whole by now; asks for its own files only."""
    done = read_record(store, unit)
    if done is None:
        return False
    shards = {s["shard"]: s["bytes"] for s in done.shards}
    sidecars = [sidecar_path(Path(shard)).as_posix() for shard in shards]
    there = store.sizes([*shards, *sidecars])
    right = done.sha256 == unit.sha256(plan.settings) and all(there.get(s) == size for s, size in shards.items())
    return right and all(sidecar in there for sidecar in sidecars)


def read_rows(store: Store) -> Iterator[ClipRow]:
    """The rows of all units that are done, in order."""
    for _, done in read_records(store):
        if isinstance(done, Done):
            yield from done.rows
