"""``jdap relight IMAGE… --light 45,20 --out DIR``: heads in photos in other light.

For each photo NAME: ``NAME.relit.png`` (``NAME.relit2.png`` … of further lights) at the photo's resolution, with
``--turntable`` ``NAME.relit.turn.mp4``, and once ``NAME.relit.preview.png`` and ``NAME.relit.json`` (the light that was
found, the lights that were set, what made it). ``rows.relit.jsonl`` has a row for each photo.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from jdap import choices
from jdap.commands.arguments import (
    CommandError,
    add_depth_and_redraw,
    add_head,
    add_json,
    positive,
    refuse_idle,
    within,
)
from jdap.commands.arguments import add_arguments as add_common
from jdap.photos.made import Made

if TYPE_CHECKING:
    import numpy as np
    import torch

    from jdap.light.lights import Light
    from jdap.photos.read import Photo
    from jdap.photos.window import Choose
    from jdap.pipelines.relight import Lit, RelightPipeline

#: Frames of a turntable, at 25 a second.
FRAMES = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap relight``."""
    parser.description = "Heads in photos in other light: from a direction, a panorama, another photo, or turning."
    parser.add_argument("photos", type=Path, nargs="+", metavar="IMAGE", help="photos, or folders of photos")
    add_common(parser, steps=20)
    parser.add_argument(
        "--light",
        type=_light,
        action="append",
        default=[],
        metavar="AZIMUTH,ELEVATION[,STRENGTH]",
        help="a lamp: degrees to the picture's right and up, and its strength (default 1); may be given several times",
    )
    parser.add_argument("--ambient", type=within(0, 1), default=0.3, help="even light beside lamps (default 0.3)")
    parser.add_argument("--environment", type=Path, metavar="PANORAMA", help="light of an equirectangular picture")
    parser.add_argument("--turn", type=float, default=0.0, help="degrees that --environment is turned to the right")
    parser.add_argument("--like", type=Path, metavar="IMAGE", help="light as it falls on the face in another photo")
    parser.add_argument("--turntable", action="store_true", help="a video in which a lamp goes round the face")
    parser.add_argument("--frames", type=positive, default=FRAMES, help=f"of --turntable (default {FRAMES})")
    parser.add_argument("--exposure", type=float, default=0.0, help="stops brighter than before (default 0)")
    add_depth_and_redraw(parser)
    add_head(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Work on all photos; the exit status is 0, or 1 when any failed."""
    import torch

    from jdap.commands import common as command
    from jdap.io.files import write_whole
    from jdap.light.lights import LightError
    from jdap.photos import head, inputs, paste
    from jdap.photos import relit as photo_relit
    from jdap.photos.read import PhotoError, read_photo
    from jdap.pipelines.relight import RelightPipeline

    portrait = command.load(args)
    pipeline = RelightPipeline(portrait)
    how = {name: getattr(args, name) for name in ("ensemble", "exposure", "redraw", "guidance")}
    made_by = command.describe(args, portrait) | how
    fixed = _fixed_lights(args)
    fitting = command.fitting(args, portrait) if args.depth is None else contextlib.nullcontext()
    with command.choosing(args) as (choose, choose_other), fitting as heads:
        if args.like is not None:
            fixed.append((f"like {args.like.name}", _light_like(args, pipeline, choose_other)))

        def work(path: Path, name: str) -> tuple[list[str], list[str]]:
            photo = read_photo(path)
            chosen = choose(photo, path)
            photo = chosen.photo
            files: list[str] = []
            notes = [*photo.notes, *chosen.notes]
            for k, window_px in enumerate(chosen.windows_px):
                stem = name if k == 0 else f"{name}.face{k + 1}"
                if args.depth is not None:
                    depth = torch.from_numpy(inputs.read_depth(args.depth, portrait.size_px).copy())[None, None]
                else:
                    estimate = command.depth_in(args, portrait, heads, photo, window_px)
                    notes += estimate.notes
                    depth = torch.from_numpy(estimate.depth_SS)[None, None]
                fade = 0.0 if args.no_crop else photo_relit.FADE_SHARE
                rgb = head.square(photo, window_px, photo_relit.WINDOW_SIDE_PX).to(portrait.device)
                try:
                    lit = pipeline.look(rgb, depth.to(rgb), fade)
                except LightError as error:
                    raise PhotoError(f"{path}: {error}; is the head in its window?") from error
                shown = [photo.rgb_HW3]
                for n, (_, light) in enumerate(fixed):
                    made = _made(args, pipeline, lit, light, rgb, depth, window_px, photo)
                    files.append(Made.RELIT.of(stem, "png", n + 1 if n else None))
                    write_whole(args.out / files[-1], paste.png(made))
                    shown.append(made)
                if args.turntable:
                    files.append(Made.RELIT.of(stem, "turn.mp4"))
                    _turn(args, pipeline, lit, rgb, window_px, photo, args.out / files[-1])
                files += [Made.RELIT.of(stem, end) for end in ("preview.png", "json")]
                write_whole(args.out / files[-2], paste.png(photo_relit.sheet(shown, window_px)))
                data = command.source(path, photo, chosen, window_px) | {
                    "light_found": photo_relit.describe(lit.light),
                    "lights": [label for label, _ in fixed] + ["turntable"] * args.turntable,
                    "made_by": made_by,
                    "notes": notes,
                }
                command.write_json(args.out / files[-1], data)
            return files, notes

        return command.run_all(args.photos, args.out, Made.RELIT, work, as_json=args.json)


def _made(
    args: argparse.Namespace,
    pipeline: RelightPipeline,
    lit: Lit,
    light: Light,
    rgb: torch.Tensor,
    depth: torch.Tensor,
    window_px: np.ndarray,
    photo: Photo,
) -> np.ndarray:
    """The photo (H, W, 3) uint8 in one light."""
    import torch

    from jdap.light.ratio import relit
    from jdap.photos import paste
    from jdap.photos import relit as photo_relit

    new = pipeline.aim(lit, light.to(rgb), 2.0**args.exposure)
    factor = pipeline.factor(lit, new, rgb.shape[-1])
    if not args.redraw:
        return photo_relit.on_photo(factor[0], window_px, photo)
    made = relit((rgb + 1) / 2, factor) * 2 - 1
    generator = torch.Generator().manual_seed(args.seed)
    drawn = pipeline.redraw(made, depth.to(rgb), args.redraw, args.steps, args.guidance, generator)
    return paste.full_rgb(drawn[0].permute(1, 2, 0).cpu().numpy(), window_px, photo)[0]


def _turn(
    args: argparse.Namespace,
    pipeline: RelightPipeline,
    lit: Lit,
    rgb: torch.Tensor,
    window_px: np.ndarray,
    photo: Photo,
    path: Path,
) -> None:
    """A video of the photo's square, in which a lamp goes round."""
    from jdap.light.ratio import relit
    from jdap.light.sources import around
    from jdap.media.video import VideoWriter

    lights = around(args.frames, ambient=args.ambient)
    with VideoWriter(path, sound=False) as video:
        for k in range(args.frames):
            new = pipeline.aim(lit, lights[k : k + 1].to(rgb), 2.0**args.exposure)
            made = relit((rgb + 1) / 2, pipeline.factor(lit, new, rgb.shape[-1]))
            video.frame((made[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy())


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for what contradicts, and for options that would do nothing."""
    if not (args.light or args.environment or args.like or args.turntable):
        raise CommandError("say which light: --light AZIMUTH,ELEVATION, --environment, --like or --turntable")
    if args.turntable and args.redraw:
        raise CommandError("--turntable is not redrawn: every frame would be another person; leave out --redraw")
    if not math.isfinite(args.exposure) or abs(args.exposure) > 6 or not math.isfinite(args.turn):
        raise CommandError("--exposure must be within −6 … 6 stops, and --turn a number of degrees")
    if args.depth is not None and args.several == choices.EVERY_FACE:
        raise CommandError("--depth is that of one face: leave out --several all")
    if args.environment is None:
        refuse_idle(args, parser, ("turn",), "without --environment")
    if not args.turntable:
        refuse_idle(args, parser, ("frames",), "without --turntable")
    if not (args.light or args.turntable):
        refuse_idle(args, parser, ("ambient",), "without --light or --turntable")
    if not args.redraw:
        refuse_idle(args, parser, ("steps", "guidance"), "without --redraw")
    if args.depth is not None:  # --like estimates depth too, but fits no head to its photo
        refuse_idle(args, parser, ("head",) if args.like is not None else ("ensemble", "head"), "with --depth")


def _fixed_lights(args: argparse.Namespace) -> list[tuple[str, Light]]:
    from jdap.light.lights import LightError
    from jdap.light.sources import from_direction
    from jdap.photos.relit import read_panorama

    try:
        lights = [(f"{a:g},{e:g},{s:g}", from_direction(a, e, s, args.ambient)) for a, e, s in args.light]
    except LightError as error:
        raise CommandError(f"--light: {error}") from error
    if args.environment is not None:
        lights.append((f"environment {args.environment.name}", read_panorama(args.environment, args.turn)))
    return lights


def _light_like(args: argparse.Namespace, pipeline: RelightPipeline, choose: Choose) -> Light:
    """The light of another photo."""
    import torch

    from jdap.light.lights import LightError
    from jdap.photos import head
    from jdap.photos.read import PhotoError, read_photo

    photo = read_photo(args.like)
    chosen = choose(photo, args.like)
    rgb = head.cropped(pipeline.portrait, chosen.photo, chosen.windows_px[0])
    try:
        return pipeline.light_of(rgb, ensemble=args.ensemble, generator=torch.Generator().manual_seed(args.seed))
    except LightError as error:
        raise PhotoError(f"{args.like}: {error}; is the head in its window?") from error


def _light(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"must be AZIMUTH,ELEVATION[,STRENGTH], got {text!r}")
    return numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1.0
