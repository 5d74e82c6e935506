"""Options of ``python -m benchmarks pose``."""

from __future__ import annotations

import argparse

from benchmarks.options.arguments import add_embedder, add_pair_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--shards", required=True, help="shards of `data_prep studio --sittings --frames 2`")
    add_pair_arguments(parser, "people", steps=10)
    add_embedder(parser)
