"""``jdap export IMAGE -o face.glb``: the head in a photo as a mesh or points; of a video, one for each frame.

Beside ``face.glb`` (``.ply``, ``.obj``): ``face.mesh.html`` (``--viewer``), ``face.mesh.normals.png`` (``--normals``),
``face.mesh.turn.mp4`` (``--turntable``), ``face.mesh.rgbd.mp4`` and ``face.mesh.depth.mkv`` (``--rgbd``, of a video),
and ``face.mesh.json``. The meshes of a video are ``face.000000.glb`` …
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jdap.choices import EVERY_FACE, IMAGE_WEIGHTS
from jdap.commands.arguments import (
    CommandError,
    add_head,
    add_json,
    add_run_arguments,
    add_window_arguments,
    positive,
    refuse_idle,
    within,
)
from jdap.photos.made import Made

if TYPE_CHECKING:
    import numpy as np

    from jdap.photos.clip import Frame
    from jdap.photos.relief import Relief
    from jdap.pipelines.portrait import PortraitPipeline

#: Sides of the mesh's grid and of turntable frames, and frames of a turntable.
SIZE, TURN_PX, TURN_FRAMES = 256, 384, 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap export``."""
    parser.description = "The head in a photo as a textured mesh or a point cloud; of a video, one for each frame."
    parser.add_argument("source", type=Path, metavar="IMAGE|VIDEO", help="a photo or a video")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="NAME.glb", help="the mesh to write: .glb, .ply or .obj"
    )
    add_run_arguments(parser, IMAGE_WEIGHTS)
    parser.add_argument("--points", action="store_true", help="points instead of a mesh (.glb, .ply)")
    parser.add_argument("--viewer", action="store_true", help="also a page that shows the mesh in a browser")
    parser.add_argument("--normals", action="store_true", help="also a normal map, as PNG")
    parser.add_argument("--turntable", action="store_true", help="also a video of the mesh turning")
    parser.add_argument("--rgbd", action="store_true", help="of a video: picture and depth as videos, and no meshes")
    parser.add_argument("--size", type=positive, default=SIZE, help=f"side of the mesh's grid (default {SIZE})")
    parser.add_argument(
        "--relief",
        type=within(1, 1000, "millimetres,"),
        help="depth range of the face in mm, which a photo does not tell",
    )
    parser.add_argument("--ensemble", type=positive, default=1, help="draws of depth that are combined (default 1)")
    add_head(parser)
    parser.add_argument("--max-frames", type=positive, help="of a video, no more than the first so many")
    add_window_arguments(parser)
    add_json(parser)
    parser.set_defaults(steps=1)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for options that would do nothing."""
    from jdap.media.frames import VIDEOS

    if args.source.suffix.lower() not in VIDEOS:
        refuse_idle(args, parser, ("max_frames",), "of a photo")
    if args.rgbd:
        refuse_idle(args, parser, ("points",), "with --rgbd")


def run(args: argparse.Namespace) -> int:
    """Write the files; the exit status is 0."""
    import json

    from rich.console import Console

    from jdap.commands.dispatch import ended_by_sigterm
    from jdap.media.frames import VIDEOS

    is_video = args.source.suffix.lower() in VIDEOS
    pipeline = _load(args, is_video)
    with ended_by_sigterm():
        files, notes = _export_video(args, pipeline) if is_video else _export_photo(args, pipeline)
    told = "; ".join(notes)
    if args.json:
        print(json.dumps({"source": str(args.source), "status": "done", "message": told, "files": files}))
    else:
        line = f"{args.out}: {len(files)} files" + (f" ({told})" if told else "")
        Console().print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _load(args: argparse.Namespace, is_video: bool) -> PortraitPipeline:
    """The pipeline, once all that can be wrong with the options is found right."""
    from jdap.commands.common import pipeline_of
    from jdap.io.files import make_folder
    from jdap.pipelines.portrait import PortraitPipeline
    from jdap.shape.files import ENDS, require_trimesh

    end = args.out.suffix.lower()
    if end not in ENDS:
        raise CommandError(f"--out {args.out}: meshes are written as {', '.join(ENDS)}; name it NAME.glb")
    if args.points and end == ".obj":
        raise CommandError("--points: OBJ holds no points; name the file .ply or .glb")
    if args.several == EVERY_FACE:
        raise CommandError("--several all: one head is written; choose it with --box")
    if args.rgbd and not is_video:
        raise CommandError("--rgbd is of a video; of a photo jdap depth writes the depth")
    if is_video and (args.turntable or args.normals or args.viewer):
        raise CommandError("--viewer, --turntable and --normals are of a photo")
    if not args.source.is_file():
        raise CommandError(f"{args.source}: no such file")
    if not args.rgbd:
        require_trimesh()
    make_folder(args.out.parent)
    return pipeline_of(PortraitPipeline, args)


def _export_photo(args: argparse.Namespace, pipeline: PortraitPipeline) -> tuple[list[str], list[str]]:
    from jdap.commands import common as command
    from jdap.io.files import write_whole
    from jdap.media.video import VideoWriter
    from jdap.photos import paste
    from jdap.photos.read import read_photo
    from jdap.photos.relief import meaning, relief_of
    from jdap.shape.assumed import RELIEF_MM
    from jdap.shape.files import write_viewer
    from jdap.shape.mesh import normal_picture
    from jdap.shape.normals import edge_normals
    from jdap.shape.turntable import turntable

    photo = read_photo(args.source)
    with command.choosing(args) as (choose, _):
        chosen = choose(photo, args.source)
    photo, (window_px,) = chosen.photo, chosen.windows_px
    with command.fitting(args, pipeline) as heads:
        estimate = command.depth_in(args, pipeline, heads, photo, window_px, args.steps)
    relief_mm = RELIEF_MM if args.relief is None else args.relief
    relief = relief_of(estimate.depth_SS, window_px, photo, args.size, relief_mm)
    files = _write(args.out, relief, args.points)
    mesh = relief.mesh()
    f_px = float(relief.camera_px_13[0, 0])
    if args.viewer:
        page = write_viewer(_beside(args.out, "html"), mesh, relief.texture_HW3, _field(relief))
        files.append(page.name)
    if args.normals:
        normals = normal_picture(edge_normals(relief.depth_mm_11SS, relief.camera_px_13))[0]
        path = _beside(args.out, "normals.png")
        write_whole(path, paste.png(((normals.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()))
        files.append(path.name)
    if args.turntable:
        path = _beside(args.out, "turn.mp4")
        with VideoWriter(path, sound=False) as video:
            for frame in turntable(mesh, relief.texture_HW3, TURN_FRAMES, TURN_PX, f_px * TURN_PX / args.size):
                video.frame(frame)
        files.append(path.name)
    notes = [*photo.notes, *chosen.notes, *estimate.notes]
    path = _beside(args.out, "json")
    data = command.source(args.source, photo, chosen, window_px) | {
        "mesh": {"vertices": len(mesh.vertices_mm_V3), "triangles": 0 if args.points else len(mesh.faces_T3)}
        | meaning(relief, relief_mm),
        "made_by": command.describe(args, pipeline) | {"ensemble": args.ensemble},
        "notes": notes,
    }
    command.write_json(path, data)
    return [*files, path.name], notes


def _write(path: Path, relief: Relief, points: bool) -> list[str]:
    from jdap.shape.files import write_mesh

    written = write_mesh(path, relief.mesh(), relief.texture_HW3, points=points, field_deg=_field(relief))
    return [file.name for file in written]


def _field(relief: Relief) -> float:
    from jdap.shape.files import field_of

    return field_of(float(relief.camera_px_13[0, 0]), relief.depth_mm_11SS.shape[-1])


def _export_video(args: argparse.Namespace, pipeline: PortraitPipeline) -> tuple[list[str], list[str]]:
    from jdap.commands import common as command
    from jdap.io.progress import Telling
    from jdap.photos.clip import windows_of
    from jdap.photos.relief import meaning, relief_of
    from jdap.shape.assumed import RELIEF_MM

    relief_mm = RELIEF_MM if args.relief is None else args.relief
    with command.choosing(args) as (choose, _):
        found = windows_of(args.source, choose, args.max_frames)
    files: list[str] = []
    data: dict[str, object] = {}
    with (
        Telling("frame", len(found.windows_px)) as telling,
        _rgbd(args, found.fps) as film,
        command.fitting(args, pipeline) as heads,
    ):
        for k, frame in enumerate(found.frames()):
            telling.tell(k)
            depth_SS = command.depth_in(args, pipeline, heads, frame.photo, frame.window_px, args.steps).depth_SS
            relief = relief_of(depth_SS, frame.window_px, frame.photo, args.size, relief_mm)
            data = meaning(relief, relief_mm)
            if args.rgbd:
                film(frame, depth_SS)
            else:
                files += _write(args.out.with_name(f"{args.out.stem}.{k:06d}{args.out.suffix}"), relief, args.points)
    if args.rgbd:
        files = [path.name for path in _rgbd_names(args.out)]
    path = _beside(args.out, "json")
    command.write_json(
        path,
        {"source": str(args.source), "frames": len(found.windows_px), "fps": found.fps, "mesh": data}
        | {"windows_px": found.windows_px.round(2).tolist(), "notes": found.notes}
        | {"made_by": command.describe(args, pipeline) | {"ensemble": args.ensemble}},
    )
    return [*files, path.name], [f"{len(found.windows_px)} frames", *found.notes]


def _beside(out: Path, end: str) -> Path:
    return out.with_name(Made.MESH.of(out.stem, end))


def _rgbd_names(out: Path) -> list[Path]:
    return [_beside(out, end) for end in ("rgbd.mp4", "depth.mkv")]


@contextlib.contextmanager
def _rgbd(args: argparse.Namespace, fps: float) -> Iterator[Callable[[Frame, np.ndarray], None]]:
    """Writers of picture and depth, which a frame is handed to; of nothing, unless ``--rgbd`` asks for them."""
    import numpy as np
    from PIL import Image

    from jdap.depth import to_uint16
    from jdap.faces.crop import crop_frame
    from jdap.media.video import DepthVideoWriter, VideoWriter

    if not args.rgbd:
        yield lambda frame, depth_SS: None
        return
    both, lossless = _rgbd_names(args.out)
    with VideoWriter(both, fps, sound=False) as film, DepthVideoWriter(lossless, fps) as depths:

        def add(frame: Frame, depth_SS: np.ndarray) -> None:
            size = (args.size, args.size)
            depth = np.asarray(Image.fromarray(depth_SS).resize(size, Image.Resampling.BICUBIC)).clip(-1, 1)
            rgb = crop_frame(frame.photo.rgb_HW3, frame.window_px, args.size)
            grey = np.rint((1 - depth) * 127.5).astype(np.uint8)[..., None].repeat(3, 2)
            film.frame(np.concatenate([rgb, grey], 1))
            depths.frame(to_uint16(depth))

        yield add
