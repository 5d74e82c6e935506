"""``python -m benchmarks depth --photos``: image-to-depth on real photos with measured depth, ours beside baselines.

Methods, measures and table are those of shards; beside them stand what the face's landmarks alone say of depth
(:mod:`benchmarks.depth.photo_heads`). A photo that cannot be measured is a row of ``pictures.csv`` with the reason.
Writes what ``depth --shards`` writes.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import BenchmarkError
from benchmarks.depth.depth import alignments_of, build_methods, every_case, publish
from benchmarks.depth.measured import measured_fields, stack
from benchmarks.depth.method import DEPTH_METHODS, PHOTO_METHODS, CarriedDepth, JdapHead, Method
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.photo_folder import Entry, crop_depth, read_depth_mm, read_index, read_picture
from benchmarks.depth.photo_heads import FITS, HeadGuesses, face_camera
from benchmarks.depth.picture import DepthExample, plot_cases
from benchmarks.depth.regions import render_regions
from benchmarks.depth.scores import RANKING, DepthScores, measure
from jdap.depth import has_range, skin_range_mm
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker
from jdap.io.device import find_device
from jdap.io.progress import track
from jdap.photos.read import PhotoError

if TYPE_CHECKING:
    from jdap.pose.heads import Heads

#: Side of the pictures, when no method asks for one.
PHOTO_SIZE_PX = 128
MEASURED_SOURCE = "measured"
#: Rank from the best, or from the worst where negative → its title in the picture.
SHOWN_RANKS = {0: "best", 1: "second best", -2: "second worst", -1: "worst"}


@dataclass(frozen=True, eq=False)
class Picture:
    """One photo, cropped: ``rgb_SS3`` uint8, ``depth_mm_SS`` (0 = none), where the camera (3,) sees the face,
    ``regions_RSS`` bool, and ``maps`` and yaw of :class:`benchmarks.depth.photo_heads.HeadGuesses`.

    ``maps`` also has ``head_relief`` and ``head_face``, where the weights better a fitted head.
    """

    entry: Entry
    rgb_SS3: np.ndarray
    depth_mm_SS: np.ndarray
    camera_px_3: np.ndarray
    regions_RSS: np.ndarray
    maps: dict[str, np.ndarray]
    yaw_deg: float


class PhotoReader:
    """Reads entries as pictures of ``size`` pixels; ``left_out``: name → why a photo cannot be measured.

    ``heads`` fits the heads that our weights better, if they do.
    """

    def __init__(
        self, size: int, guesses: HeadGuesses | None, landmarker: Landmarker, heads: Heads | None = None
    ) -> None:
        self.size, self.guesses, self.landmarker, self.heads = size, guesses, landmarker, heads
        self.left_out: dict[str, str] = {}

    def pictures(self, entries: Iterable[Entry]) -> Iterator[Picture]:
        """Those that can be measured."""
        for entry in entries:
            try:
                yield self.read(entry)
            except PhotoError as error:
                self.left_out[entry.name] = str(error).removeprefix(f"{entry.photo}: ")

    def read(self, entry: Entry) -> Picture:
        """One photo, cropped about its widest face; raises :class:`PhotoError`."""
        photo = read_picture(entry)
        depth_mm = read_depth_mm(entry, photo.width, photo.height)
        faces = self.landmarker.find(photo.rgb_HW3)
        if not faces:
            raise PhotoError(f"{entry.photo}: no face is found")
        points = faces[0].landmarks_px_N3[:FACE_LANDMARKS]
        window = crop.head_window(points, photo.width, photo.height)
        cropped = crop_depth(depth_mm, window, self.size)
        depth = torch.from_numpy(cropped)[None, None]
        if not bool(has_range(skin_range_mm(depth, depth > 0))):
            raise PhotoError(f"{entry.photo}: nothing of the face is measured in {entry.depth.name}")
        maps, yaw_deg = dict[str, np.ndarray](), float("nan")
        if self.guesses is not None:
            maps, _, yaw_deg = self.guesses(faces[0], photo.width, photo.height, window, self.size, photo.focal_px)
        if self.heads is not None:
            from jdap.pose.depth import head_in_photo  # with networks, which baselines do without

            head = head_in_photo(self.heads, photo, window, self.size)
            if head is None:
                raise PhotoError(f"{entry.photo}: no head can be fitted to the face")
            maps |= {"head_relief": head.relief[0, 0].numpy(), "head_face": head.face[0, 0].numpy()}
        camera, distance_mm = face_camera(points, photo.width, photo.height, photo.focal_px)
        camera_px = crop.window_cameras(camera, window[None], self.size)[0]
        # A scanner's origin is anywhere; normals want the face where the camera sees it.
        measured = cropped > 0
        cropped = np.where(measured, cropped - np.median(cropped[measured]) + np.float32(distance_mm), 0)
        cropped = cropped.astype(np.float32)
        regions = render_regions(crop.to_window(points[None, :, :2], window[None], self.size)[0], self.size)
        rgb = crop.crop_frame(photo.rgb_HW3, window, self.size)
        return Picture(entry, rgb, cropped, camera_px, regions, maps, yaw_deg)


def as_batch(pictures: Sequence[Picture], device: torch.device) -> PhotoBatch:
    """Pictures as a batch, each its own reference; all that is measured counts as skin."""
    depth_mm = stack([p.depth_mm_SS for p in pictures])[:, None]
    maps: dict[str, Any] = {name: stack([p.maps[name] for p in pictures])[:, None] for name in pictures[0].maps}
    return PhotoBatch(
        **measured_fields(stack([p.rgb_SS3 for p in pictures]), depth_mm, depth_mm > 0, MEASURED_SOURCE),
        camera_px=stack([p.camera_px_3 for p in pictures]),
        key=tuple(p.entry.name for p in pictures),
        person_id=tuple(p.entry.person for p in pictures),
        yaw_deg=torch.tensor([p.yaw_deg for p in pictures]),
        regions=stack([p.regions_RSS for p in pictures]),
        **maps,
    ).to(device)


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, and write them and the picture into ``args.out``."""
    console, entries = Console(), read_index(args.photos)[: args.limit]
    methods, size_px = build_methods(args, [*DEPTH_METHODS, *PHOTO_METHODS])
    device, size = find_device(args.device), size_px or PHOTO_SIZE_PX
    with Landmarker() as landmarker:
        reader = PhotoReader(size, _guesses(methods), landmarker, _heads(methods, landmarker))
        shown = track(entries, "photo", console)
        batches = (as_batch(part, device) for part in _cut(reader.pictures(shown), args.batch_size))
        scores = measure(methods, batches, frozenset(args.methods or ()), alignments_of(args))
        if not scores.key:
            name, reason = next(iter(reader.left_out.items()))
            raise BenchmarkError(f"{args.photos}: nothing to measure in {len(entries)} photos ({name}: {reason})")
        serving = [method for method in methods if method.name in scores.values]
        drawn = _cases(serving, scores, reader, entries, device)
    args.out.mkdir(parents=True, exist_ok=True)
    plot_cases(drawn, args.out / "depth.png")
    stamp = {
        "photos": str(args.photos),
        "size_px": size,
        "people": len(set(scores.person_id)),
        "photos_left_out": reader.left_out,
    }
    whose = {entry.name: entry.person for entry in entries}
    left_out = {name: (whose[name], reason) for name, reason in reader.left_out.items()}
    publish("depth", scores, args, stamp, console, left_out)
    for name, reason in reader.left_out.items():
        console.print(f"left out: {name} ({reason})", style="yellow", markup=False, soft_wrap=True)
    return 0


def _cut(pictures: Iterator[Picture], count: int) -> Iterator[list[Picture]]:
    while part := list(islice(pictures, count)):
        yield part


def _heads(methods: Sequence[Method], landmarker: Landmarker) -> Heads | None:
    """What fits the heads that our weights better; None where they have no layers for it."""
    if not any(isinstance(method, JdapHead) and method.betters_heads for method in methods):
        return None
    from jdap.pose.heads import Heads

    return Heads(landmarker)


def _guesses(methods: Sequence[Method]) -> HeadGuesses | None:
    """What fits the heads that the methods ask for; None where none does."""
    fields = {method.field for method in methods if isinstance(method, CarriedDepth)}
    return HeadGuesses({field: fit for field, fit in FITS.items() if field in fields}) if fields else None


def _cases(
    serving: Sequence[Method], scores: DepthScores, reader: PhotoReader, entries: Sequence[Entry], device: torch.device
) -> list[DepthExample]:
    """Best, median and worst pictures by RMSE of the first method; each is read again: to keep all would take memory
    without bound."""
    order = np.argsort(scores.column(serving[0].name, RANKING, "rmse"), kind="stable")
    middle = (len(order) - 1) // 2
    titles = {int(order[rank]): title for rank, title in SHOWN_RANKS.items() if -len(order) <= rank < len(order)}
    titles.setdefault(int(order[middle]), "median")
    by_name, found = {entry.name: entry for entry in entries}, []
    for i in sorted(titles, key=lambda i: order.tolist().index(i)):
        (case,) = every_case(serving, as_batch([reader.read(by_name[scores.key[i]])], device))
        found.append(replace(case, title=titles[i]))
    return found
