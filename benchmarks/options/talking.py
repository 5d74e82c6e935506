"""Options of ``python -m benchmarks talking``."""

from __future__ import annotations

import argparse

from benchmarks.options.arguments import add_drawing_arguments, add_embedder, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    add_drawing_arguments(parser)
    add_embedder(parser)
    parser.add_argument("--image", default="shipped:image-tiny", help="weights of the image model, frame by frame")
    parser.add_argument("--seconds", type=float, default=0.0, help="length of one long video as well (default 0: none)")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if not args.moved:
        refuse_idle(args, parser, ("turns",), "without --moved")
