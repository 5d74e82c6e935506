"""Options of ``python -m benchmarks studio``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import numbers, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 512], help="pixels a side (default 128,256,512)")
    parser.add_argument("--batches", type=numbers, default=[2, 16], help="pictures made together (default 2,16)")
    parser.add_argument("--workers", type=numbers, default=[1, 2], help="processes of one thread each (default 1,2)")
    parser.add_argument("--shadows", choices=("on", "off", "both"), default="both", help="default both")
    parser.add_argument("--people", type=positive, default=16, help="people in a run (default 16)")
    parser.add_argument("--frames", type=positive, default=2, help="stills of each person (default 2)")
    parser.add_argument("--repeats", type=positive, default=3, help="counted runs of each line (default 3)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default cpu)")
    parser.add_argument("--json", type=Path, help="also write the figures and a stamp to this file")
