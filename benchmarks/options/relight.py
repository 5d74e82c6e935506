"""Options of ``python -m benchmarks relight``."""

from __future__ import annotations

import argparse

from benchmarks.options.arguments import add_pair_arguments


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
