"""``python -m data_prep prepare VIDEO_OR_FOLDER… --out DIR_OR_URL``: videos of people → shards with fitted depth
(:mod:`data_prep.engines.run`).
"""

from __future__ import annotations

import argparse
import os
import time

from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.clips.steps import add_settings, read_settings
from data_prep.engines.plan import UNIT_BYTES, PrepareError
from data_prep.engines.rank import which_rank
from data_prep.engines.records import SHEETS, Row
from data_prep.engines.run import ENGINES, Engine, prepare
from data_prep.store import FULL, RETRIES
from jdap.commands.dispatch import ended_by_sigterm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep prepare``."""
    parser.description = "Videos of people to shards with fitted depth, at 25 frames a second. Run again, it goes on."
    parser.add_argument("inputs", nargs="+", metavar="VIDEO_OR_FOLDER", help="folders are searched; URLs work, too")
    parser.add_argument("--out", required=True, help="folder or URL for shards, manifest.jsonl and contact/")
    add_settings(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete what prepare made in the folder, start anew")
    parser.add_argument("--unit-mb", type=int, default=UNIT_BYTES >> 20, help="MB of video a shard (default 64)")
    parser.add_argument("--retries", type=int, default=RETRIES, help="of input and output errors (default 3)")
    who = parser.add_argument_group("who works")
    who.add_argument("--engine", choices=ENGINES, default="local", help="processes here, or a Ray cluster")
    who.add_argument("--workers", type=int, help="processes (default 1; 0 = this one) or Ray's (default all)")
    who.add_argument("--rank", type=int, help="do this part of the plan … (default: from SLURM, or RANK)")
    who.add_argument("--world-size", type=int, help="… of so many (default: from SLURM, or WORLD_SIZE)")
    who.add_argument("--ray-address", help="of a running cluster: auto, HOST:6379 (default: start one here)")
    who.add_argument("--gpus-per-worker", type=float, default=0.0, help="of Ray's; 0.25: four share one (default 0)")


def _engine(args: argparse.Namespace) -> tuple[Engine, str]:
    """The engine, and where the rank is from."""
    for name, least in (("workers", 0), ("unit_mb", 1), ("retries", 0), ("gpus_per_worker", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise PrepareError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}")
    ray = args.engine == "ray"
    if not ray and (args.ray_address or args.gpus_per_worker):
        raise PrepareError("--ray-address and --gpus-per-worker need --engine ray")
    rank, world, source = which_rank(args.rank, args.world_size, {} if ray else os.environ)
    workers = args.workers if args.workers is not None else (0 if ray else 1)
    return Engine(args.engine, workers, rank, world, args.ray_address, args.gpus_per_worker), source


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the videos; 0 when every input has its row."""
    settings, (engine, source) = read_settings(args), _engine(args)
    console = Console()

    def tell(row: Row) -> None:
        if row["status"] != KEPT:
            line = f"{row['status']}: {row['source']}: {row['reason']}"
            console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    try:
        with ended_by_sigterm():
            done = prepare(
                args.inputs,
                args.out,
                settings,
                engine,
                unit_bytes=args.unit_mb << 20,
                retries=args.retries,
                overwrite=args.overwrite,
                tell=tell,
            )
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise PrepareError(
            f"{error.strerror} ({error.filename or args.out}): finished shards are whole and stay; make room, then run "
            "the same command again"
        ) from error
    who = f"rank {engine.rank} of {engine.world} (from {source}): " if engine.world > 1 else ""
    console.print(
        f"{args.out}: {who}{done.kept} of {done.clips} clips kept, {done.frames} frames, {done.made} units in "
        f"{time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else "")
        + f"; look at {args.out}/{SHEETS}/index.html",
        markup=False,
        soft_wrap=True,
    )
    return 0
