"""Options of ``python -m benchmarks mouth``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import positive, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--train", default="shipped:talking/train", help="clips to train on (default: those that ship)")
    parser.add_argument("--test", default="shipped:talking/test", help="held-out people (default: those that ship)")
    parser.add_argument("--codec", default="shipped:image-tiny/codec", help="codec folder (default: talk-tiny's)")
    parser.add_argument("--out", type=Path, required=True, help="folder for mouth.safetensors, .json, .csv and .png")
    parser.add_argument("--reader", type=Path, help="measure these readers rather than to train new ones")
    parser.add_argument("--steps", type=positive, default=1200, help="of training each reader (default 1200)")
    parser.add_argument("--stride", type=positive, default=2, help="every how manieth frame is trained on (default 2)")
    parser.add_argument("--limit", type=positive, help="only the first so many test clips")
    parser.add_argument("--seed", type=int, default=0, help="of training and the bootstrap (default 0)")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if args.reader is not None:
        refuse_idle(args, parser, ("train", "steps", "stride"), "with --reader")
