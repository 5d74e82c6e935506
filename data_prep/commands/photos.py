"""``python -m data_prep photos FOLDER_OR_LIST… --out DIR_OR_URL``: photos of people → shards with fitted depth
(:mod:`data_prep.engines.photos`).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.clips.steps.settings import BLACK, EDGE, REJECT, SINGLE, add_thresholds, read_settings
from data_prep.engines.options import add_engine, read_engine
from data_prep.engines.photos import prepare_photos
from data_prep.engines.plan import UNIT_BYTES, PrepareError
from data_prep.engines.records import SHEETS, Row
from data_prep.engines.run import told_if_full
from data_prep.photos.find import ALL, EACH, FOLDER, SPLITS
from data_prep.photos.settings import WIDEST, PhotoSettings
from jdap.commands.dispatch import ended_by_sigterm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep photos``."""
    parser.description = "Photos of people to shards with fitted depth, one identity a person. Run again, it goes on."
    inputs = "a folder, which is searched; a picture; or a CSV with the columns file and person"
    parser.add_argument("inputs", nargs="+", metavar="FOLDER_OR_LIST", help=inputs)
    parser.add_argument("--out", required=True, help="folder or URL for shards, manifest.jsonl and contact/")
    who = f"a folder's pictures are one person's ({FOLDER}), or {EACH} is somebody else's (default {FOLDER})"
    parser.add_argument("--people", choices=(FOLDER, EACH), default=FOLDER, help=who)
    parts = "only the people of this split, by a hash of their names: 80, 10 and 10 % (default all)"
    parser.add_argument("--split", choices=SPLITS, default=ALL, help=parts)
    parser.add_argument("--size", type=int, default=512, help="side of the stored pictures, pixels (default 512)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the fit and the renderer (default cpu)")
    parser.add_argument("--face-model", default="", metavar="FILE", help="head model, by convert-model (default: ICT)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    faces = f"several faces: the {WIDEST}, where it stands out, or none ({SINGLE}); default {WIDEST}"
    parser.add_argument("--faces", choices=(WIDEST, SINGLE), default=WIDEST, help=faces)
    parser.add_argument("--padding", choices=(EDGE, BLACK, REJECT), default=EDGE, help="what lies outside a picture")
    add_thresholds(parser)
    parser.add_argument("--no-hold", action="store_true", help="do not store pictures that fail a threshold")
    parser.add_argument("--overwrite", action="store_true", help="delete what was made in the folder, start anew")
    parser.add_argument("--unit-mb", type=int, default=UNIT_BYTES >> 20, help="MB of a shard, about (default 64)")
    add_engine(parser, "processes (default 1; 0 = this one) or Ray's (default all)")
    parser.set_defaults(sync_weights="")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the pictures; 0 when every picture has its row or is part of one."""
    settings, (engine, source) = PhotoSettings(**asdict(read_settings(args))), read_engine(args, workers=1)
    if args.unit_mb < 1:
        raise PrepareError(f"--unit-mb must be at least 1, got {args.unit_mb}")
    console = Console()

    def tell(row: Row) -> None:
        if row["status"] != KEPT:
            line = f"{row['status']}: {row['source']}: {row['reason']}"
            console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)

    started = time.perf_counter()
    with ended_by_sigterm(), told_if_full(args.out):
        done = prepare_photos(
            args.inputs,
            args.out,
            settings,
            engine,
            by=args.people,
            split=args.split,
            unit_bytes=args.unit_mb << 20,
            retries=args.retries,
            overwrite=args.overwrite,
            retry=args.retry == "failed",
            limit_s=args.video_timeout,
            scratch_root=args.scratch,
            tell=tell,
            note=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    who = f"rank {engine.rank} of {engine.world} (from {source}): " if engine.world > 1 else ""
    console.print(
        f"{args.out}: {who}{done.frames} pictures of {done.kept} people kept, {done.clips} rows, {done.made} units in "
        f"{time.perf_counter() - started:.0f} s"
        + (f"; {done.there} were there" if done.there else "")
        + (f"; {done.others} are other ranks'" if done.others else "")
        + (f"; {done.open} rows failed by no fault of theirs: run it again with --retry failed" if done.open else "")
        + f"; look at {args.out}/{SHEETS}/index.html",
        markup=False,
        soft_wrap=True,
    )
    return 0
