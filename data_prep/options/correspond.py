"""Options of ``python -m data_prep correspond``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep correspond``."""
    parser.description = "Derive where mediapipe's landmarks lie on the head model, and draw it."
    where = "videos of one person each to refine it on"
    parser.add_argument("--people", type=Path, nargs="+", default=[], metavar="VIDEO_OR_FOLDER", help=where)
    parser.add_argument("--face-model", type=Path, help="a file of convert-model, whose own landmarks are refined")
    parser.add_argument("--out", type=Path, help="file to write (default: the shipped one; with --face-model: none)")
    parser.add_argument("--picture", type=Path, help="PNG of the result on the mean head")
