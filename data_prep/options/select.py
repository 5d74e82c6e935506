"""Options of ``python -m data_prep select``."""

from __future__ import annotations

import argparse

from data_prep.options.shared import add_thresholds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep select``."""
    parser.description = "Judge prepared clips by other thresholds, without decoding a video."
    parser.add_argument("folder", metavar="DIR_OR_URL", help="folder that prepare made")
    add_thresholds(parser)
    parser.add_argument("--duplicates", action="store_true", help="keep clips that show what an earlier one shows")
