"""``python -m data_prep photos FOLDER_OR_LIST… --out DIR_OR_URL``: photos of people → shards with fitted depth
(:mod:`data_prep.engines.photos`).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.clips.steps import read_settings
from data_prep.engines.options import read_engine
from data_prep.engines.photos import prepare_photos
from data_prep.engines.plan import PrepareError
from data_prep.engines.records import SHEETS, ClipRow
from data_prep.engines.run import told_if_full
from data_prep.photos.settings import PhotoSettings
from jdap.commands.dispatch import ended_by_sigterm


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the pictures; 0 when every picture has its row or is part of one."""
    settings, (engine, source) = PhotoSettings(**asdict(read_settings(args))), read_engine(args, workers=1)
    if args.unit_mb < 1:
        raise PrepareError(f"--unit-mb must be at least 1, got {args.unit_mb}")
    console = Console()

    def tell(row: ClipRow) -> None:
        if row["status"] != KEPT:
            line = f"{row['status']}: {row['source']}: {row['reason']}"
            console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    with ended_by_sigterm(), told_if_full(args.out):
        done = prepare_photos(
            args.inputs,
            args.out,
            settings,
            engine,
            by=args.people,
            split=args.split,
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
        f"{args.out}: {who}{done.frames} pictures of {done.kept} people kept, {done.clips} rows, {done.made} units in "
        f"{time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else "")
        + (f"; {done.open} rows failed by no fault of theirs: run it again with --retry failed" if done.open else "")
        + f"; look at {args.out}/{SHEETS}/index.html",
        markup=False,
        soft_wrap=True,
    )
    return 0
