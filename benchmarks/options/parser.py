"""Options of ``python -m benchmarks parser``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import positive, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures, checkpoint, parser and tables")
    names = "measure this one rather than to train: shipped, a folder, FILE.onnx"
    parser.add_argument("--parser", metavar="NAME", help=names)
    parser.add_argument("--people", type=positive, default=400, help="studio people to learn from (default 400)")
    parser.add_argument("--frames", type=positive, default=4, help="pictures of each (default 4)")
    parser.add_argument("--steps", type=positive, default=640, help="of training, 32 pictures each (default 640)")
    parser.add_argument("--minutes", type=float, default=60.0, help="end after so many; run again, it goes on")
    parser.add_argument("--test-people", type=positive, default=100, help="held-out people for IoU (default 100)")
    parser.add_argument("--masked-people", type=int, default=0, metavar="N", help="for fitted depth (default 0: none)")
    parser.add_argument("--seed", type=int, default=0, help="of training and the bootstrap (default 0)")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if args.parser is not None:
        refuse_idle(args, parser, ("people", "frames", "steps", "minutes"), "with --parser")
