"""``python -m data_prep select DIR --min sharpness=20``: judge clips again (:mod:`data_prep.engines.select`)."""

from __future__ import annotations

import argparse

from rich.console import Console

from data_prep.clips.quality import parse_thresholds
from data_prep.engines.select import select_again


def run(args: argparse.Namespace) -> int:
    """Select, and print what changed."""
    outcome = select_again(args.folder, parse_thresholds(args.min, args.max), args.duplicates)
    Console().print(
        f"{args.folder}: {outcome.kept} clips kept, {outcome.held} held; {outcome.admitted} were admitted, "
        f"{outcome.put_aside} put aside, {outcome.units} units written anew",
        markup=False,
        soft_wrap=True,
    )
    return 0
