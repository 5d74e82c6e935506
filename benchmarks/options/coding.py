"""Options of ``python -m benchmarks coding``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--shards", required=True, help="a folder, a brace pattern or an fsspec URL")
    parser.add_argument("--out", type=Path, required=True, help="folder for coding.json and coding.csv")
    parser.add_argument("--limit", type=positive, default=48, help="pictures to measure (default 48)")
    parser.add_argument("--shrink", type=positive, default=1, help="divide the sides by this first (default 1)")
    redraw = "also measure drawing fitted depth from the fit, in place of reading it (needs the head model)"
    parser.add_argument("--redraw", action="store_true", help=redraw)
    parser.add_argument("--repeats", type=positive, default=5, help="timings of each call, best taken (default 5)")
