"""``python -m data_prep prepare VIDEO_OR_FOLDER… --out DIR_OR_URL``: videos of people → shards with fitted depth.

Inputs are planned into units (:mod:`data_prep.engines.plan`), every unit becomes one shard, and workers of the chosen
engine do the units that are not there yet. Run again after an interruption it goes on; run again with more videos it
adds theirs. What shards hold does not depend on engine, workers or ranks. Whatever goes wrong with a video is a row;
what goes wrong with the machine is none, or one that ``--retry failed`` makes again.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep.engines.hire import Engine
from data_prep.engines.inputs import find_inputs
from data_prep.engines.options import add_engine, read_engine
from data_prep.engines.plan import UNIT_BYTES, PrepareError, make_plan, plain
from data_prep.engines.records import SHEETS, Row
from data_prep.engines.run import Outcome, ending, finish, look, open_store
from data_prep.engines.unit import Work
from data_prep.pipeline import Task, make_pipeline
from data_prep.quality import KEPT
from data_prep.retry import RETRIES
from data_prep.software import changes, digest, software
from data_prep.stages import add_settings, read_settings
from data_prep.watchdog import LIMIT_S

__all__ = ["Engine", "Outcome", "PrepareError", "add_arguments", "prepare", "run"]
#: One process of this machine.
HERE = Engine()


def prepare(
    inputs: Sequence[str | Path],
    out: str | Path,
    settings: Any,
    engine: Engine = HERE,
    *,
    make: Callable[[Any], Callable[[Task], list[Row]]] = make_pipeline,
    unit_bytes: int = UNIT_BYTES,
    retries: int = RETRIES,
    overwrite: bool = False,
    retry: bool = False,
    limit_s: float = LIMIT_S,
    scratch_root: Path | None = None,
    tell: Callable[[Row], Any] = lambda row: None,
    note: Callable[[str], Any] = lambda line: None,
) -> Outcome:
    """Prepare videos into a folder of shards, as far as this is not done; ``tell`` is given every row that is made,
    ``note`` lines about the run. ``retry``: units with failures that are not their videos' are made again.

    ``limit_s``: seconds without progress after which a worker is ended. ``scratch_root``: on a local disk (default:
    below ``$TMPDIR``).
    ``make(settings)`` builds what a worker does with a video, see :class:`data_prep.engines.unit.Work`. Raises
    :class:`PrepareError` where ``out`` holds something that is not ours, or was begun with other settings; OSError
    where it cannot be written to. Finished shards stay, and nothing that is not finished is left.
    """
    with open_store(out, retries, scratch_root) as (store, folder):
        look(store, overwrite, engine)
        now = software()
        plan = make_plan(store, find_inputs(inputs, retries), identity(settings), unit_bytes, now)
        if told := changes(plan.software, now):
            note(f"{out} was begun with other versions: {'; '.join(told)}. What is made now may differ a little")
        limit_s = 0.0 if engine.alone else limit_s
        work = Work(make, settings, plan.settings, str(out), folder, retries, store.owner, limit_s, now)
        return finish(store, plan, work, engine, retry, tell)


def identity(settings: Any) -> dict[str, Any]:
    """Settings as plain JSON, with the contents of the files that they name in place of their paths."""
    found = plain(dataclasses.asdict(settings))
    return found | {name: digest(found[name]) for name in ("face_model", "sync_weights") if found.get(name)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep prepare``."""
    parser.description = "Videos of people to shards with fitted depth, at 25 frames a second. Run again, it goes on."
    parser.add_argument("inputs", nargs="+", metavar="VIDEO_OR_FOLDER", help="folders are searched; URLs work, too")
    parser.add_argument("--out", required=True, help="folder or URL for shards, manifest.jsonl and contact/")
    add_settings(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete what prepare made in the folder, start anew")
    parser.add_argument("--unit-mb", type=int, default=UNIT_BYTES >> 20, help="MB of video a shard (default 64)")
    add_engine(parser, "processes (default 1; 0 = this one) or Ray's (default all)")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the videos; 0 when every input has its row."""
    settings, (engine, source) = read_settings(args), read_engine(args, workers=1)
    if args.unit_mb < 1:
        raise PrepareError(f"--unit-mb must be at least 1, got {args.unit_mb}")
    console = Console()

    def tell(row: Row) -> None:
        if row["status"] != KEPT:
            line = f"{row['status']}: {row['source']}: {row['reason']}"
            console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    with ending(args.out):
        done = prepare(
            args.inputs,
            args.out,
            settings,
            engine,
            unit_bytes=args.unit_mb << 20,
            retries=args.retries,
            overwrite=args.overwrite,
            retry=args.retry == "failed",
            limit_s=args.video_timeout,
            scratch_root=args.scratch,
            tell=tell,
            note=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    who = f"rank {engine.rank} of {engine.world} (from {source}): " if engine.world > 1 else ""
    console.print(
        f"{args.out}: {who}{done.kept} of {done.clips} clips kept, {done.frames} frames, {done.made} units in "
        f"{time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else "")
        + (f"; {done.open} clips failed by no fault of theirs: run it again with --retry failed" if done.open else "")
        + f"; look at {args.out}/{SHEETS}/index.html",
        markup=False,
        soft_wrap=True,
    )
    return 0
