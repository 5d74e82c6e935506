"""Options of ``python -m benchmarks likeness``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import positive
from jdap.choices import IMAGE_WEIGHTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--weights", default=IMAGE_WEIGHTS, metavar="NAME", help=f"(default {IMAGE_WEIGHTS})")
    parser.add_argument("--shards", required=True, help="sittings of the studio: `data_prep studio --sittings`")
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs, checkpoint and weights")
    parser.add_argument("--people", type=positive, default=1000, help="at most so many (default 1000)")
    parser.add_argument("--steps", type=positive, default=6000, help="of training, 16 pictures each (default 6000)")
    parser.add_argument("--minutes", type=float, default=120.0, help="end after so many; run again, it goes on")
    parser.add_argument("--seed", type=int, default=0, help="of pairs and training (default 0)")
