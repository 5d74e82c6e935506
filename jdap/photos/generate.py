"""``jdap generate --reference IMAGE --out DIR``: new portraits of the person in a photo, with their depth.

For each reference NAME and seed K: ``NAME.seedK.png`` (the portrait), ``NAME.seedK.depth.png`` (16-bit, encoded as by
``jdap depth``), and once ``NAME.preview.png`` (reference, portraits, depth in colour) and ``NAME.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from jdap.files import write_whole
from jdap.photos import command, paste, window
from jdap.photos.read import read_photo
from jdap.pipelines.grid import depth_picture, labelled_grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap generate``."""
    parser.description = "New portraits of the person in a photo, with their depth."
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, metavar="IMAGE", help="photos, or folders of photos"
    )
    command.add_arguments(parser, steps=20)
    parser.add_argument("--count", type=command.positive, default=1, help="portraits of each, of seeds K, K + 1 …")
    parser.add_argument("--guidance", type=float, default=1.0, help="strength of the reference (default 1: as trained)")


def run(args: argparse.Namespace) -> int:
    """Work on all references; the exit status is 0, or 1 when any failed."""
    if args.several == window.ALL:
        raise command.CommandError("--several all: a portrait has one reference; choose the face with --box")
    pipeline = command.load(args)
    made_by = command.describe(args, pipeline) | {"guidance": args.guidance}
    with command.choosing(args) as choose:

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            chosen = choose(photo, path)
            (window_px,) = chosen.windows_px
            reference = command.cropped(pipeline, photo, window_px)
            files: list[str] = []
            columns, labels = [reference], ["reference"]
            for seed in range(args.seed, args.seed + args.count):
                generator = torch.Generator().manual_seed(seed)
                made = pipeline.generate(reference, steps=args.steps, guidance=args.guidance, generator=generator)
                rgb = ((made.rgb[0].float().permute(1, 2, 0) + 1) * 127.5).round().byte().cpu().numpy()
                files += [f"{name}.seed{seed}.png", f"{name}.seed{seed}.depth.png"]
                write_whole(args.out / files[-2], paste.png(np.ascontiguousarray(rgb)))
                write_whole(args.out / files[-1], paste.png(paste.encode(made.depth[0, 0].float().cpu().numpy())))
                columns += [made.rgb, depth_picture(made.depth)]
                labels += [f"seed {seed}", "depth"]
            files += [f"{name}.preview.png", f"{name}.json"]
            write_whole(args.out / files[-2], paste.png(labelled_grid(columns, labels)))
            notes = [*photo.notes, *chosen.notes]
            data = command.source(path, photo, chosen, window_px) | {
                "depth": paste.FRAME,
                "made_by": made_by,
                "notes": notes,
            }
            command.write_json(args.out / files[-1], data)
            return files, notes

        return command.run_all(args.reference, args.out, work)
