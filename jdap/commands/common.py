"""What the commands on photos have in common: options, a row for each photo, and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jdap import __version__
from jdap.faces import crop
from jdap.faces.landmarker import Landmarker
from jdap.io.device import default_device, find_device
from jdap.io.fetch import AssetError
from jdap.io.files import write_whole
from jdap.photos import folder, window
from jdap.photos.read import Photo, PhotoError
from jdap.pipelines.portrait import GUIDANCE, METHODS, PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline

SHIPPED = "shipped:image-tiny"
ROWS_FILE = "rows.jsonl"
DONE, FAILED = "done", "failed"


class CommandError(ValueError):
    """What was asked for cannot be done at all; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Row:
    """What became of one photo: its ``source``, ``status`` (done, failed), ``message`` and the ``files`` written."""

    source: str
    status: str
    message: str = ""
    files: tuple[str, ...] = ()


#: A photo's path and the name that its files begin with → (names of the files written, notes).
Work = Callable[[Path, str], tuple[list[str], list[str]]]
AnyPipeline = PortraitPipeline | TalkingPipeline


def add_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Options of the commands that fill a folder; ``steps`` is the default number of sampling steps."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what is made")
    parser.add_argument("--steps", type=positive, default=steps, help=f"sampling steps (default {steps})")
    add_run_arguments(parser, SHIPPED)
    add_window_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser, weights: str) -> None:
    """``--weights``, ``--seed`` and ``--device``, which all commands have."""
    parser.add_argument(
        "--weights", default=weights, help=f"weights folder, shipped:NAME or hub id OWNER/NAME (default {weights})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise (default 0)")
    parser.add_argument("--device", default=default_device(), help="cpu, cuda, cuda:1 … (default: cuda if there)")


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part of a photo is the head: ``--box``, ``--no-crop``, ``--several``."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--box", type=_box, metavar="LEFT,TOP,SIZE", help="the head's square, in the upright photo's pixels"
    )
    how.add_argument("--no-crop", action="store_true", help="the photos are square crops of a head already")
    how.add_argument(
        "--several",
        choices=window.SEVERAL,
        default=window.LARGEST,
        help="photos with several faces: the largest (default), all of them, or none",
    )


def add_guidance(parser: argparse.ArgumentParser) -> None:
    """``--guidance``, which all commands have."""
    parser.add_argument(
        "--guidance",
        type=float,
        default=GUIDANCE,
        help=f"strength of the reference; 1 is as trained (default {GUIDANCE:g})",
    )


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that draw pictures, ``jdap generate`` and ``jdap edit``."""
    add_arguments(parser, steps=20)
    add_guidance(parser)
    parser.add_argument("--count", type=positive, default=1, help="pictures of each, of seeds K, K + 1 …")
    parser.add_argument(
        "--method", choices=METHODS, help="how what is given is held (default: clean where the weights know it)"
    )
    parser.add_argument(
        "--resample", type=positive, default=1, help="RePaint's resampling of what is given (default 1)"
    )


@contextlib.contextmanager
def choosing(args: argparse.Namespace) -> Iterator[window.Choose]:
    """How the options say that windows are chosen. Raises :class:`CommandError` where faces cannot be looked for."""
    if args.box is not None:
        yield window.by_box(*args.box)
    elif args.no_crop:
        yield window.whole
    else:
        try:
            landmarker = Landmarker()
        except (AssetError, ImportError) as error:
            raise CommandError(
                f"{error}; or do without finding faces: --box LEFT,TOP,SIZE, or --no-crop for square crops"
            ) from error
        with landmarker:
            yield window.by_faces(landmarker, args.several)


def load(args: argparse.Namespace) -> PortraitPipeline:
    """The pipeline that the options name, on its device; ``--steps`` is checked against its schedule."""
    device = find_device(args.device)
    pipeline = PortraitPipeline.from_pretrained(args.weights).quiet().to(device)
    check_steps(args.steps, pipeline)
    return pipeline


def check_steps(steps: int, pipeline: AnyPipeline) -> None:
    """Raises :class:`CommandError` for more steps than the schedule has."""
    try:
        pipeline.schedule.spaced(steps)
    except ValueError as error:
        raise CommandError(f"--steps: {error}") from error


def describe(args: argparse.Namespace, pipeline: AnyPipeline) -> dict[str, object]:
    """What made a file, for its metadata."""
    return {
        "weights": args.weights,
        "preset": pipeline.preset,
        "size_px": pipeline.size_px,
        "steps": args.steps,
        "seed": args.seed,
        "device": args.device,
        "jdap": __version__,
        "torch": torch.__version__,
    }


def source(path: Path, photo: Photo, chosen: window.Windows, window_px: np.ndarray) -> dict[str, object]:
    """Where a window comes from, for metadata."""
    left, top, size = (round(x, 3) for x in window_px.tolist())
    return {
        "source": str(path),
        "photo": {"width": photo.width, "height": photo.height, "exif_orientation": photo.orientation}
        | ({"turned_deg": 90 * photo.turned} if photo.turned else {}),
        "faces_found": chosen.faces,
        "window_px": {"left": left, "top": top, "size": size, "outside": round(outside(photo, window_px), 4)},
    }


def outside(photo: Photo, window_px: np.ndarray) -> float:
    """The share of a window that lies outside of the photo, in [0, 1]."""
    return float(crop.padded_share(window_px[None], photo.width, photo.height)[0])


def cropped(pipeline: AnyPipeline, photo: Photo, window_px: np.ndarray) -> torch.Tensor:
    """A window of a photo (1, 3, S, S) in [-1, 1] on the pipeline's device, S its side, cropped as in preparation."""
    rgb = torch.from_numpy(crop.crop_frame(photo.rgb_HW3, window_px, pipeline.size_px).copy())
    return (rgb.permute(2, 0, 1)[None].to(pipeline.device) / 127.5 - 1).clamp(-1, 1)


def run_all(photos: Sequence[Path], out: Path, work: Work) -> int:
    """Work on every photo, tell of each in a row, and write the rows to ``rows.jsonl``.

    A photo that fails does not stop the others. Returns the exit status: 0, or 1 when any failed.
    """
    console = Console()
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out}: a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    taken: set[str] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for path in progress.track(_spread(photos), description="photos"):
            try:
                files, notes = work(path, _name(path, taken))
                rows.append(Row(str(path), DONE, "; ".join(notes), tuple(files)))
            except PhotoError as error:
                rows.append(Row(str(path), FAILED, " ".join(str(error).removeprefix(f"{path}: ").split())))
            row = rows[-1]
            told = row.files[0] + (f" ({row.message})" if row.message else "") if row.files else row.message
            console.print(f"{row.status:<6}  {row.source}: {told}", markup=False, highlight=False, soft_wrap=True)
    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in rows]
    write_whole(out / ROWS_FILE, _encoded("\n".join(lines) + "\n"))
    failed = sum(row.status == FAILED for row in rows)
    if failed:
        console.print(f"{failed} of {len(rows)} photos failed", style="yellow")
    return 1 if failed else 0


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write metadata, whole or not at all."""
    write_whole(path, _encoded(json.dumps(data, indent=2, ensure_ascii=False) + "\n"))


def _encoded(text: str) -> bytes:
    """JSON as UTF-8. Bytes of a file's name that are no UTF-8 are JSON's escapes of what Python has for them."""
    return text.encode("utf-8", "backslashreplace")


def _spread(photos: Sequence[Path]) -> list[Path]:
    """Folders stand for the photos straight inside them (:mod:`jdap.photos.folder`); one that must not be read stands
    for itself, so that it gets a row."""
    found: list[Path] = []
    for path in photos:
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = folder.photos_in(path)
        except OSError:
            found.append(path)
            continue
        if not inside:
            raise CommandError(f"{path}: the folder holds no pictures")
        found += inside
    return found


def _name(path: Path, taken: set[str]) -> str:
    """What a photo's files begin with: its own name, numbered where photos of several folders have the same."""
    name, count = path.stem, 1
    while name in taken:
        count += 1
        name = f"{path.stem}-{count}"
    taken.add(name)
    return name


def positive(text: str) -> int:
    """A whole number from 1, as an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _box(text: str) -> tuple[float, float, float]:
    try:
        left, top, size = (float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be LEFT,TOP,SIZE in pixels, got {text!r}") from None
    if not size > 0:
        raise argparse.ArgumentTypeError(f"the size must be above 0, got {text!r}")
    return left, top, size
