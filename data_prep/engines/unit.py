"""What a worker does with a unit of the plan: its videos one by one, then the shard.

A worker is sent one :class:`VideoStep` after another. Step k prepares the unit's k-th video into the run's scratch
folder; the step after the last one makes the shard of what is there, puts it into the store and then, last of
all, the unit's record ``units/000123.json``: rows, and names and SHA-256 of the shards. A unit is done when its record
is there and belongs to the plan's unit; whatever else lies in the store without one is written over.

Videos that were prepared before a worker died are not prepared again by the worker that takes over, as long as it sees
the same scratch folder.

A fault of the machine is no row: the worker answers with a :class:`Fault`, and the engine tries the video again. Only
where that did not help the unit is finished with a row that says so, which ``prepare --retry failed`` makes again.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
from fsspec.callbacks import Callback

from data_prep.clips.quality import HELD, KEPT, reason_kind, select
from data_prep.clips.steps.pipeline import Task, failed_row
from data_prep.engines.plan import PlannedVideo, Unit
from data_prep.engines.records import RECORDS, SHEETS, ClipRow
from data_prep.engines.scratch import shared
from data_prep.machine.faults import MACHINE, MachineFault, not_the_videos
from data_prep.machine.retry import STORAGE_FULL, may_pass, retrying
from data_prep.machine.watchdog import beat, watched
from data_prep.store import Store, is_url, remove_folder
from jdap.io.files import write_whole
from jdap.io.remote import remote_errors
from jdap.shards.reader import read_tar
from jdap.shards.sample import StoredSample
from jdap.shards.schema import Record
from jdap.shards.writer import ShardWriter, sidecar_path

_ROWS = "rows.json"
#: So many names of what comes next a worker is told, for what is better made together.
UNITS_AHEAD = 64


@dataclass(frozen=True)
class VideoStep:
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
class Fault:
    """The machine's fault that a video met, on one line; ``poisoned``: the worker is of no use any more."""

    reason: str
    poisoned: bool = False


@dataclass(frozen=True)
class WorkOrder:
    """What a worker is told once: everything but the units.

    * ``make(settings)`` builds the function that prepares a video: task → rows, samples in ``task.scratch`` as
      ``CLIP_ID/*.tar``, sheets in ``task.sheets``; it may raise OSErrors of the storage. Picklable, by name.
    * ``settings``: handed to it, with ``thresholds`` for :func:`data_prep.clips.quality.select`; ``identity``: the same
      as plain JSON, part of every unit's hash
    * ``place``: of the store, ``owner``: the run, ``scratch``: local folder for what is in work, of this run alone
    * ``retries``: how often an input or output error is tried again
    * ``limit_s``: seconds without progress after which a worker is ended, 0 for never; ``software``: for the records
    """

    make: Callable[[Any], Callable[[Task], list[ClipRow]]]
    settings: Any
    identity: dict[str, Any]
    place: str
    scratch: Path
    retries: int
    owner: str = ""
    limit_s: float = 0.0
    software: dict[str, str] = field(default_factory=dict)


class UnitWorker:
    """Does steps; built in the process that works. Call it with a step; it returns the rows of the last one."""

    def __init__(self, work: WorkOrder):
        self.work = work
        self.store = Store(work.place, work.owner, work.retries)
        # Where the worker is not on the machine of the command, the folder is not there yet.
        self._scratch = contextlib.ExitStack()
        self.folder = self._scratch.enter_context(shared(work.scratch))
        try:
            self._prepare = work.make(work.settings)
        except Exception as error:
            if fault := not_the_videos(error):
                raise fault from error
            raise

    def __call__(self, step: VideoStep) -> list[ClipRow] | Fault:
        """Do a step: the rows of the unit where it was the last one, else none; or the machine's fault that it met.
        Raises OSError where the store or the scratch folder cannot be written to."""
        folder = self.folder / f"unit-{step.unit.name}"
        folder.mkdir(parents=True, exist_ok=True)
        if step.last:
            rows = self._finish(step, folder)
            remove_folder(folder)
            return rows
        if not (folder / str(step.index) / _ROWS).exists():
            with watched(self.work.limit_s):
                return self._video(step.unit, step.index, folder / str(step.index)) or []
        return []

    def _video(self, unit: Unit, index: int, folder: Path) -> Fault | None:
        video = unit.videos[index]
        ahead = tuple(later.name for later in unit.videos[index + 1 : index + 1 + UNITS_AHEAD])
        task = replace(_task(video, folder), ahead=ahead)

        def attempt() -> list[ClipRow]:
            remove_folder(folder)
            folder.mkdir()
            if not is_url(video.path):
                return self._prepare(task)
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                copy = Path(inside) / f"video-{Path(video.path).name[-100:]}"
                with contextlib.suppress(FileNotFoundError):  # its row says so
                    download(video, copy)
                rows = self._prepare(Task(copy, task.name, task.base_id, task.scratch, task.sheets))
            return [row | {"source": video.path} for row in rows]

        try:
            rows = retrying(attempt, self.work.retries)
        except OSError as error:
            if error.errno in STORAGE_FULL:
                raise
            tries = f" after {self.work.retries + 1} tries" if may_pass(error) and self.work.retries else ""
            return Fault(f"cannot be read: {error.strerror or error}{tries}")
        except Exception as error:
            if isinstance(fault := not_the_videos(error), MachineFault):
                return Fault(str(fault), poisoned=True)
            raise
        write_whole(folder / _ROWS, json.dumps(rows).encode())
        return None

    def _finish(self, step: VideoStep, folder: Path) -> list[ClipRow]:
        unit, rows, tasks = step.unit, list[ClipRow](), dict[str, Task]()
        for k, video in enumerate(unit.videos):
            task = _task(video, folder / str(k))
            if k in step.lost:
                found = [failed_row(task, step.lost[k], fault=MACHINE) | {"source": video.path}]
            else:
                found = _load(folder / str(k))
            rows += [select(row, self.work.settings.thresholds) for row in found]
            tasks |= {row["clip_id"]: task for row in found}

        def samples(row: ClipRow) -> Iterator[tuple[str, dict[str, bytes]]]:
            for shard in sorted((tasks[row["clip_id"]].scratch / row["clip_id"]).glob("*.tar")):
                yield from read_tar(shard)

        shards = write_shards(folder / "shards", unit.name, rows, samples)
        folders = [folder / str(k) for k in range(len(unit.videos)) if k not in step.lost]
        publish(self.store, unit, unit.sha256(self.work.identity), shards, folders, rows, self.work.software)
        return rows


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
    for sheet in sorted(path for folder in folders for path in (folder / SHEETS).glob("*.png")):
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


def _task(video: PlannedVideo, folder: Path) -> Task:
    return Task(Path(video.path), video.name, video.video_id, folder / "samples", folder / SHEETS)


def _load(folder: Path) -> list[ClipRow]:
    return json.loads((folder / _ROWS).read_bytes())
