"""Options of ``python -m benchmarks depth``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import PHOTO_METHOD_NAMES
from benchmarks.options.arguments import add_method_arguments, positive, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--shards", help="test shards: a folder, a brace pattern or an fsspec URL")
    data.add_argument("--photos", type=Path, metavar="DIR", help="photos with 16-bit depth maps, and their index.json")
    add_method_arguments(parser, PHOTO_METHOD_NAMES)
    parser.add_argument("--workers", type=int, default=0, help="processes that read shards (default 0: this one)")
    parser.add_argument("--limit", type=positive, help="only the first so many pictures")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if args.photos is not None:
        refuse_idle(args, parser, ("no_regions", "workers"), "with --photos")
