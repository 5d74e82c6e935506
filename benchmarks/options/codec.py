"""Options of ``python -m benchmarks codec``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.options.arguments import numbers
from jdap.configs import CONFIGS
from jdap.io.fetch import ENVIRONMENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    assets = os.environ.get(ENVIRONMENT)
    photos = Path(assets) / "portraits" if assets and (Path(assets) / "portraits").is_dir() else None
    parser.add_argument("--train", default="shipped:shards/train", help="training shards (default: those that ship)")
    parser.add_argument("--test", default="shipped:shards/test", help="held-out people (default: those that ship)")
    parser.add_argument("--photos", type=Path, default=photos, help="folder of photographs to code as well")
    parser.add_argument("--config", type=Path, default=CONFIGS / "codec-tiny.yaml", help="recipe (default codec-tiny)")
    parser.add_argument("--factors", type=int, nargs="+", default=[4, 8], help="pixels per latent cell (default 4 8)")
    parser.add_argument("--channels", type=int, nargs="+", default=[3, 4, 8], help="of a latent (default 3 4 8)")
    parser.add_argument(
        "--widths",
        type=numbers,
        nargs="+",
        metavar="W[,W]",
        default=[None],
        help="channels at each resolution, finest first, as in 96 64,128 (default: the recipe's)",
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 120, 240], help="marks (default 60 120 240)")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each call, best taken (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, pictures and noise (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for codec.json, .csv, .md and .png")
