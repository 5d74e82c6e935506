"""Options of ``python -m benchmarks steadiness``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import STEADY_DEFAULT, STEADY_METHOD_NAMES
from benchmarks.options.arguments import add_models, positive, words_of
from data_prep.choices import TEST, TRAIN, VAL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    folder = "folder of people's folders of photos: each person's first photo by name is taken"
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help=folder)
    splits = "people of these splits, by a hash of their names as `data_prep photos --split` (default val,test)"
    parser.add_argument("--splits", type=words_of((TRAIN, VAL, TEST)), default=(VAL, TEST), help=splits)
    parser.add_argument("--limit", type=positive, help="only the first so many people by name")
    add_models(parser, STEADY_METHOD_NAMES, f"by default {','.join(STEADY_DEFAULT)}")
