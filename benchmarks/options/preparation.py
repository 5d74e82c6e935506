"""Options of ``python -m benchmarks preparation``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("videos", nargs="+", type=Path, help="videos of people, or folders of them")
    parser.add_argument("--size", type=int, default=512, help="side of the stored frames, pixels (default 512)")
    add_device(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that each prepare all videos (default 1)")
    parser.add_argument("--minutes", type=float, default=0.0, help="prepare a video of this length made of the first")
    parser.add_argument("--height", type=int, default=1080, help="of that video, pixels (default 1080)")
    parser.add_argument("--json", type=Path, help="write the figures and what was run here")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    if not args.minutes:
        refuse_idle(args, parser, ("height",), "without --minutes")
