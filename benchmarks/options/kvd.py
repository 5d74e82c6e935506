"""Options of ``python -m benchmarks kvd``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_drawing_arguments, positive, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "--trunk",
        type=Path,
        required=True,
        metavar="FILE.onnx",
        help="a video network of your own, from clips (N, 3, T, S, S) or (N, T, 3, S, S) in [-1, 1] to features",
    )
    parser.add_argument(
        "--frames", type=positive, default=16, help="of a clip, where the network leaves T open (default 16)"
    )
    add_drawing_arguments(parser)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if not args.moved:
        refuse_idle(args, parser, ("turns",), "without --moved")
