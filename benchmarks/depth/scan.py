"""``python -m benchmarks scan``: image-to-depth on renders of a real, textured scan, ours beside baselines.

Methods, measures and the table are those of ``python -m benchmarks depth``. What differs is the data
(:mod:`data_prep.scans.place`): a real person's surface and skin, turned to ten yaws within ±40 degrees, cropped as
preparation crops. The posed mean head has the head's *true* pose: it is laid on the scan's surface rigidly, once, and
turned with it. The face's region is mediapipe's oval without the eyes. The intervals of one scan are over its views.

Writes ``scan.json``, ``scan.csv``, ``groups.csv``, ``paired.csv``, ``pictures.csv`` and ``scan.png`` (picture, ground
truth, ours, error of every view).

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks import BenchmarkError
from benchmarks.choices import DEFAULT_SCAN
from benchmarks.depth.depth import alignments_of, build_methods, every_case, part_of, publish, region_finder
from benchmarks.depth.measured import measured_fields, stack
from benchmarks.depth.picture import plot_views
from benchmarks.depth.scores import measure
from data_prep.fit.render import HeadRenderer
from data_prep.head.landmarks import load_correspondence
from data_prep.head.model import load_ict
from data_prep.scans import place as scans
from data_prep.scans.files import read_scan
from jdap.batch import ImageBatch
from jdap.io.device import find_device
from jdap.io.fetch import ENVIRONMENT
from jdap.io.progress import track

SCAN_YAWS_DEG = tuple(float(yaw) for yaw in np.linspace(-40, 40, 10))
#: Side of the pictures, when no method asks for one.
SCAN_SIZE_PX = 128
SOURCE = "scan"


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, measure, print the table, and write ``scan.json``, ``scan.csv`` and ``scan.png`` into ``args.out``."""
    console = Console()
    folders = _folders(args.scan)
    methods, size_px = build_methods(args)
    batch = render_batch(folders, size_px or SCAN_SIZE_PX, args.seed, find_device(args.device), console)
    with region_finder(not args.no_regions) as (find, reason):
        scores = measure(
            methods, _cut(batch, args.batch_size), frozenset(args.methods or ()), alignments_of(args), find
        )
    if reason:
        scores.left_out["regions of faces"] = reason
    serving = [method for method in methods if method.name in scores.values]
    args.out.mkdir(parents=True, exist_ok=True)
    drawn = [case for part in _cut(batch, args.batch_size) for case in every_case(serving, part)]
    plot_views(drawn, args.out / "scan.png")
    stamp = {"scans": [str(folder) for folder in folders], "yaws_deg": SCAN_YAWS_DEG, "size_px": batch.rgb.shape[-1]}
    interval = "people" if len(folders) > 1 else "views"
    publish("scan", scores, args, {**stamp, "people": len(folders), "interval_over": interval}, console)
    return 0


def render_batch(folders: list[Path], size: int, seed: int, device: torch.device, console: Console) -> ImageBatch:
    """Every view of the scans as one batch of pictures (10 a scan, S x S), each its own reference.

    Groups for intervals are people; the views, where there is one person only.
    """
    model, correspondence = load_ict(), load_correspondence()
    renderer = HeadRenderer(model.to(device), correspondence.to(device))
    views, mean_mm, keys, people = [], [], [], []
    for folder in folders:
        found = scans.place(read_scan(folder), model, correspondence)
        head = found.to(device)
        rng = np.random.default_rng(seed)
        yaws = track(list(enumerate(SCAN_YAWS_DEG)), f"view of {head.scan.name}", console)
        # Every other picture stands before one colour.
        own = [scans.render_view(head, yaw, size, rng, plain=i % 2 == 0) for i, yaw in yaws]
        names = [f"{head.scan.name} {yaw:+.0f}°" for yaw in SCAN_YAWS_DEG]
        views += own
        mean_mm.append(scans.mean_heads(own, renderer))
        keys += names
        people += names if len(folders) == 1 else [str(folder)] * len(own)
    depth_mm = stack([view.depth_mm_SS for view in views])[:, None].to(device)
    skin = stack([view.skin_SS for view in views])[:, None].to(device)
    return ImageBatch(
        **measured_fields(stack([view.rgb_SS3 for view in views]).to(device), depth_mm, skin, SOURCE),
        camera_px=torch.stack([view.camera_px_3 for view in views]),
        key=tuple(keys),
        person_id=tuple(people),
        mean_head_mm=torch.from_numpy(np.concatenate(mean_mm))[:, None].to(device),
        yaw_deg=torch.tensor(SCAN_YAWS_DEG).repeat(len(folders)).to(device),
    )


def _cut(batch: ImageBatch, count: int) -> Iterator[ImageBatch]:
    for first in range(0, len(batch), count):
        yield part_of(batch, slice(first, first + count))


def _folders(given: list[Path] | None) -> list[Path]:
    if given is None:
        root = os.environ.get(ENVIRONMENT)
        if not root:
            raise BenchmarkError(f"no scan: name one with --scan, or set {ENVIRONMENT} to one with {DEFAULT_SCAN}")
        given = [Path(root) / DEFAULT_SCAN]
    for folder in given:
        if not folder.is_dir():
            raise BenchmarkError(f"{folder}: no such folder of a scan (an OBJ file, its material file and texture)")
    return given
