"""``python -m data_prep correspond --people VIDEOS``: where mediapipe's landmarks lie on the head model."""

from __future__ import annotations

import argparse

from data_prep.commands import convert_model
from data_prep.convert import derive
from data_prep.head.landmarks import CORRESPONDENCE_FILE
from data_prep.video.video import find_videos


def run(args: argparse.Namespace) -> int:
    """Derive, write, and print how far the registered canonical face lies off the skin."""
    people = [path for path, _ in find_videos(args.people)]
    if args.face_model is not None:
        return convert_model.correspond(args.face_model, args.out, args.picture, people)
    return derive.main(args.out or CORRESPONDENCE_FILE, args.picture, people)
