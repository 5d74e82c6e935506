"""``python -m data_prep hold-out SHARDS --out DIR --share 0.2``: shards → ``DIR/train`` and ``DIR/test``, by time."""

from __future__ import annotations

import argparse

from rich.console import Console

from data_prep.folders.hold_out import HoldOutError, hold_out


def run(args: argparse.Namespace) -> int:
    """Split, and print how many frames there are of what."""
    if not 0 < args.share < 1 or not args.gap >= 0:
        raise HoldOutError(f"--share must lie between 0 and 1, --gap be at least 0; got {args.share} and {args.gap}")
    done = hold_out(args.shards, args.out, args.share, args.gap)
    whose = f"{len(done.people)} people" if len(done.people) > 1 else "one person"
    Console().print(
        f"{args.out}: of {whose} {done.train} frames to train on, {done.test} kept aside, {done.between} between them "
        "left out",
        markup=False,
        soft_wrap=True,
    )
    return 0
