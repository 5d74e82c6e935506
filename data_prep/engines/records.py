"""What is done of a plan: the records ``units/000123.json`` that workers leave, and what is made of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.clips.quality import HELD
from data_prep.engines.plan import Plan, Unit
from data_prep.store import Store
from jdap.shards.writer import sidecar_path

Row = dict[str, Any]
#: Where records and contact sheets lie in the store, and what is made of all rows.
RECORDS, SHEETS, MANIFEST = "units", "contact", "manifest.jsonl"
#: What ``python -m data_prep report`` writes beside them.
REPORT, PAGE = "report.json", "report.html"
#: Records that are read at a time: a terabyte's do not fit into memory.
_AT_ONCE = 64


@dataclass(frozen=True)
class Done:
    """A unit's record: its number, the SHA-256 of the plan's unit that it belongs to, its shards as their sidecars
    describe them (``shard``, ``samples``, ``frames``, ``bytes``, ``sha256``), and its rows."""

    unit: int
    sha256: str
    shards: tuple[dict[str, Any], ...]
    rows: tuple[Row, ...]


def read_records(store: Store) -> Iterator[tuple[str, Done | str]]:
    """(name, record or what is wrong with it) of all records of a folder, by number."""
    names = [name for name in store.names(RECORDS) if name.endswith(".json")]
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        for name, data in zip(some, store.read_all(some), strict=True):
            try:
                found = json.loads(data)
                done = Done(found["unit"], found["sha256"], tuple(found["shards"]), tuple(found["rows"]))
            except (ValueError, KeyError, TypeError) as error:
                yield name, f"cannot be read ({type(error).__name__}: {error}): delete it and prepare again"
                continue
            yield name, done


def missing_units(plan: Plan, store: Store) -> list[Unit]:
    """The plan's units that are not whole: no record, one of other inputs or settings, or shards or sidecars that are
    not there or of another size. (That every byte is right is for ``verify`` to say.)"""
    there = store.names() | store.names(HELD)
    whole = set()
    for _, done in read_records(store):
        if isinstance(done, Done) and done.unit in plan.units:
            right = done.sha256 == plan.units[done.unit].sha256(plan.settings)
            shards = all(there.get(s["shard"]) == s["bytes"] for s in done.shards)
            if right and shards and all(sidecar_path(Path(s["shard"])).as_posix() in there for s in done.shards):
                whole.add(done.unit)
    return [unit for unit in plan if unit.number not in whole]


def read_rows(store: Store) -> Iterator[Row]:
    """The rows of all units that are done, in order."""
    for _, done in read_records(store):
        if isinstance(done, Done):
            yield from done.rows
