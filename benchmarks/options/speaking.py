"""Options of ``python -m benchmarks speaking``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--out", type=Path, required=True, help="folder for speakers, checkpoint, weights and tables")
    parser.add_argument("--speaking", metavar="NAME", help="measure this one rather than to train: shipped:speaking")
    parser.add_argument("--speakers", type=positive, default=2000, help="drawn speakers to learn from (default 2000)")
    parser.add_argument("--steps", type=positive, default=2000, help="of training, 32 windows each (default 2000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="end after so many; run again, it goes on")
    parser.add_argument("--test-speakers", type=positive, default=100, help="held-out ones to measure on (default 100)")
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="videos of people who talk, a person each: measured by landmarks"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training and the bootstrap (default 0)")
