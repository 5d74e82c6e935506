"""Options of ``python -m benchmarks hearing``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import EARS
from benchmarks.options.arguments import positive, words_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--out", type=Path, required=True, help="folder for hearing.json and hearing.csv")
    parser.add_argument(
        "--drawn", type=Path, required=True, metavar="DIR",
        help="folder of drawn speakers, those that are missing are drawn: DIR/drawn of `benchmarks speaking --out DIR`",
    )  # fmt: skip
    parser.add_argument("--ears", type=words_of(EARS), default=EARS, help=f"of {','.join(EARS)} (default all)")
    parser.add_argument("--speakers", type=positive, default=500, help="drawn speakers to learn from (default 500)")
    parser.add_argument("--steps", type=positive, default=600, help="of training each, 16 windows of 4 s (default 600)")
    parser.add_argument("--test-speakers", type=positive, default=100, help="held-out ones to measure on (default 100)")
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="videos of people who talk, a person each: measured by landmarks"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training and the bootstrap (default 0)")
