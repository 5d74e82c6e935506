"""Options of ``python -m benchmarks kid``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device, named, positive
from jdap.choices import GUIDANCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "--weights", type=named, action="append", required=True, metavar="NAME=FOLDER",
        help="weights folder, or shipped:NAME; may be given several times",
    )  # fmt: skip
    parser.add_argument("--shards", required=True, help="test shards with two pictures a person or more")
    parser.add_argument("--out", type=Path, required=True, help="folder for kid.json and kid.csv")
    parser.add_argument(
        "--trunk",
        type=Path,
        metavar="FILE.onnx",
        help="a network of your own, from pictures (N, 3, S, S) in [-1, 1] to features (default: ST-LPIPS's AlexNet)",
    )
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (default 20)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"of the reference (default {GUIDANCE:g})")
    parser.add_argument("--limit", type=positive, help="only the first so many people")
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures at a time (default 16)")
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")
