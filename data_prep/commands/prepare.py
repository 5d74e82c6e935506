"""``python -m data_prep prepare VIDEO_OR_FOLDER… --out DIR_OR_URL``: videos of people → shards with fitted depth
(:mod:`data_prep.engines.prepare`).
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.clips.steps import add_settings, read_settings
from data_prep.engines.options import add_engine, read_engine
from data_prep.engines.plan import UNIT_BYTES, PrepareError
from data_prep.engines.prepare import prepare
from data_prep.engines.records import SHEETS, ClipRow
from data_prep.engines.run import told_if_full
from jdap.commands.dispatch import ended_by_sigterm


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

    def tell(row: ClipRow) -> None:
        if row["status"] != KEPT:
            line = f"{row['status']}: {row['source']}: {row['reason']}"
            console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    with ended_by_sigterm(), told_if_full(args.out):
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
