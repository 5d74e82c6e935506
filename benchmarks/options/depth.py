"""Options of ``python -m benchmarks depth``."""

from __future__ import annotations

import argparse

from benchmarks.options.arguments import add_method_arguments, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--shards", required=True, help="test shards: a folder, a brace pattern or an fsspec URL")
    add_method_arguments(parser)
    parser.add_argument("--workers", type=int, default=0, help="processes that read shards (default 0: this one)")
    parser.add_argument("--limit", type=positive, help="only the first so many pictures")
