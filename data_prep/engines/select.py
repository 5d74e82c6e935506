"""Judging prepared clips again, without decoding a video.

Clips that fail a threshold lie in ``DIR/held/``, with everything that kept ones have. This moves samples between there
and ``DIR`` by other thresholds, unit by unit; a unit in which nothing changes is not touched. It also holds clips that
show what an earlier one shows, over the whole folder (``prepare`` sees one video at a time).

A unit's shards are written beside the folder first; then its record goes, its shards are exchanged, and the new record
is written. Where that is interrupted, ``prepare`` makes the unit again. Thresholds are not remembered: ``prepare``
judges new videos by those it was begun with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_prep.clips.quality import HELD, KEPT, DuplicateFinder, Thresholds, select
from data_prep.engines.plan import Unit
from data_prep.engines.publish import publish, write_shards
from data_prep.engines.records import RECORDS, ClipRow, Done, read_records
from data_prep.engines.run import open_store, sum_up
from data_prep.machine.retry import RETRIES
from data_prep.store import Store, remove_folder
from jdap.io.progress import track
from jdap.shards.reader import read_tar


class SelectError(ValueError):
    """A folder that cannot be selected from."""


@dataclass
class Selection:
    """How many clips are ``kept`` and ``held`` now, were ``admitted`` and ``put_aside``, and ``units`` written anew."""

    kept: int = 0
    held: int = 0
    admitted: int = 0
    put_aside: int = 0
    units: int = 0


def select_again(place: str, thresholds: Thresholds, duplicates: bool = False, retries: int = RETRIES) -> Selection:
    """Judge all clips of a folder by ``thresholds``; with ``duplicates`` those are judged like any other.

    Raises :class:`SelectError` where nothing of ``prepare``'s is there, or a record cannot be read.
    """
    if not Store(place).names(RECORDS):
        raise SelectError(f"{place} holds no units of prepare's: name a folder that it made")
    outcome, finder = Selection(), DuplicateFinder(thresholds)
    with open_store(place, retries) as (store, folder):
        names = [name for name in store.names(RECORDS) if name.endswith(".json")]
        records = track(read_records(store), "unit", Console(stderr=True), len(names))
        for name, done in records:
            if not isinstance(done, Done):
                raise SelectError(f"{place}/{name} {done}")
            rows = [select(_unmarked(row) if duplicates else finder.mark(row), thresholds) for row in done.rows]
            _count(done, rows, outcome)
            if rows != list(done.rows):
                _exchange(store, folder / "select", done, rows)
                outcome.units += 1
        if outcome.units:
            sum_up(store, folder)
    return outcome


def _exchange(store: Store, folder: Path, done: Done, rows: list[ClipRow]) -> None:
    """Write a unit's shards and record anew: samples stay in the order of the rows."""
    unit, was = Unit(done.unit, ()), {row["clip_id"]: row["status"] for row in done.rows}
    streams = {
        HELD: _Stream(_samples(store, [s["shard"] for s in done.shards if s["shard"].startswith(f"{HELD}/")])),
        KEPT: _Stream(_samples(store, [s["shard"] for s in done.shards if not s["shard"].startswith(f"{HELD}/")])),
    }
    shards = write_shards(folder, unit.name, rows, lambda row: streams[was[row["clip_id"]]].of(row["clip_id"]))
    publish(store, unit, done.sha256, shards, [], rows, done.software)
    remove_folder(folder)


def _samples(store: Store, shards: list[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    for shard in shards:
        with store.local(shard) as path:
            yield from read_tar(path)


class _Stream:
    """Samples of clips in order, taken clip by clip."""

    def __init__(self, samples: Iterator[tuple[str, dict[str, bytes]]]):
        self._samples = samples
        self._next = next(samples, None)

    def of(self, clip_id: str) -> Iterator[tuple[str, dict[str, bytes]]]:
        """The samples of a clip; raises :class:`SelectError` if it is not the next one's turn."""
        found = 0
        while self._next is not None and self._next[0].rpartition("-")[0] == clip_id:
            yield self._next
            self._next = next(self._samples, None)
            found += 1
        if not found:
            raise SelectError(f"no sample of {clip_id} where its record says: run verify, and prepare again")


def _unmarked(row: ClipRow) -> ClipRow:
    return {name: value for name, value in row.items() if name != "duplicate_of"}


def _count(done: Done, rows: list[ClipRow], outcome: Selection) -> None:
    for before, after in zip(done.rows, rows, strict=True):
        outcome.kept += after["status"] == KEPT
        outcome.held += after["status"] == HELD
        outcome.admitted += (before["status"], after["status"]) == (HELD, KEPT)
        outcome.put_aside += (before["status"], after["status"]) == (KEPT, HELD)
