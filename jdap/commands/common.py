"""What the commands on photos have in common at work: the pipeline, a row for each photo, and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from rich.console import Console

from jdap.choices import FIT_HEAD, LARGEST, MODEL_FACE, NO_HEAD
from jdap.commands.arguments import CommandError
from jdap.faces.landmarker import Landmarker
from jdap.io.device import find_device, tell_of_bfloat16
from jdap.io.fetch import AssetError
from jdap.io.files import check_folder, make_folder, write_whole
from jdap.io.progress import Telling
from jdap.photos import folder, head, metadata, window
from jdap.photos.head import AnyPipeline
from jdap.photos.made import Made
from jdap.photos.read import Photo, PhotoError
from jdap.pipelines.base import JointPipeline
from jdap.pipelines.portrait import PortraitPipeline

if TYPE_CHECKING:
    from jdap.pose.heads import Heads

SomePipeline = TypeVar("SomePipeline", bound=JointPipeline)
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class PhotoRow:
    """What became of one photo: its ``source``, ``status`` (done, failed), ``message`` and the ``files`` written."""

    source: str
    status: str
    message: str = ""
    files: tuple[str, ...] = ()


#: A photo's path and the name that its files begin with → (names of the files written, notes).
PhotoWork = Callable[[Path, str], tuple[list[str], list[str]]]


@contextlib.contextmanager
def choosing(args: argparse.Namespace) -> Iterator[tuple[window.Choose, window.Choose]]:
    """How the options say that windows are chosen, and how in a second photo that is given beside (``--several N`` is
    not about that one). Raises :class:`CommandError` where faces cannot be looked for."""
    if args.box is not None:
        yield window.by_box(*args.box), window.by_box(*args.box)
    elif args.no_crop:
        yield window.whole, window.whole
    else:
        with landmarks(
            "; or do without finding faces: --box LEFT,TOP,SIZE, or --no-crop for square crops"
        ) as landmarker:
            others = LARGEST if isinstance(args.several, int) else args.several
            yield window.by_faces(landmarker, args.several), window.by_faces(landmarker, others)


@contextlib.contextmanager
def landmarks(otherwise: str = "; or draw a mask, and give it by --mask") -> Iterator[Landmarker]:
    """A landmarker; raises :class:`CommandError`, which says what to do ``otherwise``, where there can be none."""
    try:
        landmarker = Landmarker()
    except (AssetError, ImportError) as error:
        raise CommandError(f"{error}{otherwise}") from error
    with landmarker:
        yield landmarker


@contextlib.contextmanager
def fitting(args: argparse.Namespace, pipeline: PortraitPipeline) -> Iterator[Heads | None]:
    """What fits heads to faces, by ``--head`` and for weights that better them; None where depth is of pictures alone.

    Raises :class:`CommandError` where the model of faces or heads cannot be had, or the weights have no use for heads.
    """
    if pipeline.face_layers is None:
        if args.head == FIT_HEAD:
            raise CommandError(
                f"--head {FIT_HEAD}: the weights {args.weights} have no layers that better a fitted head"
            )
        yield None
        return
    with _heads_for(args, args.head, f"; or do without a fitted head: --head {NO_HEAD}", NO_HEAD) as heads:
        yield heads


@contextlib.contextmanager
def keeping_faces(args: argparse.Namespace) -> Iterator[Heads | None]:
    """What fits heads where portraits keep their reference's face (``--face``); None where the model's own stays.

    Raises :class:`CommandError` where the model of faces or heads cannot be had.
    """
    otherwise = f"; or leave the face as the model draws it: --face {MODEL_FACE}"
    with _heads_for(args, args.face, otherwise, MODEL_FACE) as heads:
        yield heads


@contextlib.contextmanager
def _heads_for(args: argparse.Namespace, asked: str | None, otherwise: str, without: str) -> Iterator[Heads | None]:
    """Heads, unless ``without`` them is ``asked``, or nothing is and no faces are looked for.

    ``otherwise`` is the way out where they cannot be had.
    """
    if asked == without or (asked is None and (args.no_crop or args.box is not None)):
        yield None
        return
    from jdap.pose.heads import Heads

    with landmarks(otherwise) as landmarker:
        try:
            heads = Heads(landmarker)
        except AssetError as error:
            raise CommandError(f"{error}{otherwise}") from error
        yield heads


class HeadDepth(NamedTuple):
    """Depth of a head in a photo as :func:`jdap.photos.head.depth_of` has it; ``fitted``: whether a fitted head was
    bettered, None where none was looked for."""

    depth_SS: np.ndarray
    uncertainty_SS: np.ndarray | None
    fitted: bool | None

    @property
    def notes(self) -> list[str]:
        """What the owner of the photo is to know."""
        return ["no face to fit a head to: depth by the picture alone"] if self.fitted is False else []


def depth_in(
    args: argparse.Namespace,
    pipeline: PortraitPipeline,
    heads: Heads | None,
    photo: Photo,
    window_px: np.ndarray,
    steps: int = 1,
) -> HeadDepth:
    """The depth of one window of a photo by the options, from a head fitted by ``heads`` (:func:`fitting`), if any."""
    from jdap.pose.depth import head_in_photo

    fitted = None if heads is None else head_in_photo(heads, photo, window_px, pipeline.size_px)
    found = head.depth_of(pipeline, photo, window_px, steps, args.ensemble, args.seed, fitted)
    return HeadDepth(*found, None if heads is None else fitted is not None)


def load(args: argparse.Namespace) -> PortraitPipeline:
    """The pipeline that the options name, on its device; ``--steps`` is checked against its schedule."""
    check_folder(args.out)
    pipeline = pipeline_of(PortraitPipeline, args)
    check_steps(args.steps, pipeline)
    return pipeline


def pipeline_of(kind: type[SomePipeline], args: argparse.Namespace) -> SomePipeline:
    """The pipeline of ``--weights`` in ``--dtype`` on ``--device``, without progress bars of its own."""
    on = find_device(args.device)
    tell_of_bfloat16(args.dtype, on)
    return kind.from_pretrained(args.weights, dtype=getattr(torch, args.dtype)).quiet().to(on)


def check_steps(steps: int, pipeline: AnyPipeline) -> None:
    """Raises :class:`CommandError` for more steps than the schedule has."""
    try:
        pipeline.schedule.spaced(steps)
    except ValueError as error:
        raise CommandError(f"--steps: {error}") from error


def describe(args: argparse.Namespace, pipeline: AnyPipeline) -> dict[str, object]:
    """What made a file by the options, for its metadata."""
    return metadata.made_by(pipeline, args.weights, args.steps, args.seed, args.dtype)


def source(path: Path, photo: Photo, chosen: window.Windows, window_px: np.ndarray) -> dict[str, object]:
    """Where a window comes from, for metadata."""
    return metadata.where_from(str(path), photo, chosen.faces, window_px)


def run_all(photos: Sequence[Path], out: Path, made: Made, work: PhotoWork, *, as_json: bool = False) -> int:
    """Work on every photo, tell of each in a row, and write the rows.

    A photo that fails does not stop the others. With ``as_json`` the rows alone are printed. Returns the exit status:
    0, or 1 when any failed.
    """
    console = Console(stderr=as_json)
    make_folder(out)
    rows: list[PhotoRow] = []
    taken: set[str] = set()
    found = _spread(photos)
    with Telling("photo", len(found), console=console) as telling:
        for path in found:
            telling.tell(len(rows))
            try:
                files, notes = work(path, _name(path, taken))
                rows.append(PhotoRow(str(path), DONE, "; ".join(notes), tuple(files)))
            except PhotoError as error:
                rows.append(PhotoRow(str(path), FAILED, " ".join(str(error).removeprefix(f"{path}: ").split())))
            row = rows[-1]
            if as_json:
                print(json.dumps(asdict(row), ensure_ascii=False), flush=True)
                continue
            told = row.files[0] + (f" ({row.message})" if row.message else "") if row.files else row.message
            console.print(f"{row.status:<6}  {row.source}: {told}", markup=False, highlight=False, soft_wrap=True)
    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in rows]
    write_whole(out / made.rows, metadata.utf8("\n".join(lines) + "\n"))
    failed = sum(row.status == FAILED for row in rows)
    if failed:
        console.print(f"{failed} of {len(rows)} photos failed", style="yellow")
    return 1 if failed else 0


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write metadata, whole or not at all."""
    write_whole(path, metadata.as_json(data))


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
