"""What a worker does with a unit of the plan: its videos one by one, then the shard.

A worker is sent :class:`Step` after step. Step k prepares the unit's k-th video into the run's scratch folder; the step
after the last one makes the shard of what is there, puts it into the store and then, last of all, the unit's record
``units/000123.json``: rows, and names and SHA-256 of the shards. A unit is done when its record is there and belongs to
the plan's unit; whatever else lies in the store without one is written over.

Videos that were prepared before a worker died are not prepared again by the worker that takes over, as long as it sees
the same scratch folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import fsspec

from data_prep.engines.plan import Unit, Video
from data_prep.engines.records import RECORDS, SHEETS, Row
from data_prep.pipeline import Task, failed_row
from data_prep.quality import HELD, KEPT, reason_kind, select
from data_prep.sample import read_members
from data_prep.shards import Sample, ShardWriter, sidecar_path
from data_prep.store import FULL, Store, is_url, remove_folder, retrying
from jdap.files import write_whole
from jdap.schema import Record

_ROWS = "rows.json"


@dataclass(frozen=True)
class Step:
    """Video ``index`` of a unit; the number of its videos stands for making the shard.

    ``lost``: index → why there is nothing of that video: workers died of it.
    """

    unit: Unit
    index: int
    lost: dict[int, str] = field(default_factory=dict)

    @property
    def last(self) -> bool:
        """Whether it makes the shard."""
        return self.index == len(self.unit.videos)


@dataclass(frozen=True)
class Work:
    """What a worker is told once: everything but the units.

    * ``make(settings)`` builds the function that prepares a video: task → rows, samples in ``task.scratch`` as
      ``CLIP_ID/*.tar``, sheets in ``task.sheets``; it may raise OSErrors of the storage. Picklable, by name.
    * ``settings``: handed to it, with ``thresholds`` for :func:`data_prep.quality.select`; ``identity``: the same as
      plain JSON, part of every unit's hash
    * ``place``: of the store; ``scratch``: local folder for what is in work, of this run alone
    * ``retries``: how often an input or output error is tried again
    """

    make: Callable[[Any], Callable[[Task], list[Row]]]
    settings: Any
    identity: dict[str, Any]
    place: str
    scratch: Path
    retries: int


class UnitWorker:
    """Does steps; built in the process that works. Call it with a step; it returns the rows of the last one."""

    def __init__(self, work: Work):
        self.work = work
        self.store = Store(work.place, work.scratch, work.retries)
        self._prepare = work.make(work.settings)

    def __call__(self, step: Step) -> list[Row]:
        """Do a step: the rows of the unit where it was the last one, else none. Raises OSError where the store or the
        scratch folder cannot be written to."""
        folder = self.work.scratch / f"unit-{step.unit.name}"
        folder.mkdir(parents=True, exist_ok=True)
        if step.last:
            rows = self._finish(step, folder)
            remove_folder(folder)
            return rows
        if not (folder / str(step.index) / _ROWS).exists():
            self._video(step.unit.videos[step.index], folder / str(step.index))
        return []

    def _video(self, video: Video, folder: Path) -> None:
        task = _task(video, folder)

        def attempt() -> list[Row]:
            remove_folder(folder)
            folder.mkdir()
            if not is_url(video.path):
                return self._prepare(task)
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                copy = Path(inside) / Path(video.path).name
                fs, path = fsspec.core.url_to_fs(video.path)
                if fs.exists(path):
                    fs.get_file(path, str(copy))
                rows = self._prepare(Task(copy, task.name, task.base_id, task.scratch, task.sheets))
            return [row | {"source": video.path} for row in rows]

        try:
            rows = retrying(attempt, self.work.retries)
        except OSError as error:
            if error.errno in FULL:
                raise
            remove_folder(folder)
            folder.mkdir()
            rows = [failed_row(task, f"cannot be read: {error.strerror or error}; tried {self.work.retries + 1} times")]
        write_whole(folder / _ROWS, json.dumps(rows).encode())

    def _finish(self, step: Step, folder: Path) -> list[Row]:
        unit, rows = step.unit, list[Row]()
        remove_folder(folder / "shards")
        digest = unit.sha256(self.work.identity)
        name = f"clips-{unit.name}"
        with _Writer(folder / "shards", name) as writer, _Writer(folder / "shards" / HELD, name) as held:
            for k, video in enumerate(unit.videos):
                task = _task(video, folder / str(k))
                found = [failed_row(task, step.lost[k])] if k in step.lost else _load(folder / str(k))
                found = [select(row, self.work.settings.thresholds) for row in found]
                for row in found:
                    _store(row, task, held if row["status"] == HELD else writer)
                rows += found
        shards = {s.relative_to(folder / "shards").as_posix(): s for s in (*writer.shards, *held.shards)}
        self._publish(unit, digest, shards, [folder / str(k) for k in range(len(unit.videos))], rows)
        return rows

    def _publish(self, unit: Unit, digest: str, shards: dict[str, Path], folders: list[Path], rows: list[Row]) -> None:
        """Shards, sidecars, sheets, then the record. An old record goes first: what it speaks of is written over."""
        record = f"{RECORDS}/{unit.name}.json"
        self.store.remove([record])
        told = []
        there = [*self.store.names(), *self.store.names(HELD)]
        self.store.remove([n for n in there if n.removeprefix(f"{HELD}/").startswith(f"clips-{unit.name}")])
        for name, shard in shards.items():
            sidecar = json.loads(sidecar_path(shard).read_bytes()) | {"shard": name}
            told.append({key: sidecar[key] for key in ("shard", "samples", "frames", "bytes", "sha256")})
            self.store.publish(shard, name)
            self.store.publish(sidecar_path(shard), sidecar_path(Path(name)).as_posix())
        for sheet in sorted(path for folder in folders for path in (folder / SHEETS).glob("*.png")):
            self.store.publish(sheet, f"{SHEETS}/{sheet.name}")
        head = json.dumps({"unit": unit.number, "sha256": digest, "shards": told})
        lines = ",\n".join(json.dumps(row) for row in rows)
        self.store.write(record, f'{head[:-1]}, "rows": [\n{lines}\n]}}\n'.encode())


@dataclass(frozen=True)
class _StoredSample:
    """A sample as it was encoded: :class:`data_prep.shards.ShardWriter` asks for no more than this."""

    key: str
    record: Record
    encoded: dict[str, bytes]

    def members(self) -> dict[str, bytes]:
        """The encoded members."""
        return self.encoded


class _Writer(ShardWriter):
    """One shard, ``PREFIX.tar``; what does not fit goes into ``PREFIX-01.tar`` …"""

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index:02d}" if index else self.prefix


def _store(row: Row, task: Task, writer: ShardWriter) -> None:
    """Move a clip's samples into the shard, and its time and reason into the sidecar."""
    for stage, seconds in row["seconds"].items():
        writer.add_seconds(stage, seconds)
    if row["status"] not in (KEPT, HELD):
        writer.reject(reason_kind(row["reason"]))
        return
    for shard in sorted((task.scratch / row["clip_id"]).glob("*.tar")):
        for key, members in read_members(shard):
            record = Record.from_json(json.loads(members["json"]))
            writer.write(cast(Sample, _StoredSample(key, record, members)))


def _task(video: Video, folder: Path) -> Task:
    return Task(Path(video.path), video.name, video.video_id, folder / "samples", folder / SHEETS)


def _load(folder: Path) -> list[Row]:
    return json.loads((folder / _ROWS).read_bytes())
