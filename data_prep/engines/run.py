"""One run over a plan: what it holds, which units it claims, its workers, and what is written at the end.

Videos (:mod:`data_prep.engines.prepare`) and people of the studio (:mod:`data_prep.engines.studio`) are both made so.
What a worker does with a unit's items is theirs to say (:class:`data_prep.engines.unit.WorkOrder`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep.choices import PAGE, PEOPLE_FACES, PEOPLE_LIST, REPORT
from data_prep.clips import contact_sheet
from data_prep.clips.quality import HELD, KEPT
from data_prep.engines.claims import CLAIMS_FOLDER, Claims
from data_prep.engines.hire import Engine, hire
from data_prep.engines.owner import lives, new_owner
from data_prep.engines.plan import PLAN_FOLDER, Plan, PrepareError, Unit
from data_prep.engines.records import (
    MANIFEST,
    RECORDS,
    SHEETS,
    ClipRow,
    is_done,
    missing_units,
    read_rows,
)
from data_prep.engines.scheduler import drive
from data_prep.engines.scratch import scratch
from data_prep.engines.segments import SEGMENTS_FOLDER, Piece, Staging
from data_prep.engines.unit import WorkOrder
from data_prep.machine.faults import is_open
from data_prep.machine.retry import STORAGE_FULL
from data_prep.store import UNFINISHED, Store
from jdap.io.progress import Telling
from jdap.io.threads import threads_kept

#: Folder of the runs' work folders, below ``$TMPDIR``.
SCRATCH = "jdap-prepare"


@dataclass
class RunOutcome:
    """What became of this run: units made, already there, and done or being done by other ranks; of the units made all
    clips, the kept ones, their frames, and how many failed by no fault of theirs (``open``)."""

    made: int = 0
    there: int = 0
    others: int = 0
    clips: int = 0
    kept: int = 0
    frames: int = 0
    open: int = 0


def finish(
    store: Store,
    plan: Plan,
    work: WorkOrder,
    engine: Engine,
    retry: bool = False,
    tell: Callable[[ClipRow], Any] = lambda row: None,
    contact: bool = True,
    what: str = "video",
) -> RunOutcome:
    """Do the units of a plan that are not done, as far as other runs do not do them; ``tell`` is given every row.

    The one that finds the plan complete writes manifest and index. ``retry``: units with failures that are not their
    items' are made again; ``contact``: whether there are contact sheets, and so an index of them; ``what`` an
    item is, for the progress. Raises OSError where the store cannot be written to, and :class:`PrepareError`.
    """
    before, had = store.stamp(MANIFEST), _done(store)
    todo, staging = missing_units(plan, store, retry), Staging(store, plan.settings)
    # Another run may make a unit again that is whole.
    at_work = {name.rpartition("/")[2].partition(".")[0] for name in store.names(CLAIMS_FOLDER)}
    staging.tidy([*todo, *(unit for unit in plan if unit.name in at_work)])
    outcome, made = RunOutcome(there=len(plan.units) - len(todo)), set[int]()
    first = len(todo) * engine.rank // engine.world  # ranks begin in different places, and seldom meet
    with _claims(store, plan, [*todo[first:], *todo[:first]], retry, staging) as claims:
        if todo:
            with threads_kept():  # working in this process sets them to one
                made = _do(claims, todo, work, engine, outcome, tell, what)
        outcome.others = len(todo) - outcome.made
        complete = _done(store) >= set(plan.units) and claims.win_from_dead("manifest")
        # Whoever wrote it since had all records, but maybe those of units that were made again here as they were.
        if complete and (made & had or store.stamp(MANIFEST) == before):
            sum_up(store, work.scratch, contact)
    return outcome


def _done(store: Store) -> set[int]:
    """The numbers of units that have a record."""
    stems = (Path(name).stem for name in store.names(RECORDS))
    return {int(stem) for stem in stems if stem.isdecimal()}


def _claims(store: Store, plan: Plan, todo: list[Unit], retry: bool, staging: Staging) -> Claims:
    before = {}
    if retry:  # a record that is whole, and to be made again unless another rank has done so since
        names = {unit.number: f"{RECORDS}/{unit.name}.json" for unit in todo}
        there = store.sizes(list(names.values()))
        before = {number: store.read(name) for number, name in names.items() if name in there}

    def whole(unit: Unit) -> bool:
        if not is_done(plan, unit, store):
            return False
        return store.read(f"{RECORDS}/{unit.name}.json") != before.get(unit.number)

    return Claims(store, todo, lambda: _done(store), whole, staging)


def _do(
    claims: Claims,
    todo: list[Unit],
    work: WorkOrder,
    engine: Engine,
    outcome: RunOutcome,
    tell: Callable[[ClipRow], Any],
    what: str,
) -> set[int]:
    """Do what can be claimed; the numbers of the units that were made."""
    total = sum(len(unit.videos) for unit in todo)
    with Telling(what, total, console=Console(stderr=True)) as telling:
        at, made = dict[int, int](), set[int]()

        def on_video(unit: Unit, done: int) -> None:
            if done > at.get(unit.number, 0):  # not those that a worker finds done after another's death
                telling.advance(done - at.get(unit.number, 0), f"{outcome.kept} clips kept" if outcome.clips else "")
                at[unit.number] = done

        def on_piece(piece: Piece, rows: list[ClipRow]) -> None:
            claims.release(piece.name)
            if piece.segment is not None:
                telling.advance(0, f"segment {piece.segment + 1} of {piece.parts[piece.index]}")
                return
            unit = piece.unit
            on_video(unit, len(unit.videos))
            outcome.made += 1
            made.add(unit.number)
            for row in rows:
                outcome.clips += 1
                outcome.kept += row["status"] == KEPT
                outcome.open += is_open(row)
                outcome.frames += row["frames"] if row["status"] == KEPT else 0
                tell(row)

        crew, workers = hire(work, engine)
        try:
            drive(claims, crew, workers, on_video, on_piece)
        finally:
            crew.close()
    return made


@contextmanager
def open_store(out: str | Path, retries: int, root: Path | None = None) -> Iterator[tuple[Store, Path]]:
    """The store, and a folder on a local disk for what is in work, which goes at the end."""
    store = Store(out, new_owner(), retries)
    if store.path is not None:
        path = Path(os.path.abspath(store.path))
        if path.exists() and not path.is_dir():
            raise PrepareError(f"{path} is a file: name a folder")
        path.mkdir(parents=True, exist_ok=True)
        for part in path.glob(f"{UNFINISHED}*"):
            if lives(part.name.removeprefix(UNFINISHED)) is False:
                store.remove_parts(part.name.removeprefix(UNFINISHED))
    with scratch(root or Path(tempfile.gettempdir()) / f"{SCRATCH}-{os.getuid()}", store.owner) as folder:
        try:
            yield store, folder
        finally:
            store.remove_parts(store.owner)


def look(store: Store, overwrite: bool, engine: Engine) -> None:
    """Refuse a folder that is not ours; with ``overwrite`` delete what is ours."""
    if overwrite and engine.world > 1:
        raise PrepareError("--overwrite would delete what other ranks make: delete the folder before you start them")
    entries = set(store.entries())
    # New, or another rank is about to plan it, or faces were compared.
    begun = {PLAN_FOLDER, CLAIMS_FOLDER, PEOPLE_LIST, PEOPLE_FACES}
    if entries <= begun and not overwrite:
        return
    if not store.names(PLAN_FOLDER):
        if not entries or entries <= {PEOPLE_LIST, PEOPLE_FACES}:
            return
        raise PrepareError(f"{store} exists, is not empty, and holds no plan of ours: name another folder")
    if overwrite:
        ours = [name for name in store.names() if name.startswith(("clips-", MANIFEST, REPORT, PAGE))]
        # The plan last: what a killed --overwrite leaves is ours.
        for folder in (HELD, RECORDS, SHEETS, CLAIMS_FOLDER, SEGMENTS_FOLDER, PLAN_FOLDER):
            ours += store.names(folder)
        store.remove(ours)


def sum_up(store: Store, folder: Path, contact: bool = True) -> None:
    """Manifest and, where there are contact sheets, their index, of all that is done."""
    manifest = folder / MANIFEST
    if contact:
        contact_sheet.write_index(folder / "index.html", read_rows(store))
        store.publish(folder / "index.html", f"{SHEETS}/index.html")
    with manifest.open("w", encoding="utf-8") as file:
        for row in read_rows(store):
            file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
    store.publish(manifest, MANIFEST)


@contextmanager
def told_if_full(out: str | Path) -> Iterator[None]:
    """A full disk is told in one line, as a :class:`PrepareError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_FULL:
            raise
        raise PrepareError(
            f"{error.strerror} ({error.filename or out}): finished shards are whole and stay; make room, then run the "
            "same command again (--scratch names another disk for what is in work)"
        ) from error
