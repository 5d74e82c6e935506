"""Options of ``python -m benchmarks audit``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.options.arguments import add_device, positive
from jdap.choices import GUIDANCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--weights", default="shipped:image-tiny", help="weights folder (default shipped:image-tiny)")
    parser.add_argument("--estimator", help="weights that estimate depth again from drawn pictures (default: the same)")
    parser.add_argument(
        "--shards", default="shipped:shards/test", help="whose references (default shipped:shards/test)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for audit.json, audit.csv and audit.png")
    parser.add_argument("--count", type=positive, default=100, help="samples, one a person (default 100)")
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (default 20)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"of the reference (default {GUIDANCE:g})")
    parser.add_argument("--batch-size", type=positive, default=10, help="samples at a time (default 10)")
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")
