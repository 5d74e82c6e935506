"""Options of ``python -m benchmarks fit``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import DEFAULT_SCAN, FIT_PARTS
from benchmarks.options.arguments import refuse_unread, words_of
from jdap.io.fetch import ENVIRONMENT

#: Option → the parts that read it.
FIT_READ_BY = {
    "videos": {"clips", "ablation"},
    "frames": {"clips", "ablation"},
    "folds": {"clips", "ablation"},
    "scan": {"scan", "trust", "ablation"},
    "studio": {"trust"},
    "people": {"drawn", "lens", "ablation"},
    "device": {"drawn"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    assets = f"in the folder {ENVIRONMENT} names"
    parts = f"comma-separated, of {', '.join(FIT_PARTS)} (default: all but ablation)"
    parser.add_argument(
        "--parts", type=words_of(FIT_PARTS), default=[part for part in FIT_PARTS if part != "ablation"], help=parts
    )
    videos = f"folders of videos of one person each (default: videos/grid, motion, talking {assets})"
    parser.add_argument("--videos", type=Path, nargs="+", metavar="DIR", help=videos)
    parser.add_argument("--scan", type=Path, metavar="DIR", help=f"folder of a scan (default: {DEFAULT_SCAN} {assets})")
    parser.add_argument("--studio", type=Path, metavar="DIR", help="shards of studio clips, for the part trust")
    parser.add_argument("--frames", type=int, default=75, help="of each clip, at most (default 75)")
    parser.add_argument("--folds", type=int, default=3, help="of people, for held-out correspondences (default 3)")
    parser.add_argument("--people", type=int, default=8, help="of the parts drawn and lens (default 8)")
    parser.add_argument("--device", default="cpu", help="of the timed fits: cpu, cuda … (default cpu)")
    parser.add_argument("--out", type=Path, required=True, help="folder for fit.json")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    refuse_unread(args, parser, FIT_READ_BY)
