"""Options of ``python -m benchmarks relight``."""

from __future__ import annotations

import argparse

from benchmarks.options.arguments import add_pair_arguments, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--shards", required=True, help="pairs: shards of `data_prep studio --relight`")
    parser.add_argument(
        "--fit",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="rows of a head model fitted to the picture; pictures without a face then leave all rows",
    )
    add_pair_arguments(parser, "pairs", steps=20)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if not args.redraw:
        refuse_idle(args, parser, ("steps",), "with --redraw 0")
