"""``jdap edit IMAGE --mask MASK --out DIR``: parts of a head made anew, with its depth.

For photo NAME and seed K: ``NAME.seedK.png`` (the photo; pixels outside of the mask are the photo's own),
``NAME.seedK.depth.png`` (16-bit, encoded as by ``jdap depth``), and once ``NAME.preview.png`` and ``NAME.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jdap import choices
from jdap.commands.arguments import CommandError, add_drawing_arguments

#: How much of the head's depth is kept.
OUTSIDE, WHOLE, NOWHERE = "outside", "all", "none"
#: Options that name files, for metadata.
GIVEN = ("mask", "depth", "reference")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap edit``."""
    parser.description = "Parts of a head in a photo made anew: what is white in a mask."
    parser.add_argument("photo", type=Path, metavar="IMAGE", help="a photo")
    parser.add_argument(
        "--mask", type=Path, required=True, help="picture of the photo's size: what is white is made anew"
    )
    parser.add_argument("--depth", type=Path, help="the photo's depth (16-bit PNG); without it, it is estimated")
    parser.add_argument(
        "--keep-depth",
        choices=(OUTSIDE, WHOLE, NOWHERE),
        default=OUTSIDE,
        help="depth that is kept: outside of the mask (default), all (new looks on the old shape), or none",
    )
    parser.add_argument(
        "--reference", type=Path, help="another photo of the person (default: what of this one is kept)"
    )
    parser.add_argument("--feather", type=float, default=0.0, help="pixels over which kept parts fade in (default 0)")
    add_drawing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make them; the exit status is 0, or 1 when the photo failed."""
    import numpy as np
    import torch

    from jdap.commands import common as command
    from jdap.io.files import write_whole
    from jdap.photos import head, inputs, paste
    from jdap.photos.read import PhotoError, read_photo
    from jdap.pipelines.grid import depth_picture, labelled_grid

    if args.several == choices.EVERY_FACE:
        raise CommandError("--several all: one head is edited; choose it with --box")
    if args.feather < 0:
        raise CommandError(f"--feather must be 0 or more, got {args.feather:g}")
    pipeline = command.load(args)
    how = {"steps": args.steps, "guidance": args.guidance, "method": args.method, "resample": args.resample}
    made_by = command.describe(args, pipeline) | how | {"keep_depth": args.keep_depth, "feather_px": args.feather}
    with command.choosing(args) as choose:

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            hole_HW = inputs.read_mask(args.mask, photo)
            chosen = choose(photo, path)
            photo = chosen.photo
            hole_HW = np.ascontiguousarray(np.rot90(hole_HW, photo.turned))
            (window_px,) = chosen.windows_px
            rgb = head.cropped(pipeline, photo, window_px)
            hole = torch.from_numpy(inputs.crop_mask(hole_HW, window_px, pipeline.size_px))[None, None].to(rgb.device)
            if not hole.any():
                raise PhotoError(f"{args.mask}: no white pixel lies in the head's window; see window_px of jdap depth")
            # At the photo's resolution: cropping would carry what is hidden over the mask's edge.
            kept = head.cropped(pipeline, inputs.filled(photo, hole_HW), window_px)
            reference = kept
            if args.reference is not None:
                other = read_photo(args.reference)
                shown_other = choose(other, args.reference)
                reference = head.cropped(pipeline, shown_other.photo, shown_other.windows_px[0])
            if args.depth is not None:
                depth = torch.from_numpy(inputs.read_depth(args.depth, pipeline.size_px).copy())[None, None].to(rgb)
            else:
                # Of what is kept alone, unless the shape under the mask is what is wanted.
                shown = rgb if args.keep_depth == WHOLE else kept
                depth = pipeline.image_to_depth(shown, generator=torch.Generator().manual_seed(args.seed)).depth
            known_depth = {OUTSIDE: ~hole, WHOLE: torch.ones_like(hole), NOWHERE: torch.zeros_like(hole)}[
                args.keep_depth
            ]
            files: list[str] = []
            columns, labels = [rgb, torch.where(hole, -0.2, rgb)], ["photo", "kept"]
            for seed in range(args.seed, args.seed + args.count):
                generator = torch.Generator().manual_seed(seed)
                made = pipeline.edit(kept, depth, ~hole, known_depth, reference=reference, generator=generator, **how)
                files += [f"{name}.seed{seed}.png", f"{name}.seed{seed}.depth.png"]
                edited = paste.on_photo(made.rgb, window_px, photo, hole_HW, args.feather)
                depth_SS = made.depth[0, 0].float().cpu().numpy()
                write_whole(args.out / files[-2], paste.png(edited))
                write_whole(args.out / files[-1], paste.png(paste.full_depth(depth_SS, window_px, photo)))
                columns += [made.rgb, depth_picture(made.depth)]
                labels += [f"seed {seed}", "depth"]
            files += [f"{name}.preview.png", f"{name}.json"]
            write_whole(args.out / files[-2], paste.png(labelled_grid(columns, labels)))
            notes = [*photo.notes, *chosen.notes]
            data = command.source(path, photo, chosen, window_px) | {
                "given": {k: None if v is None else str(v) for k, v in vars(args).items() if k in GIVEN},
                "depth": paste.FRAME,
                "made_by": made_by,
                "notes": notes,
            }
            command.write_json(args.out / files[-1], data)
            return files, notes

        return command.run_all([args.photo], args.out, work)
