"""Options of ``python -m data_prep report``."""

from __future__ import annotations

import argparse

from data_prep.choices import PAGE, REPORT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep report``."""
    parser.description = f"Yield, reasons, time and scores of a folder of shards; writes {REPORT} and {PAGE} into it."
    parser.add_argument("folder", help="folder or URL that prepare or studio made")
