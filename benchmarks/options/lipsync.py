"""Options of ``python -m benchmarks lipsync``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_drawing_arguments, refuse_idle
from jdap.choices import READERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    add_drawing_arguments(parser)
    parser.add_argument(
        "--reader",
        default=READERS,
        help="mouth.safetensors that `python -m benchmarks mouth` wrote (default: those that ship)",
    )
    parser.add_argument(
        "--syncnet",
        type=Path,
        metavar="FILE",
        help="also judge by a SyncNet of yours (LSE-D, LSE-C): .onnx, .safetensors or TorchScript; slow on a CPU",
    )
    parser.add_argument("--no-controls", action="store_true", help="leave out another's sound and silence")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if not args.moved:
        refuse_idle(args, parser, ("turns",), "without --moved")
