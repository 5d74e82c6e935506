"""Options of ``python -m benchmarks scale``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import METHOD_NAMES
from jdap.commands.arguments import positive

#: In whose frame errors are (:mod:`jdap.metrics.depth`).
SCALE_FRAMES = ("normalised", "metric", "paper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "runs",
        type=run_of,
        nargs="+",
        metavar="NAME:NUMBER=FOLDER",
        help="what `benchmarks depth` wrote of a model that NUMBER people (or whatever is counted) had trained; the "
        "same NAME:NUMBER again is another seed",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for scale.json and scale.csv")
    parser.add_argument("--across", default="people", help="what NUMBER counts (default people)")
    parser.add_argument("--method", choices=METHOD_NAMES, default="jdap", help="whose errors (default jdap)")
    parser.add_argument("--frame", choices=SCALE_FRAMES, default=SCALE_FRAMES[0], help="of RMSE (default normalised)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")


def run_of(text: str) -> tuple[str, int, Path]:
    """``NAME:NUMBER=FOLDER`` as an argument."""
    left, _, folder = text.partition("=")
    name, _, number = left.rpartition(":")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"must be NAME:NUMBER=FOLDER, got {text!r}")
    return name, positive(number), Path(folder)
