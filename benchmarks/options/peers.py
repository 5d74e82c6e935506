"""Options of ``python -m benchmarks peers``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import PEER_CODEC_WIDTHS, PEER_PARTS, TARGET_WIDTHS
from benchmarks.options.arguments import add_device, numbers, positive, refuse_unread, words_of
from jdap.commands.arguments import CommandError

#: Option → the parts that read it.
PEERS_READ_BY = {
    "widths": {"depth", "clip"},
    "codec_widths": {"depth", "clip"},
    "device": {"depth", "clip"},
    "size": {"depth", "clip", "preparation"},
    "ensemble": {"depth"},
    "frames": {"clip"},
    "steps": {"clip"},
    "drawn_seconds": {"reading"},
    "video": {"reading", "preparation"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    widths, codec_widths = (",".join(map(str, each)) for each in (TARGET_WIDTHS, PEER_CODEC_WIDTHS))
    parser.add_argument("--out", type=Path, required=True, help="folder for peers.json")
    parser.add_argument(
        "--parts", type=words_of(PEER_PARTS), default=PEER_PARTS, help=f"of {', '.join(PEER_PARTS)} (default all)"
    )
    parser.add_argument(
        "--video", type=Path, action="append", default=[], metavar="FILE",
        help="read and prepare it; may be given several times; preparation needs one, with a face",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument("--widths", type=numbers, default=TARGET_WIDTHS, help=f"of the UNets (default {widths})")
    parser.add_argument(
        "--codec-widths", type=numbers, default=PEER_CODEC_WIDTHS, help=f"of all codecs (default {codec_widths})"
    )
    parser.add_argument("--size", type=positive, default=256, help="side of pictures, pixels (default 256)")
    parser.add_argument("--ensemble", type=positive, default=5, help="draws of depth; 1: no such row (default 5)")
    parser.add_argument("--frames", type=positive, default=14, help="of a clip (default 14)")
    parser.add_argument("--steps", type=positive, default=10, help="of sampling a clip (default 10)")
    parser.add_argument("--drawn-seconds", type=float, default=4.0, help="of the video that is drawn (default 4)")
    parser.add_argument("--no-memory", action="store_true", help="no process of its own for each, which takes seconds")
    parser.add_argument("--repeats", type=positive, default=3, help="measured rounds (default 3)")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing, and for preparation of no video."""
    refuse_unread(args, parser, PEERS_READ_BY)
    if "preparation" in args.parts and not args.video:
        others = ",".join(part for part in PEER_PARTS if part != "preparation")
        raise CommandError(f"preparation needs --video FILE with a face, or --parts {others}")
