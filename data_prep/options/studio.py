"""Options of ``python -m data_prep studio``."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.choices import PERSON_KINDS, SPLIT_START
from data_prep.options.shared import add_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep studio``."""
    parser.description = "Shards of random people with exact depth."
    parser.add_argument("--people", type=int, required=True, help="how many; one sample each")
    parser.add_argument("--frames", type=int, default=2, help="frames of each person (default 2)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, pixels (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="(seed, index) makes a person (default 0)")
    parser.add_argument("--first", type=int, default=0, help="first person of the split to make (default 0)")
    parser.add_argument("--out", required=True, help="folder or URL for the shards; run again, it goes on")
    parser.add_argument("--overwrite", action="store_true", help="delete what was made in the folder, start anew")
    kind = parser.add_mutually_exclusive_group()
    for name, does in PERSON_KINDS.items():
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=does)
    parser.add_argument("--split", choices=tuple(SPLIT_START), default="train", help="whose people (default train)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    parser.add_argument("--truth", action="store_true", help="store normals, albedo, parts, openness and light too")
    parser.add_argument("--relight", action="store_true", help="store each frame once more, in other light")
    parser.add_argument("--no-shadows", dest="shadows", action="store_false", help="light without shadows: faster")
    step = "round depth to so many millimetres, for smaller files (default 0: to the tenth that files hold)"
    parser.add_argument("--depth-step-mm", type=float, default=0.0, metavar="MM", help=step)
    parser.add_argument("--backgrounds", type=Path, help="folder of pictures to set half of the heads before")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--sheet", type=Path, help="also draw the first people (--talk: the first clip) on a PNG")
    add_engine(parser, "processes (default: this one) or Ray's (default all)")
    parser.set_defaults(kind="stills")
