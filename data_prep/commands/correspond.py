"""``python -m data_prep correspond --people VIDEOS``: where mediapipe's landmarks lie on the head model."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.commands import convert_model
from data_prep.convert import derive
from data_prep.head.landmarks import CORRESPONDENCE_FILE
from data_prep.video.video import find_videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep correspond``."""
    parser.description = "Derive where mediapipe's landmarks lie on the head model, and draw it."
    where = "videos of one person each to refine it on"
    parser.add_argument("--people", type=Path, nargs="+", default=[], metavar="VIDEO_OR_FOLDER", help=where)
    parser.add_argument("--face-model", type=Path, help="a file of convert-model, whose own landmarks are refined")
    parser.add_argument("--out", type=Path, help="file to write (default: the shipped one; with --face-model: none)")
    parser.add_argument("--picture", type=Path, help="PNG of the result on the mean head")


def run(args: argparse.Namespace) -> int:
    """Derive, write, and print how far the registered canonical face lies off the skin."""
    people = [path for path, _ in find_videos(args.people)]
    if args.face_model is not None:
        return convert_model.correspond(args.face_model, args.out, args.picture, people)
    return derive.main(args.out or CORRESPONDENCE_FILE, args.picture, people)
