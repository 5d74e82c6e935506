"""What the command line says of who works, for every command that makes shards."""

from __future__ import annotations

import argparse
import os

from data_prep.engines.hire import Engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.rank import which_rank


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
