"""``python -m data_prep studio``: pictures of random people with exact depth, in shards
(:mod:`data_prep.studio.people`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.studio.looks.backdrop import find_pictures
from data_prep.studio.people import KINDS, MAX_PEOPLE, SPLIT_START, Job, make_samples
from data_prep.studio.sheet import ContactSheet
from data_prep.studio.speech.sheet import TalkSheet
from jdap.shards.writer import ShardWriter


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
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    kind = parser.add_mutually_exclusive_group()
    for name, does in KINDS.items():
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=does)
    parser.add_argument("--split", choices=tuple(SPLIT_START), default="train", help="whose people (default train)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    parser.add_argument("--truth", action="store_true", help="store normals, albedo, parts, openness and light too")
    parser.add_argument("--relight", action="store_true", help="store each frame once more, in other light")
    parser.add_argument("--no-shadows", dest="shadows", action="store_false", help="light without shadows: faster")
    parser.add_argument("--backgrounds", type=Path, help="folder of pictures to set half of the heads before")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--sheet", type=Path, help="also draw the first people (--talk: the first clip) on a PNG")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.set_defaults(kind="stills")


def run(args: argparse.Namespace) -> int:
    """Write the shards.

    Raises :class:`StudioError` for arguments out of range, FileExistsError for a folder that has such shards already.
    """
    for name, low in (("people", 1), ("frames", 1), ("size", 16), ("seed", 0), ("first", 0), ("workers", 1)):
        if getattr(args, name) < low:
            raise StudioError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    if args.first + args.people > MAX_PEOPLE:
        raise StudioError(f"a split has {MAX_PEOPLE} people; --first {args.first} --people {args.people} goes beyond")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise StudioError(f"--device {args.device}: torch finds no GPU here; use --device cpu")
    first = SPLIT_START[args.split] + args.first
    job = Job(
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
    sheet = (TalkSheet() if args.kind == "talk" else ContactSheet()) if args.sheet else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    prefix = f"{args.kind}-{args.split}-{args.seed}"
    with (
        ShardWriter(args.out, prefix) as writer,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("photographing", total=args.people)
        for sample, seconds in make_samples(job, range(first, first + args.people), args.device, args.workers):
            writer.add_seconds("render", seconds)
            started = time.perf_counter()
            writer.write(sample)
            writer.add_seconds("write", time.perf_counter() - started)
            if sheet:
                sheet.add(sample)
            progress.advance(task)
    if sheet:
        sheet.save(args.sheet)
    frames = args.people * args.frames
    size = sum(path.stat().st_size for path in writer.shards)
    Console().print(
        f"{args.people} people, {frames} frames, {size / 1e6:.1f} MB ({size / frames / 1e3:.1f} kB a frame)"
    )
    return 0
