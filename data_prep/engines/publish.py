"""Into the store: a unit's shards, sidecars and sheets, then its record; and a remote video out of it.

A unit is done when its record is there; whatever else lies in the store without one is written over.
"""

from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
from fsspec.callbacks import Callback

from data_prep.clips.quality import HELD, KEPT, reason_kind
from data_prep.engines.plan import PlannedVideo, Unit
from data_prep.engines.records import RECORDS, SHEETS, ClipRow
from data_prep.machine.watchdog import beat
from data_prep.store import Store, remove_folder
from jdap.io.remote import remote_errors
from jdap.shards.sample import StoredSample
from jdap.shards.schema import Record
from jdap.shards.writer import ShardWriter, sidecar_path


def write_shards(
    folder: Path, name: str, rows: list[ClipRow], samples: Callable[[ClipRow], Iterator[tuple[str, dict[str, bytes]]]]
) -> dict[str, Path]:
    """Write the shards of unit ``name`` into an empty ``folder``: name in the store → file.

    ``samples(row)`` gives key and members of a kept or held clip's samples; it is asked once for each, in order.
    """
    remove_folder(folder)
    prefix = f"clips-{name}"
    with _Writer(folder, prefix) as writer, _Writer(folder / HELD, prefix) as held:
        for row in rows:
            target = held if row["status"] == HELD else writer
            for step, seconds in row["seconds"].items():
                target.add_seconds(step, seconds)
            if row["status"] not in (KEPT, HELD):
                target.reject(reason_kind(row["reason"]))
                continue
            for key, members in samples(row):
                record = Record.from_json(json.loads(members["json"]))
                target.write(StoredSample(key, record, members))
    return {s.relative_to(folder).as_posix(): s for s in (*writer.shards, *held.shards)}


def download(video: PlannedVideo, target: Path) -> None:
    """A remote video's local copy. Raises OSError, also where less of it comes than was planned."""
    with remote_errors(video.path):
        fs, path = fsspec.core.url_to_fs(video.path)
        fs.get_file(path, str(target), callback=_Beats())
    size = target.stat().st_size
    if video.bytes > 0 and size != video.bytes:
        raise OSError(errno.EIO, f"{size} of {video.bytes} bytes came")


class _Beats(Callback):
    """Tells the watchdog that a download goes on."""

    def relative_update(self, inc: int = 1) -> None:
        beat()


def publish(
    store: Store,
    unit: Unit,
    digest: str,
    shards: dict[str, Path],
    folders: list[Path],
    rows: list[ClipRow],
    software: dict[str, str],
) -> None:
    """Shards, sidecars, sheets, then the record. An old record goes first: what it speaks of is written over."""
    record = f"{RECORDS}/{unit.name}.json"
    store.remove([record])
    told = []
    store.remove([*_old_shards(store, f"clips-{unit.name}"), *_old_shards(store, f"{HELD}/clips-{unit.name}")])
    for name, shard in shards.items():
        sidecar = json.loads(sidecar_path(shard).read_bytes()) | {"shard": name}
        told.append({key: sidecar[key] for key in ("shard", "samples", "frames", "bytes", "sha256")})
        store.publish(shard, name)
        store.publish(sidecar_path(shard), sidecar_path(Path(name)).as_posix())
    for sheet in sorted(path for folder in folders for path in (folder / SHEETS).glob("*")):
        store.publish(sheet, f"{SHEETS}/{sheet.name}")
    head = json.dumps({"unit": unit.number, "sha256": digest, "software": software, "shards": told})
    lines = ",\n".join(json.dumps(row) for row in rows)
    store.write(record, f'{head[:-1]}, "rows": [\n{lines}\n]}}\n'.encode())


def _old_shards(store: Store, first: str) -> list[str]:
    """Shards and sidecars of a unit that are there: ``first``, ``first-01`` … as long as there are any."""
    found: list[str] = []
    for index in itertools.count():
        stem = f"{first}-{index:02d}" if index else first
        there = store.sizes([f"{stem}.tar", f"{stem}.json"])
        if not there:
            return found[::-1]  # the last goes first: what is left by an interruption is found again
        found += there
    return found


class _Writer(ShardWriter):
    """One shard, ``PREFIX.tar``; what does not fit goes into ``PREFIX-01.tar`` …"""

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index:02d}" if index else self.prefix
