"""``python -m benchmarks depth``: image-to-depth on shards (:mod:`benchmarks.depth.depth`) or on photos with measured
depth (:mod:`benchmarks.depth.photos`)."""

from __future__ import annotations

import argparse

from benchmarks.depth import depth, photos


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write it and a picture into ``args.out``."""
    return depth.run(args) if args.photos is None else photos.run(args)
