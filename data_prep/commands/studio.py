"""``python -m data_prep studio``: pictures of random people with exact depth, in shards
(:mod:`data_prep.studio.people`, :mod:`data_prep.engines.studio`).
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console

from data_prep.choices import MAX_PEOPLE, SPLIT_START
from data_prep.engines.options import read_engine
from data_prep.engines.run import told_if_full
from data_prep.engines.studio import photograph_people
from data_prep.studio.looks.backdrop import find_pictures
from data_prep.studio.people import PersonJob
from data_prep.studio.sheet import PEOPLE, ContactSheet
from data_prep.studio.speech.sheet import TalkSheet
from jdap.commands.dispatch import ended_by_sigterm

#: A face is about 100 mm deep.
MOST_STEP_MM = 10.0


class StudioError(ValueError):
    """Arguments that ask for what the studio cannot make."""


def run(args: argparse.Namespace) -> int:
    """Write the shards that are not there yet.

    Raises :class:`StudioError` for arguments out of range, :class:`data_prep.engines.plan.PrepareError` for a folder
    that holds something else.
    """
    for name, low in (("people", 1), ("frames", 1), ("size", 16), ("seed", 0), ("first", 0)):
        if getattr(args, name) < low:
            raise StudioError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    step = args.depth_step_mm
    if not 0 <= step <= MOST_STEP_MM or abs(step * 10 - round(step * 10)) > 1e-6:
        raise StudioError(f"--depth-step-mm must be tenths (0.1, 0.2, …), {MOST_STEP_MM:g} at most, got {step:g}")
    if args.first + args.people > MAX_PEOPLE:
        raise StudioError(f"a split has {MAX_PEOPLE} people; --first {args.first} --people {args.people} goes beyond")
    if args.device.startswith("cuda") and args.engine != "ray" and not torch.cuda.is_available():
        raise StudioError(f"--device {args.device}: torch finds no GPU here; use --device cpu")
    first = SPLIT_START[args.split] + args.first
    job = PersonJob(
        args.seed,
        args.frames,
        args.size,
        args.kind,
        args.mean_head,
        find_pictures(args.backgrounds) if args.backgrounds else (),
        args.truth,
        args.relight,
        args.shadows,
        args.depth_step_mm,
    )
    engine, _ = read_engine(args, workers=0)
    console = Console()
    sheet = (TalkSheet() if args.kind == "talk" else ContactSheet()) if args.sheet else None
    first_people = 1 if args.kind == "talk" else PEOPLE
    started = time.perf_counter()
    with ended_by_sigterm(), told_if_full(args.out):
        done = photograph_people(
            job,
            range(first, first + args.people),
            args.out,
            engine,
            device=args.device,
            retries=args.retries,
            overwrite=args.overwrite,
            retry=args.retry == "failed",
            limit_s=args.video_timeout,
            scratch_root=args.scratch,
            first=first_people if sheet else 0,
            show=sheet.add if sheet else lambda sample: None,
            note=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    if sheet:
        sheet.save(args.sheet)
    console.print(
        f"{args.out}: {done.kept} people, {done.frames} frames, {done.made} units in "
        f"{time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else ""),
        markup=False,
        soft_wrap=True,
    )
    return 0
