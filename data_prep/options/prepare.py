"""Options of ``python -m data_prep prepare``."""

from __future__ import annotations

import argparse

from data_prep.choices import SEGMENT_S, UNIT_BYTES
from data_prep.options.shared import add_engine, add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep prepare``."""
    parser.description = "Videos of people to shards with fitted depth, at 25 frames a second. Run again, it goes on."
    parser.add_argument("inputs", nargs="+", metavar="VIDEO_OR_FOLDER", help="folders are searched; URLs work, too")
    parser.add_argument("--out", required=True, help="folder or URL for shards, manifest.jsonl and contact/")
    add_settings(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete what prepare made in the folder, start anew")
    parser.add_argument("--unit-mb", type=int, default=UNIT_BYTES >> 20, help="MB of video a shard (default 64)")
    longer = f"longer videos are parted, for several workers; seconds (default {SEGMENT_S:g}; 0: none is)"
    parser.add_argument("--segment-s", type=float, default=SEGMENT_S, metavar="S", help=longer)
    add_engine(parser, "processes (default 1; 0 = this one) or Ray's (default all)")
