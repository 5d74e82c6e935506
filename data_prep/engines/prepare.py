"""Preparing videos into a folder of shards: the videos that inputs stand for, their plan, and a run over it.

Inputs are planned into units (:mod:`data_prep.engines.plan`), every unit becomes one shard, and workers of the chosen
engine do the units that are not there yet. Run again after an interruption it goes on; run again with more videos it
adds theirs. What shards hold does not depend on engine, workers or ranks. Whatever goes wrong with a video is a row;
what goes wrong with the machine is none, or one that ``--retry failed`` makes again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.choices import UNIT_BYTES
from data_prep.clips.steps.pipeline import Divided, Task, make_pipeline
from data_prep.engines.hire import Engine
from data_prep.engines.inputs import find_inputs
from data_prep.engines.plan import make_plan, plain
from data_prep.engines.records import ClipRow
from data_prep.engines.run import RunOutcome, finish, look, open_store
from data_prep.engines.unit import WorkOrder
from data_prep.machine.retry import RETRIES
from data_prep.machine.software import changes, digest, software
from data_prep.machine.watchdog import LIMIT_S
from jdap.choices import NO_PARSER
from jdap.faces.parser import parser_files

#: One process of this machine.
HERE = Engine()


def prepare(
    inputs: Sequence[str | Path],
    out: str | Path,
    settings: Any,
    engine: Engine = HERE,
    *,
    make: Callable[[Any], Callable[[Task], list[ClipRow] | Divided]] = make_pipeline,
    unit_bytes: int = UNIT_BYTES,
    retries: int = RETRIES,
    overwrite: bool = False,
    retry: bool = False,
    limit_s: float = LIMIT_S,
    scratch_root: Path | None = None,
    tell: Callable[[ClipRow], Any] = lambda row: None,
    note: Callable[[str], Any] = lambda line: None,
) -> RunOutcome:
    """Prepare videos into a folder of shards, as far as this is not done; ``tell`` is given every row that is made,
    ``note`` lines about the run. ``retry``: units with failures that are not their videos' are made again.

    ``limit_s``: seconds without progress, beside those for a file's size, after which a worker is ended.
    ``scratch_root``: on a local disk (default: below ``$TMPDIR``). ``make(settings)`` builds what a worker does with a
    video, see :class:`data_prep.engines.unit.WorkOrder`.

    Raises :class:`data_prep.engines.plan.PrepareError` where ``out`` holds something that is not ours, or was begun
    with other settings; OSError where it cannot be written to. Finished shards stay, and nothing that is not finished
    is left.
    """
    with open_store(out, retries, scratch_root) as (store, folder):
        look(store, overwrite, engine)
        now = software()
        plan = make_plan(store, find_inputs(inputs, retries), identity(settings), unit_bytes, now)
        if told := changes(plan.software, now):
            note(f"{out} was begun with other versions: {'; '.join(told)}. What is made now may differ a little")
        limit_s = 0.0 if engine.alone else limit_s
        work = WorkOrder(make, settings, plan.settings, str(out), folder, retries, store.owner, limit_s, now)
        return finish(store, plan, work, engine, retry, tell)


def identity(settings: Any) -> dict[str, Any]:
    """Settings as plain JSON, with the contents of the files that they name in place of their paths."""
    found = plain(dataclasses.asdict(settings))
    found |= {name: digest(found[name]) for name in ("face_model", "sync_weights") if found.get(name)}
    parser = found.pop("parser", NO_PARSER)
    # Without one the folder is what it always was.
    return found if parser == NO_PARSER else found | {"parser": [digest(path) for path in parser_files(parser)]}
