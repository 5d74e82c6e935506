"""Options of ``python -m benchmarks report``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="results of benchmarks, at or below")
    parser.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="the page")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also put the README's table between its marks")
