"""``jdap pose IMAGE… --set jawOpen=.6 yaw=15 --out DIR``: heads in photos with another expression, turned.

For each photo NAME: ``NAME.posed.png`` at the photo's resolution (with ``--from VIDEO`` instead ``NAME.posed.mp4``),
with ``--sweep`` ``NAME.posed.sweep.mp4``, where the model draws ``NAME.posed.depth.png``, and once
``NAME.posed.preview.png`` and ``NAME.posed.json``. ``rows.posed.jsonl`` has a row for each photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jdap import choices
from jdap.commands.arguments import CommandError, add_depth_and_redraw, add_json, positive, refuse_idle
from jdap.commands.arguments import add_arguments as add_common
from jdap.photos.made import Made
from jdap.units import FPS

if TYPE_CHECKING:
    import numpy as np

    from jdap.photos.read import Photo
    from jdap.photos.window import Choose
    from jdap.pose.change import Change
    from jdap.pose.photo import Performance
    from jdap.pose.pipeline import PosePipeline

#: Frames of a sweep, at 25 a second.
SWEEP_FRAMES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap pose``."""
    parser.description = "Heads in photos with another expression, turned: a head model is fitted and changed."
    parser.add_argument("photos", type=Path, nargs="+", metavar="IMAGE", help="photos, or folders of photos")
    add_common(parser, steps=20)
    parser.add_argument(
        "--set",
        type=_setting,
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="expressions, 0 … 1 (jawOpen=.6 mouthSmile=.8), and degrees the head turns further: yaw to the picture's "
        "right, pitch up, roll clockwise",
    )
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="a photo or video: its expression")
    parser.add_argument(
        "--take", choices=("expression", "both"), default="expression", help="of --from: both is its pose, too"
    )
    parser.add_argument("--sweep", type=_sweep, metavar="NAME=A:B", help="a video: from A to B and back (yaw=-25:25)")
    parser.add_argument("--frames", type=positive, default=SWEEP_FRAMES, help=f"of --sweep (default {SWEEP_FRAMES})")
    parser.add_argument(
        "--by",
        choices=choices.RENDERERS,
        default=choices.BY_WARP,
        help="warp (default): the photo's own texture, moved; model: drawn anew on the new depth",
    )
    add_depth_and_redraw(parser, "of --by warp, ")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Work on all photos; the exit status is 0, or 1 when any failed."""
    from jdap.commands import common as command
    from jdap.faces.landmarker import Landmarker
    from jdap.io.files import check_folder
    from jdap.pose.change import read_change
    from jdap.pose.heads import Heads
    from jdap.pose.photo import STILL, read_performance, swept
    from jdap.pose.pipeline import PosePipeline

    check_folder(args.out)
    with Landmarker() as landmarker, command.choosing(args) as (choose, choose_other):
        heads = Heads(landmarker)
        change = read_change(args.settings, heads.names)
        sweep = swept(args.sweep, args.settings, heads.names, args.frames) if args.sweep else []
        performance = STILL if args.source is None else read_performance(args.source, heads, choose_other, args.take)
        if performance.fps and _draws(args):
            raise CommandError("a video is not drawn by the model: every frame would be another person; use --by warp")
        pipeline = PosePipeline(command.load(args) if _draws(args) else None, heads)
        work = _Work(args, pipeline, choose, change, sweep, performance)
        return command.run_all(args.photos, args.out, Made.POSED, work, as_json=args.json)


class _Work:
    """What is done for each photo."""

    def __init__(
        self,
        args: argparse.Namespace,
        pipeline: PosePipeline,
        choose: Choose,
        change: Change,
        sweep: list[Change],
        performance: Performance,
    ) -> None:
        from jdap import __version__
        from jdap.commands import common as command

        self.args, self.pipeline, self.heads = args, pipeline, pipeline.heads
        self.choose, self.change, self.sweep, self.performance = choose, change, sweep, performance
        made = {"jdap": __version__} if pipeline.portrait is None else command.describe(args, pipeline.portrait)
        names = ("by", "take", "redraw", "guidance", "ensemble")
        self.made_by = made | {name: getattr(args, name) for name in names}

    def __call__(self, path: Path, name: str) -> tuple[list[str], list[str]]:
        from jdap.photos.read import PhotoError, read_photo
        from jdap.pose.change import PoseError

        photo = read_photo(path)
        chosen = self.choose(photo, path)
        files: list[str] = []
        notes = [*chosen.photo.notes, *chosen.notes, *self.performance.notes]
        for k, window_px in enumerate(chosen.windows_px):
            stem = name if k == 0 else f"{name}.face{k + 1}"
            try:
                made, said = self._one(path, stem, chosen, window_px)
            except PoseError as error:
                raise PhotoError(f"{path}: {error}; name the head's square with --box LEFT,TOP,SIZE") from error
            files += made
            notes += said
        return files, notes

    def _one(self, path: Path, stem: str, chosen: Any, window_px: np.ndarray) -> tuple[list[str], list[str]]:
        """One head of a photo: the files, and notes."""
        from jdap.commands import common as command
        from jdap.io.files import write_whole
        from jdap.photos import paste, relit
        from jdap.pose.motion import degrees
        from jdap.pose.photo import changed, film, fit_photo

        photo, out, moments = chosen.photo, self.args.out, self.performance.moments
        head = fit_photo(self.heads, photo, window_px)
        files, shown, unseen = [], [photo.rgb_HW3], 0.0
        told: dict[str, Any] = {}
        if self.performance.fps:
            files.append(Made.POSED.of(stem, "mp4"))
            shapes = [lambda m=m: changed(self.heads, head, m, self.change) for m in moments]
            unseen = film(out / files[-1], self.heads, head, photo, window_px, shapes, self.performance.fps)
        elif self.change.said() or self.args.source is not None:
            new_V3 = changed(self.heads, head, moments[0], self.change)
            picture, depth, unseen = self._still(photo, window_px, head, new_V3)
            files.append(Made.POSED.of(stem, "png"))
            write_whole(out / files[-1], paste.png(picture))
            shown.append(picture)
            if depth is not None:
                files.append(Made.POSED.of(stem, "depth.png"))
                write_whole(out / files[-1], paste.png(paste.full_depth(depth, window_px, photo)))
                told["depth"] = {"files": files[-1:], **paste.FRAME}
        if self.sweep:
            files.append(Made.POSED.of(stem, "sweep.mp4"))
            shapes = [lambda c=c: changed(self.heads, head, moments[0], c) for c in self.sweep]
            unseen = max(unseen, film(out / files[-1], self.heads, head, photo, window_px, shapes, FPS))
        files += [Made.POSED.of(stem, end) for end in ("preview.png", "json")]
        write_whole(out / files[-2], paste.png(relit.sheet(shown, window_px)))
        notes = [f"{unseen:.0%} of the head is not in the photo and is made up from beside it"] if unseen > 0.01 else []
        yaw, pitch, roll = (round(x, 1) for x in degrees(head.seen_33))
        found = {n: round(v, 3) for n, v in zip(self.heads.names, head.expression_E.tolist(), strict=True) if v > 0.005}
        data = (
            command.source(path, photo, chosen, window_px)
            | told
            | {
                "found": {"yaw": yaw, "pitch": pitch, "roll": roll, "expression": found, "landmarks_off": head.error},
                "set": self.change.said(),
                "from": None if self.args.source is None else str(self.args.source),
                "made_up": round(unseen, 4),
                "made_by": self.made_by,
                "notes": notes,
            }
        )
        command.write_json(out / files[-1], data)
        return files, notes

    def _still(
        self, photo: Photo, window_px: np.ndarray, head: Any, new_V3: Any
    ) -> tuple[np.ndarray, np.ndarray | None, float]:
        """The photo (H, W, 3) uint8 with its head changed, the new depth where the model drew, and what was unseen."""
        import torch

        from jdap.photos import head as heads_of_photos
        from jdap.photos import inputs
        from jdap.pose.depth import head_in_photo
        from jdap.pose.motion import Mover
        from jdap.pose.photo import on_photo, redrawn
        from jdap.pose.pipeline import MOTION_SIDE_PX
        from jdap.pose.warp import drawn

        args, pipeline = self.args, self.pipeline
        motion = Mover(self.heads, head, MOTION_SIDE_PX).to(new_V3)
        picture = photo.rgb_HW3
        if args.by == choices.BY_WARP:
            picture = drawn(photo.rgb_HW3, window_px, self.heads, motion)
        if pipeline.portrait is None:
            return picture, None, motion.unseen
        if args.depth is not None:
            old = torch.from_numpy(inputs.read_depth(args.depth, pipeline.portrait.size_px).copy())[None, None]
        else:
            fitted = None
            if pipeline.portrait.face_layers is not None:
                fitted = head_in_photo(self.heads, photo, window_px, pipeline.portrait.size_px)
            asked = 1, args.ensemble, args.seed, fitted
            depth_SS, _ = heads_of_photos.depth_of(pipeline.portrait, photo, window_px, *asked)
            old = torch.from_numpy(depth_SS)[None, None]
        new = pipeline.new_depth(old, motion)
        generator = torch.Generator().manual_seed(args.seed)
        how = {"steps": args.steps, "guidance": args.guidance, "generator": generator}
        if args.by == choices.BY_WARP:
            made = redrawn(pipeline, picture, new, motion, window_px, photo, args.redraw, **how)
        else:
            rgb = heads_of_photos.square(photo, window_px, MOTION_SIDE_PX)
            made = on_photo(pipeline.draw(rgb, new, [motion], **how), motion, window_px, picture, photo)
        return made, new[0, 0].numpy(), motion.unseen


def _draws(args: argparse.Namespace) -> bool:
    return bool(args.by == choices.BY_MODEL or args.redraw)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for what contradicts, and for options that would do nothing."""
    if not (args.settings or args.source or args.sweep):
        raise CommandError("say what to change: --set NAME=VALUE …, --from FILE or --sweep NAME=A:B")
    if args.sweep and _draws(args):
        raise CommandError("--sweep is not drawn by the model: every frame would be another person; use --by warp")
    if args.by == choices.BY_MODEL and args.redraw:
        raise CommandError("--redraw is of --by warp; --by model draws from noise alone")
    if args.depth is not None and args.several == choices.EVERY_FACE:
        raise CommandError("--depth is that of one face: leave out --several all")
    if args.source is None:
        refuse_idle(args, parser, ("take",), "without --from")
    if args.sweep is None:
        refuse_idle(args, parser, ("frames",), "without --sweep")
    if not _draws(args):
        refuse_idle(args, parser, ("depth", "ensemble", "steps", "guidance"), "without --by model or --redraw")
    if args.depth is not None:
        refuse_idle(args, parser, ("ensemble",), "with --depth")


def _setting(text: str) -> tuple[str, float]:
    return _read(text, "read_setting")


def _sweep(text: str) -> tuple[str, float, float]:
    return _read(text, "read_sweep")


def _read(text: str, how: str) -> Any:
    # The room of heads needs torch, and help must be quick.
    from jdap.pose import change

    try:
        return getattr(change, how)(text)
    except change.PoseError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
