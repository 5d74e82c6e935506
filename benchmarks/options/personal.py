"""Options of ``python -m benchmarks personal``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device, add_embedder, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--weights", required=True, help="weights folder that was fine-tuned, or shipped:NAME")
    parser.add_argument("--shards", required=True, help="shards of frames that were kept aside")
    parser.add_argument("--reference", required=True, help="shards that were trained on: one picture leads")
    parser.add_argument("--before", help="weights that were fine-tuned from, to be drawn with, too")
    parser.add_argument("--out", type=Path, required=True, help="folder for personal.json, .csv and .png")
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (default 20)")
    parser.add_argument("--guidance", type=float, default=1.0, help="strength of the reference (default 1: as trained)")
    parser.add_argument("--targets", type=positive, default=24, help="frames of each sample, evenly (default 24)")
    parser.add_argument("--limit", type=positive, help="only the first so many pictures")
    parser.add_argument("--block", type=positive, default=5, help="frames of a block of the interval (default 5)")
    parser.add_argument("--drawn", type=positive, default=12, help="pictures in personal.png (default 12)")
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures at a time (default 16)")
    add_embedder(parser)
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")
