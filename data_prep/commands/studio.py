"""``python -m data_prep studio``: pictures of random people with exact depth, in shards
(:mod:`data_prep.studio.people`, :mod:`data_prep.engines.studio`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console

from data_prep.engines.options import add_engine, read_engine
from data_prep.engines.run import told_if_full
from data_prep.engines.studio import photograph_people
from data_prep.studio.looks.backdrop import find_pictures
from data_prep.studio.people import MAX_PEOPLE, SPLIT_START, STUDIO_KINDS, PersonJob
from data_prep.studio.sheet import PEOPLE, ContactSheet
from data_prep.studio.speech.sheet import TalkSheet
from jdap.commands.dispatch import ended_by_sigterm


class StudioError(ValueError):
    """Arguments that ask for what the studio cannot make."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep studio``."""
    parser.description = "Shards of random people with exact depth."
    parser.add_argument("--people", type=int, required=True, help="how many; one sample each")
    parser.add_argument("--frames", type=int, default=2, help="frames of each person (default 2)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, pixels (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="(seed, index) makes a person (default 0)")
    parser.add_argument("--first", type=int, default=0, help="first person of the split to make (default 0)")
    parser.add_argument("--out", required=True, help="folder or URL for the shards; run again, it goes on")
    parser.add_argument("--overwrite", action="store_true", help="delete what was made in the folder, start anew")
    kind = parser.add_mutually_exclusive_group()
    for name, does in STUDIO_KINDS.items():
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=does)
    parser.add_argument("--split", choices=tuple(SPLIT_START), default="train", help="whose people (default train)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    parser.add_argument("--truth", action="store_true", help="store normals, albedo, parts, openness and light too")
    parser.add_argument("--relight", action="store_true", help="store each frame once more, in other light")
    parser.add_argument("--no-shadows", dest="shadows", action="store_false", help="light without shadows: faster")
    parser.add_argument("--backgrounds", type=Path, help="folder of pictures to set half of the heads before")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--sheet", type=Path, help="also draw the first people (--talk: the first clip) on a PNG")
    add_engine(parser, "processes (default: this one) or Ray's (default all)")
    parser.set_defaults(kind="stills")


def run(args: argparse.Namespace) -> int:
    """Write the shards that are not there yet.

    Raises :class:`StudioError` for arguments out of range, :class:`data_prep.engines.plan.PrepareError` for a folder
    that holds something else.
    """
    for name, low in (("people", 1), ("frames", 1), ("size", 16), ("seed", 0), ("first", 0)):
        if getattr(args, name) < low:
            raise StudioError(f"--{name} must be at least {low}, got {getattr(args, name)}")
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
