"""What the command line says of who works, for every command that makes shards."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from data_prep.engines.hire import ENGINES, Engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.rank import which_rank
from data_prep.machine.retry import RETRIES
from data_prep.machine.watchdog import LIMIT_S


def add_engine(parser: argparse.ArgumentParser, workers: str) -> None:
    """The arguments that :func:`read_engine` reads; ``workers``: what their number is by default."""
    parser.add_argument("--retries", type=int, default=RETRIES, help="of input and output errors (default 3)")
    parser.add_argument("--retry", choices=("failed",), help="make again what failed by no fault of its own")
    limit = f"seconds without progress after which a worker is ended (default {LIMIT_S:g})"
    parser.add_argument("--video-timeout", type=float, default=LIMIT_S, metavar="S", help=limit)
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="local disk for what is in work (default $TMPDIR)")
    who = parser.add_argument_group("who works")
    who.add_argument("--engine", choices=ENGINES, default="local", help="processes here, or a Ray cluster")
    who.add_argument("--workers", type=int, help=workers)
    who.add_argument("--rank", type=int, help="of several runs, this one … (default: from SLURM, or RANK)")
    who.add_argument("--world-size", type=int, help="… of so many (default: from SLURM, or WORLD_SIZE)")
    who.add_argument("--ray-address", help="of a running cluster: auto, HOST:6379 (default: start one here)")
    share = "of Ray's; 0.25: four share one (default: 1 with --device cuda, else 0)"
    who.add_argument("--gpus-per-worker", type=float, help=share)


def read_engine(args: argparse.Namespace, workers: int) -> tuple[Engine, str]:
    """The engine, with so many ``workers`` where nothing is said, and where the rank is from. Raises
    :class:`PrepareError`."""
    for name, least in (("workers", 0), ("retries", 0), ("gpus_per_worker", 0), ("video_timeout", 1)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise PrepareError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}")
    ray = args.engine == "ray"
    if not ray and (args.ray_address or args.gpus_per_worker):
        raise PrepareError("--ray-address and --gpus-per-worker need --engine ray")
    rank, world, source = which_rank(args.rank, args.world_size, {} if ray else os.environ)
    if args.workers is not None:
        workers = args.workers
    elif ray:
        workers = 0
    gpus = args.gpus_per_worker
    if gpus is None:
        gpus = float(ray and args.device.startswith("cuda"))
    return Engine(args.engine, workers, rank, world, args.ray_address, gpus), source
