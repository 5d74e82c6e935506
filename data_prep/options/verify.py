"""Options of ``python -m data_prep verify``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep verify``."""
    parser.description = "Check the checksums of a folder of shards and decode every sample."
    parser.add_argument("folder", help="folder or URL with shards, searched with its subfolders")
