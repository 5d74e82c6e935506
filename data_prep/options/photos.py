"""Options of ``python -m data_prep photos``."""

from __future__ import annotations

import argparse

from data_prep.choices import (
    ALL,
    BLACK,
    EACH,
    EDGE,
    EMBEDDING,
    FOLDER,
    PHOTO_SPLITS,
    REJECT,
    RULE,
    SAME_PERSON,
    SINGLE,
    UNIT_BYTES,
    WIDEST,
)
from data_prep.options.shared import add_engine, add_parser, add_thresholds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep photos``."""
    parser.description = "Photos of people to shards with fitted depth, one identity a person. Run again, it goes on."
    inputs = "a folder, which is searched; a picture; or a CSV with the columns file and person"
    parser.add_argument("inputs", nargs="+", metavar="FOLDER_OR_LIST", help=inputs)
    parser.add_argument("--out", required=True, help="folder or URL for shards, manifest.jsonl and contact/")
    who = f"a folder's pictures are one person's ({FOLDER}); {EACH} is somebody else's; or faces are compared"
    who += f" ({EMBEDDING}, an extra), which leaves a list in --out (default {FOLDER})"
    parser.add_argument("--people", choices=(FOLDER, EACH, EMBEDDING), default=FOLDER, help=who)
    near = f"distance of {EMBEDDING}s up to which faces are one person's (default {SAME_PERSON:g})"
    parser.add_argument("--same-person", type=float, default=SAME_PERSON, metavar="D", help=near)
    parts = "only the people of this split, by a hash of their names: 80, 10 and 10 %% (default all)"
    parser.add_argument("--split", choices=PHOTO_SPLITS, default=ALL, help=parts)
    parser.add_argument("--size", type=int, default=512, help="side of the stored pictures, pixels (default 512)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the fit and the renderer (default cpu)")
    parser.add_argument("--face-model", default="", metavar="FILE", help="head model, by convert-model (default: ICT)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    add_parser(parser)
    faces = f"several faces: the {WIDEST}, where it stands out, or none ({SINGLE}); default {WIDEST}"
    parser.add_argument("--faces", choices=(WIDEST, SINGLE), default=WIDEST, help=faces)
    parser.add_argument("--padding", choices=(EDGE, BLACK, REJECT), default=EDGE, help="what lies outside a picture")
    add_thresholds(parser)
    parser.add_argument("--no-hold", action="store_true", help="do not store pictures that fail a threshold")
    parser.add_argument("--overwrite", action="store_true", help="delete what was made in the folder, start anew")
    parser.add_argument("--unit-mb", type=int, default=UNIT_BYTES >> 20, help="MB of a shard, about (default 64)")
    add_engine(parser, "processes (default 1; 0 = this one) or Ray's (default all)")
    parser.set_defaults(sync_weights="", voice=RULE, segment_s=0.0)
