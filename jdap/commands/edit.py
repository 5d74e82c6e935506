"""``jdap edit IMAGE --part PART… --out DIR``: parts of a head made anew, with its depth, by name or by a mask.

For photo NAME: ``NAME.edit.png`` (the photo; pixels outside of the mask and its feather are the photo's own) and
``NAME.edit.depth.png`` (16-bit, encoded as by ``jdap depth``), ``NAME.edit2.png`` … of further variants, and once
``NAME.edit.preview.png`` and ``NAME.edit.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jdap import choices
from jdap.commands.arguments import CommandError, add_depth, add_drawing_arguments, positive, refuse_idle, within
from jdap.photos.made import Made

if TYPE_CHECKING:
    import numpy as np

    from jdap.faces.landmarker import Landmarker
    from jdap.faces.parsing import Parser
    from jdap.photos.read import Photo

#: How much of the head's depth is kept.
OUTSIDE, WHOLE, NOWHERE = "outside", "all", "none"
#: Options that name files, for metadata.
GIVEN = ("mask", "depth", "reference")
#: Pixels of a photo that a mask may grow or fade by.
MOST_PX = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap edit``."""
    parser.description = "Parts of a head in a photo made anew: by name, or where a mask is white."
    parser.add_argument("photo", type=Path, metavar="IMAGE", help="a photo")
    parser.add_argument(
        "--part",
        choices=choices.HEAD_PARTS,
        action="append",
        default=[],
        help="what is made anew; may be given several times",
    )
    parser.add_argument("--mask", type=Path, help="picture of the photo's size: what is white is made anew, too")
    pixels = within(0, MOST_PX)
    parser.add_argument("--grow", type=pixels, default=0.0, metavar="PX", help="pixels that parts grow by (default 0)")
    parser.add_argument(
        "--feather", type=pixels, default=0.0, metavar="PX", help="pixels over which kept parts fade in (default 0)"
    )
    parser.add_argument("--variants", type=positive, default=1, metavar="N", help="of seeds K, K + 1 … (default 1)")
    add_depth(parser, "the photo's depth; without it, it is estimated")
    parser.add_argument(
        "--keep-depth",
        choices=(OUTSIDE, WHOLE, NOWHERE),
        default=OUTSIDE,
        help="depth that is kept: outside of the mask (default), all (new looks on the old shape), or none",
    )
    parser.add_argument(
        "--reference", type=Path, help="another photo of the person (default: what of this one is kept)"
    )
    parser.add_argument(
        "--parser",
        default=choices.SHIPPED_PARSER,
        metavar=f"{choices.SHIPPED_PARSER}|FILE.onnx",
        help="what tells parts apart (default: the one that ships)",
    )
    add_drawing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make them; the exit status is 0, or 1 when the photo failed."""
    import numpy as np
    import torch

    from jdap.commands import common as command
    from jdap.faces.parser import load_parser
    from jdap.io.files import write_whole
    from jdap.photos import head, inputs, paste
    from jdap.photos.read import PhotoError, read_photo
    from jdap.pipelines.grid import depth_picture, labelled_grid

    parser = load_parser(args.parser) if args.part else None
    pipeline = command.load(args)
    how = {"steps": args.steps, "guidance": args.guidance, "method": args.method, "resample": args.resample}
    made_by = command.describe(args, pipeline) | how | {"keep_depth": args.keep_depth}
    made_by |= {"parts": args.part, "grow_px": args.grow, "feather_px": args.feather, "parser": args.parser}
    with command.choosing(args) as (choose, choose_other):

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            drawn_HW = None if args.mask is None else inputs.read_mask(args.mask, photo)
            chosen = choose(photo, path)
            photo = chosen.photo
            (window_px,) = chosen.windows_px
            hole_HW = _hole(args, photo, path, window_px, drawn_HW, parser)
            rgb = head.cropped(pipeline, photo, window_px)
            hole = torch.from_numpy(inputs.crop_mask(hole_HW, window_px, pipeline.size_px))[None, None].to(rgb.device)
            if not hole.any():
                raise PhotoError(f"{args.mask}: no white pixel lies in the head's window; see window_px of jdap depth")
            # At the photo's resolution: cropping would carry what is hidden over the mask's edge.
            kept = head.cropped(pipeline, inputs.filled(photo, hole_HW), window_px)
            reference = kept
            if args.reference is not None:
                other = read_photo(args.reference)
                shown_other = choose_other(other, args.reference)
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
            for k in range(args.variants):
                generator = torch.Generator().manual_seed(args.seed + k)
                made = pipeline.edit(kept, depth, ~hole, known_depth, reference=reference, generator=generator, **how)
                files += [Made.EDIT.of(name, end, k + 1 if k else None) for end in ("png", "depth.png")]
                edited = paste.on_photo(made.rgb, window_px, photo, hole_HW, args.feather)
                depth_SS = made.depth[0, 0].float().cpu().numpy()
                write_whole(args.out / files[-2], paste.png(edited))
                write_whole(args.out / files[-1], paste.png(paste.full_depth(depth_SS, window_px, photo)))
                seen = head.cropped(pipeline, _with(photo, edited), window_px)
                columns += [seen, depth_picture(made.depth)]
                labels += [f"seed {args.seed + k}", "depth"]
            files += [Made.EDIT.of(name, end) for end in ("preview.png", "json")]
            write_whole(args.out / files[-2], paste.png(labelled_grid(columns, labels)))
            notes = [*photo.notes, *chosen.notes]
            data = command.source(path, photo, chosen, window_px) | {
                "given": {k: None if v is None else str(v) for k, v in vars(args).items() if k in GIVEN},
                "seeds": list(range(args.seed, args.seed + args.variants)),
                "made_anew": round(float(np.mean(hole_HW)), 5),
                "depth": {"files": [file for file in files if file.endswith("depth.png")], **paste.FRAME},
                "made_by": made_by,
                "notes": notes,
            }
            command.write_json(args.out / files[-1], data)
            return files, notes

        return command.run_all([args.photo], args.out, Made.EDIT, work)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for what says too little, or contradicts, and for options that would do nothing."""
    if not args.part and args.mask is None:
        raise CommandError("say what is made anew: --part eyes (or another part, or several), or --mask MASK")
    if args.several == choices.EVERY_FACE:
        raise CommandError("--several all: one head is edited; choose it with --box")
    if not args.part:
        refuse_idle(args, parser, ("parser",), "without --part")
    elif args.parser == choices.NO_PARSER:
        raise CommandError(f"--parser {args.parser}: parts need one; name {choices.SHIPPED_PARSER} or a file .onnx")


def _hole(
    args: argparse.Namespace,
    photo: Photo,
    path: Path,
    window_px: np.ndarray,
    drawn_HW: np.ndarray | None,
    parser: Parser | None,
) -> np.ndarray:
    """(H, W) bool: what is made anew of the upright photo, by parts and by the mask (of the photo as it was read)."""
    import contextlib

    import numpy as np

    from jdap.commands.common import landmarks
    from jdap.photos.parts import BY_LANDMARKS, grown, mask_parts

    found = np.zeros((photo.height, photo.width), dtype=bool)
    if args.part:
        assert parser is not None
        needed = BY_LANDMARKS & set(args.part)
        finder: contextlib.AbstractContextManager[Landmarker | None]
        finder = landmarks() if needed else contextlib.nullcontext()
        with finder as landmarker:
            found = grown(mask_parts(photo, path, window_px, args.part, parser, landmarker), args.grow)
    if drawn_HW is not None:
        found = found | grown(np.ascontiguousarray(np.rot90(drawn_HW, photo.turned)), args.grow)
    return found


def _with(photo: Photo, rgb_HW3: np.ndarray) -> Photo:
    """The photo with other pixels."""
    from dataclasses import replace

    return replace(photo, rgb_HW3=rgb_HW3)
