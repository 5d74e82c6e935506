"""Options of ``python -m data_prep hold-out``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep hold-out``."""
    parser.description = "Shards to DIR/train and DIR/test: the last share of every clip is kept aside."
    parser.add_argument("shards", metavar="SHARDS", help="folder or URL of shards, by prepare or studio")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for train/ and test/")
    parser.add_argument("--share", type=float, default=0.2, help="what is kept aside of every clip (default 0.2)")
    parser.add_argument("--gap", type=float, default=0.2, help="seconds between the two (default 0.2)")
