"""Preparing videos into a folder of shards: the plan, the workers, the manifest.

Inputs are planned into units (:mod:`data_prep.engines.plan`), every unit becomes one shard, and workers of the chosen
engine do the units that are not there yet. Run again after an interruption it goes on; run again with more videos it
adds theirs. What shards hold does not depend on engine, workers or ranks. Whatever goes wrong with a video is a row.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_prep.clips import contact_sheet
from data_prep.clips.quality import HELD, KEPT
from data_prep.clips.steps.pipeline import Task, make_pipeline
from data_prep.engines.drive import drive
from data_prep.engines.local import Alone, Crew, Processes
from data_prep.engines.plan import FOLDER, UNIT_BYTES, PrepareError, Unit, find_inputs, make_plan, plain
from data_prep.engines.records import MANIFEST, PAGE, RECORDS, REPORT, SHEETS, Row, missing_units, read_rows
from data_prep.engines.scratch import scratch
from data_prep.engines.unit import Work
from data_prep.store import RETRIES, Store

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Who works: ``kind`` of :data:`ENGINES`; how many ``workers`` (local: 0 = this process; ray: 0 = as many as there
    is room for); ``rank`` of ``world``; of Ray ``address`` and ``gpus`` a worker."""

    kind: str = "local"
    workers: int = 1
    rank: int = 0
    world: int = 1
    address: str | None = None
    gpus: float = 0.0


@dataclass
class Outcome:
    """What became of this run: units made, already there, and missing ones of other ranks; of the units made all clips,
    the kept ones, and their frames."""

    made: int = 0
    there: int = 0
    others: int = 0
    clips: int = 0
    kept: int = 0
    frames: int = 0


def prepare(
    inputs: Sequence[str | Path],
    out: str | Path,
    settings: Any,
    engine: Engine = Engine(),
    *,
    make: Callable[[Any], Callable[[Task], list[Row]]] = make_pipeline,
    unit_bytes: int = UNIT_BYTES,
    retries: int = RETRIES,
    overwrite: bool = False,
    tell: Callable[[Row], Any] = lambda row: None,
) -> Outcome:
    """Prepare videos into a folder of shards, as far as this is not done; ``tell`` is given every row that is made.

    ``make(settings)`` builds what a worker does with a video, see :class:`data_prep.engines.unit.Work`. Raises
    :class:`PrepareError` where ``out`` holds something that is not ours, or was begun with other settings; OSError
    where it cannot be written to. Finished shards stay, and nothing that is not finished is left.
    """
    with open_store(out, retries) as (store, folder), _threads():
        _look(store, overwrite, engine)
        identity = plain(dataclasses.asdict(settings))
        plan = make_plan(store, find_inputs(inputs), identity, unit_bytes)
        todo = missing_units(plan, store)
        mine = [unit for unit in todo if unit.number % engine.world == engine.rank]
        outcome = Outcome(there=len(plan.units) - len(todo), others=len(todo) - len(mine))
        if mine:
            work = Work(make, settings, plan.settings, str(out), folder, retries)
            _do(mine, work, engine, outcome, tell)
        sum_up(store, folder)
    return outcome


def _do(units: list[Unit], work: Work, engine: Engine, outcome: Outcome, tell: Callable[[Row], Any]) -> None:
    console = Console(stderr=True)
    columns = (*(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("preparing", total=sum(len(unit.videos) for unit in units))
        at: dict[int, int] = {}

        def on_video(unit: Unit, done: int) -> None:
            if done > at.get(unit.number, 0):  # not those that a worker finds done after another's death
                progress.advance(bar, done - at.get(unit.number, 0))
                at[unit.number] = done

        def on_unit(unit: Unit, rows: list[Row]) -> None:
            on_video(unit, len(unit.videos))
            outcome.made += 1
            for row in rows:
                outcome.clips += 1
                outcome.kept += row["status"] == KEPT
                outcome.frames += row["frames"] if row["status"] == KEPT else 0
                tell(row)
            progress.update(bar, description=f"{outcome.kept} clips kept")

        crew, workers = _hire(work, engine, len(units))
        try:
            drive(units, crew, workers, on_video, on_unit)
        finally:
            crew.close()


def _hire(work: Work, engine: Engine, units: int) -> tuple[Crew, int]:
    """The engine's workers, and how many there may be."""
    if engine.kind == "ray":
        from data_prep.engines.ray_cluster import Actors  # an extra

        actors = Actors(work, min(engine.workers or units, units), engine.address, engine.gpus)
        return actors, actors.workers
    if engine.workers == 0:
        return Alone(work), 1
    if work.place.startswith("memory://"):
        raise PrepareError("memory:// lives in one process only: use it with --workers 0")
    return Processes(work, work.scratch / "workers.log", _gpus(work.settings)), min(engine.workers, units)


def _gpus(settings: Any) -> list[str]:
    """The GPUs to share among processes, as CUDA_VISIBLE_DEVICES names them, where there are several."""
    if getattr(settings, "device", "") != "cuda" or torch.cuda.device_count() < 2:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(k) for k in range(torch.cuda.device_count())]


@contextmanager
def open_store(out: str | Path, retries: int) -> Iterator[tuple[Store, Path]]:
    """The store, and a folder for what is in work: beside a local one, so that shards can be renamed into it."""
    path = Store(out).path
    if path is not None:
        path = Path(os.path.abspath(path))
        if path.exists() and not path.is_dir():
            raise PrepareError(f"{path} is a file: name a folder")
        path.mkdir(parents=True, exist_ok=True)
        root = path.with_name(f".{path.name}.part")
    else:
        root = Path(tempfile.gettempdir()) / "jdap-prepare"
    with scratch(root) as folder:
        yield Store(out, folder, retries), folder


@contextmanager
def _threads() -> Iterator[None]:
    """Gives this process its threads back: working in it sets them to one."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _look(store: Store, overwrite: bool, engine: Engine) -> None:
    """Refuse a folder that is not ours; with ``overwrite`` delete what is ours."""
    if overwrite and engine.world > 1:
        raise PrepareError("--overwrite would delete what other ranks make: delete the folder before you start them")
    if not store.exists():
        return
    if not store.names(FOLDER):
        raise PrepareError(f"{store} exists, is not empty, and holds no plan of prepare's: name another folder")
    if overwrite:
        ours = [name for name in store.names() if name.startswith(("clips-", MANIFEST, REPORT, PAGE))]
        for folder in (HELD, RECORDS, SHEETS, FOLDER):  # the plan last: what a killed --overwrite leaves is ours
            ours += store.names(folder)
        store.remove(ours)


def sum_up(store: Store, folder: Path) -> None:
    """Manifest and index of contact sheets, of all that is done; again if another rank has added to it meanwhile."""
    while True:
        before = store.names(RECORDS)
        manifest, index = folder / MANIFEST, folder / "index.html"
        contact_sheet.write_index(index, read_rows(store))
        with manifest.open("w", encoding="utf-8") as file:
            for row in read_rows(store):
                file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        store.publish(index, f"{SHEETS}/index.html")
        store.publish(manifest, MANIFEST)
        if store.names(RECORDS) == before:
            return
