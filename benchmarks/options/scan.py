"""Options of ``python -m benchmarks scan``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import DEFAULT_SCAN
from benchmarks.options.arguments import add_method_arguments
from jdap.io.fetch import ENVIRONMENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    where = f"folder with OBJ, material file and texture (default: {DEFAULT_SCAN} in the folder {ENVIRONMENT} names)"
    parser.add_argument("--scan", type=Path, nargs="+", metavar="DIR", help=where)
    add_method_arguments(parser)
