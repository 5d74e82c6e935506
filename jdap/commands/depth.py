"""``jdap depth IMAGE… --out DIR``: depth of the heads in photos.

For each photo NAME: ``NAME.depth.png`` (16-bit, at the photo's resolution, upright), ``NAME.depth.preview.png``
(colour) and ``NAME.depth.json`` (what the numbers mean and what made them); of an ensemble also
``NAME.depth.uncertainty.png`` (16-bit). A second face of one photo gets ``NAME.face2.…``, because each face has a depth
range of its own. ``rows.depth.jsonl`` has a row for each photo.

A head is fitted to each face, which the depth then betters, where the weights have layers for that
(``--head``, docs/fitted_depth.md). Where there is no face, the row says so, and the depth is that of the picture alone.
"""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jdap.commands.arguments import add_arguments as add_common
from jdap.commands.arguments import add_head, positive
from jdap.photos.made import Made

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap depth``."""
    parser.description = "Depth of the heads in photos: 16-bit PNG at full resolution, a preview, and metadata."
    parser.add_argument("photos", type=Path, nargs="+", metavar="IMAGE", help="photos, or folders of photos")
    add_common(parser, steps=1)
    add_head(parser)
    parser.add_argument(
        "--ensemble",
        type=positive,
        default=1,
        help="draws that are combined; from 2 with uncertainty (default 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Work on all photos; the exit status is 0, or 1 when any failed."""
    from jdap.commands import common as command
    from jdap.io.files import write_whole
    from jdap.photos import metadata, paste
    from jdap.photos.read import read_photo

    pipeline = command.load(args)
    made_by = command.describe(args, pipeline) | {"ensemble": args.ensemble}
    with contextlib.ExitStack() as stack:
        choose, _ = stack.enter_context(command.choosing(args))
        heads = stack.enter_context(command.fitting(args, pipeline))

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            chosen = choose(photo, path)
            photo = chosen.photo
            files: list[str] = []
            notes = [*photo.notes, *chosen.notes]
            for k, window_px in enumerate(chosen.windows_px):
                stem = name if k == 0 else f"{name}.face{k + 1}"
                found = command.depth_in(args, pipeline, heads, photo, window_px, args.steps)
                depth_SS, uncertainty_SS, fitted = found
                notes += found.notes
                if (outside := metadata.share_outside(photo, window_px)) > 0.01:
                    notes.append(f"{outside:.0%} of the window lie outside of the photo")
                data = command.source(path, photo, chosen, window_px)
                name_of = partial(Made.DEPTH.of, stem)
                data |= metadata.what_depth_means(stem, uncertainty_SS)
                if fitted is not None:
                    data["head_fitted"] = fitted
                pictures: dict[str, np.ndarray | Image.Image] = {
                    name_of("png"): paste.full_depth(depth_SS, window_px, photo),
                    name_of("preview.png"): paste.preview(depth_SS, window_px, photo),
                }
                if uncertainty_SS is not None:
                    pictures[name_of("uncertainty.png")] = paste.full_uncertainty(uncertainty_SS, window_px, photo)
                for file, picture in pictures.items():
                    write_whole(args.out / file, paste.png(picture))
                command.write_json(args.out / name_of("json"), data | {"made_by": made_by, "notes": notes})
                files += [*pictures, name_of("json")]
            return files, notes

        return command.run_all(args.photos, args.out, Made.DEPTH, work)
