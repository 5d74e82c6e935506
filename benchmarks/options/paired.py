"""Options of ``python -m benchmarks paired``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="MODES_JSON", help="the run in question, then the others")
    parser.add_argument("--out", type=Path, required=True, help="folder for paired.json and paired.csv")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
