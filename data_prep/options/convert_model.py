"""Options of ``python -m data_prep convert-model``."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.choices import MODEL_KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep convert-model``."""
    parser.description = "Turn a face model that you hold into a file for --face-model."
    parser.add_argument("file", type=Path, help="FLAME .npz or .safetensors; Basel .mat or .h5; ICT file or folder")
    parser.add_argument("--kind", choices=MODEL_KINDS, required=True, help="whose layout it has")
    parser.add_argument("--out", type=Path, required=True, help="file to write: .safetensors or .npz")
    parser.add_argument("--shape-modes", type=int, help="FLAME: directions of shapedirs that are identity (300 of 400)")
    parser.add_argument("--mm-per-unit", type=float, help="where the file is not in its maker's unit")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if there is one")
