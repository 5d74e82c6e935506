"""Options of ``python -m data_prep scans``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data_prep.choices import CAMERA_DISTANCE_MM, FACE, MESH, RING_YAWS_DEG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep scans``."""
    parser.description = "Shards with exact depth from textured scans of heads."
    parser.add_argument("folder", type=Path, help="folder with a folder for each scan")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards and manifest.jsonl")
    parser.add_argument("--size", type=int, default=512, help="side of the pictures, pixels (default 512)")
    numbers: dict[str, Any] = {"type": float, "nargs": "+", "metavar": "X"}
    parser.add_argument(
        "--yaws", default=RING_YAWS_DEG, help="degrees, positive to the right (-40 … 40 by 10)", **numbers
    )
    parser.add_argument("--pitches", default=(0.0,), help="degrees, positive down (default 0)", **numbers)
    where = "of the head from the camera, mm (default 800); the focal length grows with it"
    parser.add_argument("--distances-mm", default=(CAMERA_DISTANCE_MM,), help=where, **numbers)
    parser.add_argument("--region", choices=(FACE, MESH), default=FACE, help="what is skin, for scans without a mask")
    parser.add_argument("--mm-per-unit", type=float, help="of the meshes, where scan.json does not say (1; GLB: 1000)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    parser.add_argument("--seed", type=int, default=0, help="of the backgrounds (default 0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the renderer (default cpu)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if there is one")
