"""Options of ``python -m benchmarks drift``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_embedder
from jdap.commands.arguments import within


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="what `jdap talk` wrote: NAME.mp4")
    parser.add_argument("--depth", type=Path, metavar="FILE", help="its depth (default: NAME.depth.mkv beside it)")
    parser.add_argument("--out", type=Path, required=True, help="folder for drift.json and drift.csv")
    parser.add_argument(
        "--every", type=within(0.04, 60), default=1.0, metavar="S", help="seconds from sample to sample (default 1)"
    )
    add_embedder(parser)
