"""``python -m benchmarks depth``: image-to-depth on shards (:mod:`benchmarks.depth.depth`) or on photos with measured
depth (:mod:`benchmarks.depth.photos`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.depth import depth, photos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--shards", help="test shards: a folder, a brace pattern or an fsspec URL")
    data.add_argument("--photos", type=Path, metavar="DIR", help="photos with 16-bit depth maps, and their index.json")
    depth.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write it and a picture into ``args.out``."""
    return depth.run(args) if args.photos is None else photos.run(args)
