"""The studio's people as items of a plan: what a worker makes of one, and in which units they come.

A person is an item, so more people are new units, and a run that was interrupted goes on. Workers photograph as many of
a unit's people at a time as a GPU wants, and encode them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.clips.quality import KEPT, Thresholds
from data_prep.clips.steps.pipeline import Task
from data_prep.engines.hire import Engine
from data_prep.engines.inputs import InputFile
from data_prep.engines.plan import Plan, make_plan, plain
from data_prep.engines.records import ClipRow
from data_prep.engines.run import RunOutcome, finish, look, open_store
from data_prep.engines.unit import WorkOrder
from data_prep.machine.retry import RETRIES
from data_prep.machine.software import changes, digest, software
from data_prep.machine.watchdog import LIMIT_S
from data_prep.store import Store
from data_prep.studio.people import PersonJob, make_batch, person_id_of
from data_prep.studio.photograph import Studio
from jdap.io.threads import use_threads
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.writer import ShardWriter

#: Frames that are made together on a GPU, of as many people as it takes. A CPU's caches want few.
GPU_FRAMES = 64
#: Bytes of a pixel in a shard, about.
PIXEL_BYTES = 1.1
#: Device → the studio that this process has built.
studios: dict[str, Studio] = {}


@dataclass(frozen=True)
class StudioSettings:
    """What a worker is told: the job, the device, and that nothing is held."""

    job: PersonJob
    device: str = "cpu"
    thresholds: Thresholds = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """All that decides the pictures, as plain JSON; backgrounds by their contents."""
        found = plain(dataclasses.asdict(dataclasses.replace(self.job, backgrounds=())))
        contents = "".join(digest(path) for path in self.job.backgrounds)
        backgrounds = hashlib.sha256(contents.encode()).hexdigest() if contents else ""
        return {"studio": found, "backgrounds": backgrounds, "device": self.device}


def photograph_people(
    job: PersonJob,
    indices: range,
    out: str | Path,
    engine: Engine,
    *,
    device: str = "cpu",
    retries: int = RETRIES,
    overwrite: bool = False,
    retry: bool = False,
    limit_s: float = LIMIT_S,
    scratch_root: Path | None = None,
    first: int = 0,
    show: Callable[[Sample], Any] = lambda sample: None,
    note: Callable[[str], Any] = lambda line: None,
) -> RunOutcome:
    """Photograph the people ``indices`` into a folder of shards, as far as this is not done; ``show`` is given the
    ``first`` people's samples at the end, ``note`` lines about the run.

    The rest is as :func:`data_prep.engines.prepare.prepare` has it, and so are the errors.
    """
    settings, now = StudioSettings(job, device), software()
    with open_store(out, retries, scratch_root) as (store, folder):
        look(store, overwrite, engine)
        plan = make_plan(store, find_people(job, indices), settings.identity(), software=now)
        if told := changes(plan.software, now):
            note(f"{out} was begun with other versions: {'; '.join(told)}")
        limit_s = 0.0 if engine.alone else limit_s
        work = WorkOrder(make, settings, plan.settings, str(out), folder, retries, store.owner, limit_s, now)
        outcome = finish(store, plan, work, engine, retry, contact=False, what="person")
        for sample in first_samples(store, plan, first):
            show(sample)
    return outcome


def find_people(job: PersonJob, indices: range) -> list[InputFile]:
    """The people as items of a plan, in order."""
    size = round(job.frames * job.size**2 * PIXEL_BYTES)
    names = (f"{person_id_of(job.seed, index)}-{job.kind}" for index in indices)
    return [InputFile(name, name, size, item=name) for name in names]


def make(settings: StudioSettings) -> Callable[[Task], list[ClipRow]]:
    """What photographs a person, see :class:`data_prep.engines.unit.WorkOrder`; a process builds its studio once."""
    if multiprocessing.parent_process() is not None:
        use_threads(1)  # workers are the parallelism
    studio = studios.get(settings.device) or studios.setdefault(settings.device, Studio(settings.device))
    job, made = settings.job, dict[str, tuple[Sample, float]]()
    together = 1 if settings.device == "cpu" else max(GPU_FRAMES // job.frames, 1)

    def photograph(task: Task) -> list[ClipRow]:
        if task.name not in made:
            names = (task.name, *task.ahead)[:together]
            started = time.perf_counter()
            samples = make_batch(studio, job, [_index_of(name) for name in names])
            seconds = (time.perf_counter() - started) / len(samples)
            made.clear()
            made.update((name, (sample, seconds)) for name, sample in zip(names, samples, strict=True))
        sample, seconds = made.pop(task.name)
        started = time.perf_counter()
        with ShardWriter(task.scratch / task.name, "clip") as writer:
            writer.write(sample)
        record = sample.record
        row: ClipRow = {"source": record.person_id, "clip_id": task.name, "person_id": record.person_id, "status": KEPT}
        spent = {"render": round(seconds, 3), "write": round(time.perf_counter() - started, 3)}
        return [row | {"reason": "", "frames": record.frames, "scores": {}, "seconds": spent}]

    return photograph


def first_samples(store: Store, plan: Plan, count: int) -> list[Sample]:
    """The first people's samples of the shards that are there."""
    found: list[Sample] = []
    for unit in plan:
        name = f"clips-{unit.name}.tar"
        if len(found) >= count or not store.sizes([name]):
            break
        with store.local(name) as shard:
            for sample in read_samples(shard):
                found.append(sample)
                if len(found) == count:
                    break
    return found


def _index_of(name: str) -> int:
    return int(name.split("-")[2])
