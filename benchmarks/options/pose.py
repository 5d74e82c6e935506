"""Options of ``python -m benchmarks pose``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--shards", required=True, help="shards of `data_prep studio --sittings --frames 2`")
    parser.add_argument("--weights", default="shipped:image-tiny", help="weights folder (default shipped:image-tiny)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table (JSON, CSV) and the picture")
    parser.add_argument("--redraw", type=float, default=0.3, help="strength of the model's redraw; 0: no such row")
    parser.add_argument("--steps", type=positive, default=10, help="of drawing (default 10)")
    parser.add_argument("--limit", type=positive, help="only the first so many people")
    parser.add_argument("--batch-size", type=positive, default=10, help="people at a time (default 10)")
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")
