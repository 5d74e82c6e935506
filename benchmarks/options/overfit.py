"""Options of ``python -m benchmarks overfit``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--weights", required=True, help="weights folder of a model trained on --shards alone")
    parser.add_argument("--shards", required=True, help="shards that hold one sample: a person's pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for overfit.json and overfit.png")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise (default 0)")
