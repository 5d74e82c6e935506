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
where that did not help the unit is finished with a row that says so, which ``prepare --retry failed`` makes again.
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
from data_prep.clips.quality import judge
from data_prep.clips.steps.pipeline import Divided, Task, failed_row
from data_prep.engines.plan import PlannedVideo, Unit
from data_prep.engines.publish import download, publish, write_shards
from data_prep.engines.records import SHEETS, ClipRow
from data_prep.engines.scratch import shared
from data_prep.engines.segments import Parts, Staging, pack, unpack
from data_prep.machine.faults import MACHINE, MachineFault, not_the_videos
from data_prep.machine.retry import STORAGE_FULL, may_pass, retrying
from data_prep.machine.watchdog import limit_of_file_s, watched
from data_prep.store import Store, is_url, remove_folder
from jdap.io.files import write_whole
from jdap.shards.reader import read_tar
from jdap.shards.schema import Record

_ROWS = "rows.json"
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
                row = _lost(step, inside)
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

        def attempt() -> list[ClipRow] | Divided:
            remove_folder(folder)
            folder.mkdir()
            if not is_url(video.path):
                return self._prepare(task)
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                copy = Path(inside) / f"video-{Path(video.path).name[-100:]}"
                with contextlib.suppress(FileNotFoundError):  # its row says so
                    download(video, copy)
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
        for k, video in enumerate(unit.videos):
            places = [folder / _place(k, part) for part in (range(step.parts[k]) if k in step.parts else (None,))]
            if k in step.lost:
                found = [_lost(step, places[0], k)]
            else:
                folders += places
                found = self._joined(unit, k, places) if k in step.parts else _load(places[0])
            rows += judge(found, self.work.settings.thresholds)
            tasks |= {clip: _task(video, place) for place in places for clip in _clips(place)}

        def samples(row: ClipRow) -> Iterator[tuple[str, dict[str, bytes]]]:
            for shard in sorted((tasks[row["clip_id"]].scratch / row["clip_id"]).glob("*.tar")):
                for key, members in read_tar(shard):
                    yield key, _belonging(members, row)

        shards = write_shards(folder / "shards", unit.name, rows, samples)
        publish(self.store, unit, unit.sha256(self.work.identity), shards, folders, rows, self.work.software)
        if step.parts:
            self._staging.remove(unit, step.parts)
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


def _lost(step: VideoStep, folder: Path, index: int | None = None) -> ClipRow:
    """The row of a video, or of a segment, that workers died of."""
    index = step.index if index is None else index
    video = step.unit.videos[index]
    at = "" if step.segment is None else f"_segment{step.segment:05d}"
    row = failed_row(_task(video, folder), step.lost[index], fault=MACHINE)
    return row | {"source": video.path, "clip_id": f"{video.video_id}{at}"}


def _belonging(members: dict[str, bytes], row: ClipRow) -> dict[str, bytes]:
    """A sample's members, its record with the row's person: segments do not know who came over the seam."""
    record = Record.from_json(json.loads(members["json"]))
    if record.person_id == row.get("person_id", record.person_id):
        return members
    return members | {"json": replace(record, person_id=row["person_id"]).encoded()}


def _clips(folder: Path) -> list[str]:
    """Of which clips there are samples."""
    return [path.name for path in (folder / "samples").glob("*")]


def _task(video: PlannedVideo, folder: Path) -> Task:
    return Task(Path(video.path), video.name, video.video_id, folder / "samples", folder / SHEETS)


def _load(folder: Path) -> list[ClipRow]:
    return json.loads((folder / _ROWS).read_bytes())
