"""``jdap generate --reference IMAGE --out DIR``: new portraits of the person in a photo, with their depth.

The reference is moved to where the drawn depth has a head; the model draws by it, and its face is put on (``--face``,
docs/likeness.md). Where no face is found in the one or the other it stays as the model drew it, and the row says so.

With ``--depth FILE`` that depth is given, and portraits are made for it (depth-to-image).

For each reference NAME and seed K: ``NAME.seedK.png`` (the portrait), ``NAME.seedK.depth.png`` (16-bit, encoded as by
``jdap depth``; not where depth is given), and once ``NAME.seed.preview.png`` (reference, portraits, depth in
colour) and ``NAME.seed.json``.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from jdap.choices import DEPTH_FIRST, EVERY_FACE, MODEL_FACE, REFERENCE_FACE, SHOWN_FACE, WHOSE_FACE
from jdap.commands.arguments import CommandError, add_depth, add_drawing_arguments, positive, refuse_idle, within
from jdap.photos.made import Made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap generate``."""
    parser.description = "New portraits of the person in a photo, with their depth."
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, metavar="IMAGE", help="photos, or folders of photos"
    )
    add_depth(parser, "depth that is given")
    add_drawing_arguments(parser)
    parser.add_argument(
        "--depth-first",
        type=within(0, 0.99),
        default=DEPTH_FIRST,
        metavar="S",
        help=f"share of the steps that draw the depth, before the picture is drawn for it; 0: both together, in all "
        f"steps (default {DEPTH_FIRST:g})",
    )
    parser.add_argument(
        "--best-of",
        type=positive,
        default=1,
        metavar="N",
        help="draws of each portrait, of which the one is kept whose picture and depth agree best (default 1)",
    )
    parser.add_argument(
        "--face",
        choices=WHOSE_FACE,
        help=f"{REFERENCE_FACE}: its texture, moved onto the head that is drawn (default where faces are looked for); "
        f"{SHOWN_FACE}: as the model draws it, shown the reference where that head is; {MODEL_FACE}: as it draws it of "
        "the reference as that is",
    )
    parser.add_argument("--count", type=positive, default=1, help="pictures of each, of seeds K, K + 1 …")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for what contradicts, and for options that would do nothing."""
    if args.several == EVERY_FACE:
        raise CommandError("--several all: a portrait has one reference; choose the face with --box")
    if args.depth is None:
        refuse_idle(args, parser, ("method", "resample"), "without --depth")
    else:
        refuse_idle(args, parser, ("depth_first", "best_of"), "with --depth")


def run(args: argparse.Namespace) -> int:
    """Work on all references; the exit status is 0, or 1 when any failed."""
    import numpy as np
    import torch

    from jdap.commands import common as command
    from jdap.depth import to_uint16
    from jdap.io.files import write_whole
    from jdap.photos import head, inputs, paste
    from jdap.photos.read import read_photo
    from jdap.pipelines.grid import depth_picture, labelled_grid
    from jdap.pipelines.portrait import Portrait
    from jdap.pose.likeness import face_in_photo, keep_likeness, reference_mover

    pipeline = command.load(args)
    shows = pipeline.likeness_net is not None and (
        args.depth is not None or pipeline.steps_of_depth(args.steps, args.depth_first) < args.steps
    )
    if args.face == SHOWN_FACE and not shows:
        raise CommandError(
            f"--face {SHOWN_FACE}: it takes weights with a likeness_net, and depth that is drawn first (--depth-first)"
        )
    how = {"steps": args.steps, "guidance": args.guidance}
    made_by = command.describe(args, pipeline) | how
    depth = None
    if args.depth is None:
        how |= {"depth_first": args.depth_first, "best_of": args.best_of}
        made_by |= how
    else:
        depth = torch.from_numpy(inputs.read_depth(args.depth, pipeline.size_px).copy())[None, None].to(pipeline.device)
        how |= {"method": args.method, "resample": args.resample}
        made_by |= {"depth": str(args.depth), **how}
    with contextlib.ExitStack() as stack:
        choose, _ = stack.enter_context(command.choosing(args))
        heads = stack.enter_context(command.keeping_faces(args))

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            chosen = choose(photo, path)
            photo = chosen.photo
            (window_px,) = chosen.windows_px
            reference = head.cropped(pipeline, photo, window_px)
            face = None if heads is None else face_in_photo(heads, photo, window_px)
            move = reference_mover(heads, [face]) if heads is not None and face is not None and shows else None
            kept: dict[str, bool] = {}
            files: list[str] = []
            columns, labels = [reference], ["reference"]
            if depth is not None:
                columns, labels = [*columns, depth_picture(depth)], [*labels, "depth given"]
            for seed in range(args.seed, args.seed + args.count):
                generator = torch.Generator().manual_seed(seed)
                if depth is None:
                    made = pipeline.generate(reference, move=move, generator=generator, **how)
                else:
                    rgb = pipeline.depth_to_image(depth, reference=reference, move=move, generator=generator, **how)
                    made = Portrait(rgb, depth)
                if heads is not None and args.face != SHOWN_FACE:
                    found = keep_likeness(heads, made, [face])
                    made, kept[str(seed)] = Portrait(found.rgb, made.depth), bool(found.kept)
                pixels = ((made.rgb[0].float().permute(1, 2, 0) + 1) * 127.5).round().byte().cpu().numpy()
                files.append(Made.NEW.of(name, "png", seed))
                write_whole(args.out / files[-1], paste.png(np.ascontiguousarray(pixels)))
                columns, labels = [*columns, made.rgb], [*labels, f"seed {seed}"]
                if depth is None:
                    files.append(Made.NEW.of(name, "depth.png", seed))
                    write_whole(args.out / files[-1], paste.png(to_uint16(made.depth[0, 0].float().cpu().numpy())))
                    columns, labels = [*columns, depth_picture(made.depth)], [*labels, "depth"]
            files += [Made.NEW.of(name, end) for end in ("preview.png", "json")]
            write_whole(args.out / files[-2], paste.png(labelled_grid(columns, labels)))
            notes = [*photo.notes, *chosen.notes]
            if heads is not None and face is None:
                notes.append("no face is found in the reference: faces are as the model drew them")
            elif lost := [seed for seed, own in kept.items() if not own]:
                notes.append(f"no face is found in the portrait of seed {', '.join(lost)}: it is as the model drew it")
            data = command.source(path, photo, chosen, window_px) | {
                "depth": paste.FRAME,
                "face_of_reference": kept or None,
                "shown_where_it_belongs": move is not None,
                "made_by": made_by,
                "notes": notes,
            }
            command.write_json(args.out / files[-1], data)
            return files, notes

        return command.run_all(args.reference, args.out, Made.NEW, work)
