"""Options of ``python -m benchmarks speed``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import CLOCKS, SPEED_DTYPES, SPEED_PARTS, TARGET_WIDTHS
from benchmarks.options.arguments import add_device, numbers, positive, refuse_unread, words_of

#: Option → the parts that read it.
SPEED_READ_BY = {
    "sizes": {"training", "sampling"},
    "widths": {"training", "sampling"},
    "batch": {"training"},
    "steps": {"sampling"},
    "throughput_steps": {"throughput"},
    "dtype": {"training", "sampling", "throughput"},
    "clock": {"training", "sampling", "precision"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    widths = ",".join(map(str, TARGET_WIDTHS))
    parser.add_argument("--out", type=Path, required=True, help="folder for speed.json")
    parser.add_argument(
        "--parts", type=words_of(SPEED_PARTS), default=SPEED_PARTS, help=f"of {', '.join(SPEED_PARTS)} (default all)"
    )
    add_device(parser)
    parser.add_argument("--dtype", choices=SPEED_DTYPES, default="float32", help="bfloat16: autocast (default float32)")
    parser.add_argument("--sizes", type=numbers, default=(32, 64), help="latent cells a side (default 32,64)")
    parser.add_argument("--widths", type=numbers, default=TARGET_WIDTHS, help=f"of the UNets (default {widths})")
    parser.add_argument("--batch", type=positive, default=1, help="pictures of a training step (default 1)")
    parser.add_argument("--steps", type=positive, default=20, help="of sampling (default 20)")
    parser.add_argument("--repeats", type=positive, default=5, help="measured rounds (default 5)")
    parser.add_argument("--throughput-steps", type=positive, default=20, help="of a training run (default 20)")
    parser.add_argument("--clock", choices=CLOCKS, help="of the ratios (default processor on a CPU, wall elsewhere)")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    refuse_unread(args, parser, SPEED_READ_BY)
