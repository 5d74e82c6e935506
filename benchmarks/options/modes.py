"""Options of ``python -m benchmarks modes``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import QUESTION_NAMES
from benchmarks.options.arguments import add_device, add_embedder, positive, words_of
from jdap.choices import GUIDANCE, HEAD_PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--weights", required=True, help="weights folder, or shipped:NAME")
    parser.add_argument(
        "--shards", required=True, help="test shards: a folder, a brace pattern, an fsspec URL, shipped:…"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for modes.json, modes.csv and modes.png")
    parser.add_argument("--estimator", help="weights that estimate depth again from drawn pictures (default: the same)")
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (default 20)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"of the reference (default {GUIDANCE:g})")
    parser.add_argument(
        "--best-of", type=positive, default=1, help="draws of each new portrait, of which the best is kept (default 1)"
    )
    parser.add_argument(
        "--resample", type=positive, default=2, help="RePaint's resampling, where it is tried (default 2)"
    )
    parser.add_argument("--targets", type=positive, default=1, help="pictures measured of each person (default 1)")
    parser.add_argument("--limit", type=positive, help="only the first so many pictures")
    parser.add_argument(
        "--questions",
        type=words_of(QUESTION_NAMES),
        default=QUESTION_NAMES,
        help=f"of {', '.join(QUESTION_NAMES)}, with commas between them (default all)",
    )
    hidden = "also hide this part of the head, and draw it anew; may be given several times"
    parser.add_argument("--part", choices=HEAD_PARTS, action="append", default=[], help=hidden)
    parser.add_argument("--drawn", type=positive, default=6, help="pictures in modes.png (default 6)")
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures at a time (default 16)")
    add_embedder(parser)
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")
