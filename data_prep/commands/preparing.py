"""What ``prepare`` and ``photos`` have in common: a run of the engines, told row by row and at its end."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.engines.options import read_engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.records import SHEETS, ClipRow
from data_prep.engines.run import RunOutcome, told_if_full
from jdap.commands.dispatch import ended_by_sigterm


def run_and_tell(
    args: argparse.Namespace,
    settings: Any,
    work: Callable[..., RunOutcome],
    counted: Callable[[RunOutcome], str],
    rows: str,
) -> int:
    """Do ``work`` as the options say, and print every row that is not kept and what became of all.

    ``counted`` says what was kept, and ``rows`` what a row is called. The exit status is 0.
    """
    engine, source = read_engine(args, workers=1)
    if args.unit_mb < 1:
        raise PrepareError(f"--unit-mb must be at least 1, got {args.unit_mb}")
    console = Console()

    def tell(row: ClipRow) -> None:
        if row["status"] != KEPT:
            line = printable(f"{row['status']}: {row['source']}: {row['reason']}")
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    with ended_by_sigterm(), told_if_full(args.out):
        done = work(
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
        f"{args.out}: {who}{counted(done)}, {done.made} units in {time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else "")
        + (f"; {done.open} {rows} failed by no fault of theirs: run it again with --retry failed" if done.open else "")
        + f"; look at {args.out}/{SHEETS}/index.html",
        markup=False,
        soft_wrap=True,
    )
    return 0


def printable(text: str) -> str:
    """Text on one line that does nothing to a terminal: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
