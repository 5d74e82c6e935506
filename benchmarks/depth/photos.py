"""``python -m benchmarks depth --photos``: image-to-depth on real photos with measured depth, ours beside baselines.

Methods, measures and table are those of shards; beside them stand what the face's landmarks alone say of depth
(:mod:`benchmarks.depth.photo_heads`), errors by region of the face, and the paired difference to the fit of the single
picture. A photo that cannot be measured is a row with the reason. Writes ``depth.json``, ``depth.csv``,
``regions.csv``, ``pictures.csv`` (a row a photo) and ``depth.png`` (best, median and worst pictures).

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.depth.depth import build_methods, every_case, publish
from benchmarks.depth.measured import measured_fields, stack
from benchmarks.depth.method import DEPTH_METHODS, PHOTO_METHODS, CarriedDepth, Method
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.photo_folder import Entry, crop_depth, read_depth_mm, read_index
from benchmarks.depth.photo_heads import FITS, HeadGuesses
from benchmarks.depth.picture import DepthExample, plot_cases
from benchmarks.depth.regions import REGIONS, render_regions
from benchmarks.depth.scores import RANKING, UNTILTED, DepthScores, measure, of_region
from jdap.depth import has_range, skin_range_mm
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker
from jdap.io.device import find_device
from jdap.io.progress import track
from jdap.metrics.depth import METRIC, NORMALISED
from jdap.photos.read import PhotoError, read_photo

#: Side of the pictures, when no method asks for one.
PHOTO_SIZE_PX = 128
MEASURED_SOURCE = "measured"
#: A face's region that is all of it; and what is told beside regions.
WHOLE_FACE = "face"
COLUMNS = (WHOLE_FACE, *REGIONS, UNTILTED)
#: Rank from the best, or from the worst where negative → its title in the picture.
SHOWN_RANKS = {0: "best", 1: "second best", -2: "second worst", -1: "worst"}


@dataclass(frozen=True, eq=False)
class Picture:
    """One photo, cropped: ``rgb_SS3`` uint8, ``depth_mm_SS`` (0 = none), the camera (3,), ``regions_RSS`` bool, and
    ``maps`` of :class:`benchmarks.depth.photo_heads.HeadGuesses`."""

    entry: Entry
    rgb_SS3: np.ndarray
    depth_mm_SS: np.ndarray
    camera_px_3: np.ndarray
    regions_RSS: np.ndarray
    maps: dict[str, np.ndarray]


class PhotoReader:
    """Reads entries as pictures of ``size`` pixels; ``left_out``: name → why a photo cannot be measured."""

    def __init__(self, size: int, guesses: HeadGuesses | None, landmarker: Landmarker) -> None:
        self.size, self.guesses, self.landmarker = size, guesses, landmarker
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
        photo = read_photo(entry.photo)
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
        maps, camera = dict[str, np.ndarray](), np.zeros(3, np.float32)
        if self.guesses is not None:
            maps, camera = self.guesses(faces[0], photo.width, photo.height, window, self.size)
        regions = render_regions(crop.to_window(points[None, :, :2], window[None], self.size)[0], self.size)
        rgb = crop.crop_frame(photo.rgb_HW3, window, self.size)
        return Picture(entry, rgb, cropped, camera, regions, maps)


def as_batch(pictures: Sequence[Picture], device: torch.device) -> PhotoBatch:
    """Pictures as a batch, each its own reference; all that is measured counts as skin."""
    depth_mm = stack([p.depth_mm_SS for p in pictures])[:, None]
    maps: dict[str, Any] = {name: stack([p.maps[name] for p in pictures])[:, None] for name in pictures[0].maps}
    return PhotoBatch(
        **measured_fields(stack([p.rgb_SS3 for p in pictures]), depth_mm, depth_mm > 0, MEASURED_SOURCE),
        camera_px=stack([p.camera_px_3 for p in pictures]),
        key=tuple(p.entry.name for p in pictures),
        person_id=tuple(p.entry.person for p in pictures),
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
        reader = PhotoReader(size, _guesses(methods), landmarker)
        shown = track(entries, "photo", console)
        batches = (as_batch(part, device) for part in _cut(reader.pictures(shown), args.batch_size))
        scores = measure(methods, batches, frozenset(args.methods or ()))
        if not scores.key:
            name, reason = next(iter(reader.left_out.items()))
            raise BenchmarkError(f"{args.photos}: nothing to measure in {len(entries)} photos ({name}: {reason})")
        serving = [method for method in methods if method.name in scores.values]
        drawn = _cases(serving, scores, reader, entries, device)
    args.out.mkdir(parents=True, exist_ok=True)
    plot_cases(drawn, args.out / "depth.png")
    regions = region_rows(scores, args.seed)
    stamp = {
        "photos": str(args.photos),
        "size_px": size,
        "people": len(set(scores.person_id)),
        "photos_left_out": reader.left_out,
    }
    report.write_csv(args.out / "regions.csv", regions)
    report.write_csv(args.out / "pictures.csv", picture_rows(scores, entries, reader.left_out))
    publish("depth", scores, args, stamp, console, {"regions": regions})
    _print_regions(regions, console)
    for name, reason in reader.left_out.items():
        console.print(f"left out: {name} ({reason})", style="yellow", markup=False, soft_wrap=True)
    return 0


def region_rows(scores: DepthScores, seed: int) -> list[dict[str, Any]]:
    """A row a method and region: mean RMSE in mm after the alignment of the whole face (``untilted``: of all of it,
    after a tilt, too), and what is paired to the fit.

    ``n`` pictures have the region, ``mean`` and ``mean_ci``; ``minus_fit`` and ``minus_fit_ci``, the mean of the
    differences to the fit of the single picture, are None where that was not measured.
    """
    rows = []
    for region in COLUMNS:
        measure_name = "rmse" if region == WHOLE_FACE else of_region(region)
        fit = scores.column("fit", METRIC, measure_name) if "fit" in scores.values else None
        for method in scores.values:
            values = scores.column(method, METRIC, measure_name)
            row = {"method": method, "region": region, "unit": "mm"}
            row |= report.mean_and_interval(values, scores.person_id, seed)
            paired: dict[str, Any] = {"mean": None, "mean_ci": None}
            if fit is not None:
                paired = report.mean_and_interval(values - fit, scores.person_id, seed)
            rows.append(row | {"minus_fit": paired["mean"], "minus_fit_ci": paired["mean_ci"]})
    return rows


def picture_rows(scores: DepthScores, entries: Sequence[Entry], left_out: dict[str, str]) -> list[dict[str, Any]]:
    """A row a photo, in the order of the index: ``photo``, ``person``, ``reason`` (empty if measured), and of each
    method ``METHOD_rmse`` (normalised), ``_absrel``, ``_delta1``, ``_mm``, and ``_mm_REGION``."""
    place = {name: i for i, name in enumerate(scores.key)}
    columns: dict[str, np.ndarray] = {}
    for method in scores.values:
        for name in ("rmse", "absrel", "delta1"):
            columns[f"{method}_{name}"] = scores.column(method, NORMALISED, name)
        columns[f"{method}_mm"] = scores.column(method, METRIC, "rmse")
        for region in (*REGIONS, UNTILTED):
            columns[f"{method}_mm_{region}"] = scores.column(method, METRIC, of_region(region))
    rows = []
    for entry in entries:
        row = {"photo": entry.name, "person": entry.person, "reason": left_out.get(entry.name, "")}
        i = place.get(entry.name)
        rows.append(row | {name: None if i is None else round(float(v[i]), 5) for name, v in columns.items()})
    return rows


def _cut(pictures: Iterator[Picture], count: int) -> Iterator[list[Picture]]:
    while part := list(islice(pictures, count)):
        yield part


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


def _print_regions(rows: Sequence[dict[str, Any]], console: Console) -> None:
    console.print("By region, RMSE in mm after one scale and shift of the whole face", style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True)
    for region in COLUMNS:
        table.add_column(region, justify="right", no_wrap=True)
    for method in dict.fromkeys(row["method"] for row in rows):
        table.add_row(method, *(f"{row['mean']:.2f}" for row in rows if row["method"] == method))
    console.print(table)
    for row in rows:
        if row["region"] == WHOLE_FACE and row["minus_fit"] is not None and row["method"] != "fit":
            low, high = row["minus_fit_ci"]
            console.print(
                f"{row['method']} minus fit: {row['minus_fit']:+.2f} [{low:+.2f}, {high:+.2f}] mm", style="dim"
            )
