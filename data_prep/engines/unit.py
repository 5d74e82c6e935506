"""What a worker does with a unit of the plan: its videos one by one, then the shard; or with a segment of one of them.

A worker is sent one :class:`VideoStep` after another. Step k prepares the unit's k-th video into the run's scratch
folder; the step after the last one makes the shard of what is there, puts it into the store and then, last of
all, the unit's record ``units/000123.json``: rows, and names and SHA-256 of the shards. A unit is done when its record
is there and belongs to the plan's unit; whatever else lies in the store without one is written over.

A long video is not prepared but found to be so (:class:`data_prep.clips.steps.pipeline.Divided`); its segments are
steps of their own, of any worker, which put what comes of them into the store (:mod:`data_prep.engines.segments`) until
the shard is made.

Videos that were prepared before a worker died are not prepared again by the worker that takes over, as long as it sees
the same scratch folder.

A fault of the machine is no row: the worker answers with a :class:`Fault`, and the engine tries the video again. Only
where that did not help the unit is finished with a row that says so, which ``prepare --retry failed`` makes again. A
video that is gone since the run was planned has such a row, too: its disk may be back tomorrow. What an earlier run has
made of the video takes the row's place (:mod:`data_prep.engines.earlier`).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep.clips.joining import join_segments
from data_prep.clips.quality import FAILED, judge
from data_prep.clips.steps.pipeline import Divided, Task, failed_row
from data_prep.engines.earlier import take_earlier
from data_prep.engines.inputs import GONE, is_there
from data_prep.engines.plan import PlannedVideo, Unit
from data_prep.engines.publish import download, publish, write_shards
from data_prep.engines.records import SHEETS, ClipRow, is_of
from data_prep.engines.scratch import shared
from data_prep.engines.segments import Parts, Staging, pack, unpack
from data_prep.machine.faults import MACHINE, MachineFault, is_open, not_the_videos
from data_prep.machine.retry import STORAGE_FULL, may_pass, retrying
from data_prep.machine.watchdog import limit_of_file_s, watched
from data_prep.store import Store, is_url, remove_folder
from jdap.io.files import write_whole
from jdap.shards.reader import read_tar
from jdap.shards.schema import Record

_ROWS, _SAMPLES, _EARLIER = "rows.json", "samples", "earlier"
_WENT = "it was there when the run was planned, and is not any more: bring it back, then run again with --retry failed"
#: So many names of what comes next a worker is told, for what is better made together.
UNITS_AHEAD = 64


@dataclass(frozen=True)
class VideoStep:
    """Video ``index`` of a unit, or a ``segment`` of it; the number of its videos stands for making the shard.

    ``lost``: index → why there is nothing of that video, or of that segment: workers died of it; ``parts``: the videos
    that are divided, index → how many segments.
    """

    unit: Unit
    index: int
    lost: dict[int, str] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    segment: int | None = None

    @property
    def last(self) -> bool:
        """Whether it makes the shard."""
        return self.segment is None and self.index == len(self.unit.videos)


@dataclass(frozen=True)
class Fault:
    """The machine's fault that a video met, on one line; ``poisoned``: the worker is of no use any more."""

    reason: str
    poisoned: bool = False


@dataclass(frozen=True)
class WorkOrder:
    """What a worker is told once: everything but the units.

    * ``make(settings)`` builds the function that prepares a video: task → rows, samples in ``task.scratch`` as
      ``CLIP_ID/*.tar``, sheets in ``task.sheets``; or that it is ``Divided``, where ``task.divide`` allows that. It may
      raise OSErrors of the storage. Picklable, by name.
    * ``settings``: handed to it, with ``thresholds`` for :func:`data_prep.clips.quality.select`; ``identity``: the same
      as plain JSON, part of every unit's hash
    * ``place``: of the store, ``owner``: the run, ``scratch``: local folder for what is in work, of this run alone
    * ``retries``: how often an input or output error is tried again
    * ``limit_s``: seconds without progress after which a worker is ended, 0 for never; large files are given more
      (:func:`data_prep.machine.watchdog.limit_of_file_s`); ``software``: for the records
    """

    make: Callable[[Any], Callable[[Task], list[ClipRow] | Divided]]
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
        self._staging = Staging(self.store, work.identity)
        # Where the worker is not on the machine of the command, the folder is not there yet.
        self._scratch = contextlib.ExitStack()
        self.folder = self._scratch.enter_context(shared(work.scratch))
        try:
            self._prepare = work.make(work.settings)
        except Exception as error:
            if fault := not_the_videos(error):
                raise fault from error
            raise

    def __call__(self, step: VideoStep) -> list[ClipRow] | Fault | Divided:
        """Do a step: the rows of the unit where it was the last one, else none; or the machine's fault that it met; or
        that the video has several segments. Raises OSError where store or scratch folder cannot be written to."""
        folder = self.folder / f"unit-{step.unit.name}"
        folder.mkdir(parents=True, exist_ok=True)
        if step.last:
            rows = self._finish(step, folder)
            remove_folder(folder)
            return rows
        inside = folder / _place(step.index, step.segment)
        if not (inside / _ROWS).exists():
            if step.index in step.lost:
                row = _open_row(step, step.index, step.lost[step.index])
                inside.mkdir(parents=True, exist_ok=True)
                write_whole(inside / _ROWS, json.dumps([row]).encode())
            else:
                video = step.unit.videos[step.index]
                with watched(limit_of_file_s(self.work.limit_s, video.bytes)):
                    answer = self._video(step, inside)
                if answer is not None:
                    return answer
        if step.segment is not None:
            file = folder / f"{inside.name}.segment"
            pack(inside, file)
            self.store.publish(file, self._staging.name(step.unit, step.index, step.segment))
            remove_folder(inside)
        return []

    def _video(self, step: VideoStep, folder: Path) -> Fault | Divided | None:
        unit, video = step.unit, step.unit.videos[step.index]
        ahead = tuple(later.name for later in unit.videos[step.index + 1 : step.index + 1 + UNITS_AHEAD])
        task = replace(_task(video, folder), ahead=ahead, segment=step.segment, divide=not is_url(video.path))
        was_there = video.bytes != GONE

        def attempt() -> list[ClipRow] | Divided:
            remove_folder(folder)
            folder.mkdir()
            if not is_url(video.path):
                rows = self._prepare(task)
                return _but_for_gone(step, rows) if was_there and not isinstance(rows, Divided) else rows
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                copy = Path(inside) / f"video-{Path(video.path).name[-100:]}"
                try:
                    download(video, copy)
                except FileNotFoundError:
                    if was_there:
                        return [_open_row(step, step.index, _WENT)]
                    # else its row says so
                rows = self._prepare(Task(copy, task.name, task.base_id, task.scratch, task.sheets))
            assert not isinstance(rows, Divided)
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
        if isinstance(rows, Divided):
            return rows
        write_whole(folder / _ROWS, json.dumps(rows).encode())
        return None

    def _finish(self, step: VideoStep, folder: Path) -> list[ClipRow]:
        unit, rows, tasks, folders = step.unit, list[ClipRow](), dict[str, Task](), list[Path]()
        made = [self._made(step, k, folder) for k in range(len(unit.videos))]
        earlier = self._earlier(unit, [found for found, _ in made], folder / _EARLIER)
        for video, (found, places) in zip(unit.videos, made, strict=True):
            before = [row for row in earlier if is_of(row, video.video_id)]
            if before and any(map(is_open, found)):
                found, places = before, [folder / _EARLIER]
            folders += places
            rows += judge(found, self.work.settings.thresholds)
            tasks |= {clip: _task(video, place) for place in places for clip in _clips(place)}

        def samples(row: ClipRow) -> Iterator[tuple[str, dict[str, bytes]]]:
            for shard in sorted((tasks[row["clip_id"]].scratch / row["clip_id"]).glob("*.tar")):
                for key, members in read_tar(shard):
                    yield key, _belonging(members, row)

        shards = write_shards(folder / "shards", unit.name, rows, samples)
        publish(self.store, unit, unit.sha256(self.work.identity), shards, folders, rows, self.work.software)
        if earlier:
            self.store.remove([self._staging.earlier(unit)])
        if step.parts:
            self._staging.remove(unit, step.parts)
        return rows

    def _made(self, step: VideoStep, index: int, folder: Path) -> tuple[list[ClipRow], list[Path]]:
        """What has been made of a video: its rows, and the folders of its samples and sheets."""
        places = [
            folder / _place(index, part) for part in (range(step.parts[index]) if index in step.parts else [None])
        ]
        if index in step.lost:
            return [_open_row(step, index, step.lost[index])], []
        return (self._joined(step.unit, index, places) if index in step.parts else _load(places[0])), places

    def _earlier(self, unit: Unit, found: list[list[ClipRow]], folder: Path) -> list[ClipRow]:
        """What an earlier run made of videos that are open now (:func:`data_prep.engines.earlier.take_earlier`).

        A copy of it lies in the store until the unit is done: a run that is killed between the old record and the new
        one must not take it along.
        """
        if not any(is_open(row) for rows in found for row in rows):
            return []
        remove_folder(folder)
        folder.mkdir()
        copy = self._staging.earlier(unit)
        if rows := take_earlier(self.store, unit, found, folder / _SAMPLES):
            write_whole(folder / _ROWS, json.dumps(rows).encode())
            file = folder.with_suffix(".tar")
            pack(folder, file)
            self.store.publish(file, copy)
        elif self.store.sizes([copy]):
            with self.store.local(copy) as file:
                unpack(file, folder)
            rows = _load(folder)
        return rows

    def _joined(self, unit: Unit, index: int, places: list[Path]) -> list[ClipRow]:
        """The rows of a divided video, whose segments are fetched from the store."""
        for segment, place in enumerate(places):
            remove_folder(place)
            with self.store.local(self._staging.name(unit, index, segment)) as file:
                unpack(file, place)
        return join_segments([_load(place) for place in places])


def _place(index: int, segment: int | None) -> str:
    """The folder of a video's or segment's results, below the unit's."""
    return str(index) if segment is None else f"{index}.{segment:05d}"


def _open_row(step: VideoStep, index: int, reason: str) -> ClipRow:
    """The row of a video, or of a segment, of which nothing came by no fault of its own."""
    video = step.unit.videos[index]
    at = "" if step.segment is None else f"_segment{step.segment:05d}"
    row = failed_row(_task(video, Path()), reason, fault=MACHINE)
    return row | {"source": video.path, "clip_id": f"{video.video_id}{at}"}


def _but_for_gone(step: VideoStep, rows: list[ClipRow]) -> list[ClipRow]:
    """The rows of a video; if it is gone, one that says so in place of those of what failed. (The studio's people have
    no source, and no such rows.)"""
    made = [row for row in rows if row["status"] != FAILED]
    if len(made) == len(rows) or is_there(step.unit.videos[step.index].path):
        return rows
    return [*made, _open_row(step, step.index, _WENT)]


def _belonging(members: dict[str, bytes], row: ClipRow) -> dict[str, bytes]:
    """A sample's members, its record with the row's person: segments do not know who came over the seam."""
    record = Record.from_json(json.loads(members["json"]))
    if record.person_id == row.get("person_id", record.person_id):
        return members
    return members | {"json": replace(record, person_id=row["person_id"]).encoded()}


def _clips(folder: Path) -> list[str]:
    """Of which clips there are samples."""
    return [path.name for path in (folder / _SAMPLES).glob("*")]


def _task(video: PlannedVideo, folder: Path) -> Task:
    return Task(Path(video.path), video.name, video.video_id, folder / _SAMPLES, folder / SHEETS, stamp=video.stamp)


def _load(folder: Path) -> list[ClipRow]:
    return json.loads((folder / _ROWS).read_bytes())
