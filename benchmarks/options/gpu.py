"""Options of ``python -m benchmarks gpu``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and what the commands write")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="put the table between its marks in this file")
    parser.add_argument("--minutes", type=float, default=9.0, help="no command begins later (default 9)")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="of each training run (default 60)")
    parser.add_argument("--videos", type=Path, nargs="+", help="to be prepared (default: videos/grid of JDAP_ASSETS)")
    parser.add_argument("--reduced", action="store_true", help="the smallest of everything, for a CPU")
    add_device(parser)
