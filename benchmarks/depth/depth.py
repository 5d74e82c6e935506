"""``python -m benchmarks depth --shards``: image-to-depth on shards, ours beside baselines and the models of others.

Definitions are those of :mod:`jdap.metrics`; docs/benchmarks.md says how to read the tables. Writes into a folder
``depth.json``, ``depth.csv`` (frames, alignments, methods), ``groups.csv`` (by yaw, source and region), ``paired.csv``,
``pictures.csv`` (every picture) and ``depth.png`` (best, median and worst picture).

Shapes: B pictures, H x W pixels, N measured pictures.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, report
from benchmarks.counts import count_pictures
from benchmarks.depth.method import DEPTH_METHODS, PHOTO_METHODS, Method, MethodSettings
from benchmarks.depth.others import FunctionDepth, MarigoldDepth, TransformersDepth
from benchmarks.depth.picture import DepthExample, plot_cases
from benchmarks.depth.regions import find_regions
from benchmarks.depth.scores import RANKING, DepthScores, FindRegions, measurable, measure, timed_prediction
from benchmarks.depth.tables import BY_REGION, group_rows, paired_rows, picture_rows, rows
from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import resolve
from jdap.io.device import find_device
from jdap.io.fetch import AssetError
from jdap.io.progress import Telling
from jdap.metrics.alignment import ALIGNMENTS
from jdap.metrics.depth import SCALE_SHIFT, align_scale_shift, ground_truth


def pictures(loader: Iterable[ImageBatch], device: torch.device, limit: int | None) -> Iterator[ImageBatch]:
    """The batches of a loader on ``device``, the first ``limit`` pictures of them."""
    seen = 0
    for batch in loader:
        batch = batch if limit is None else part_of(batch, slice(limit - seen))
        seen += len(batch)
        yield batch.to(device)
        if limit is not None and seen >= limit:
            return


def cases(
    methods: Iterable[Method], again: Callable[[], Iterable[ImageBatch]], scores: DepthScores
) -> list[DepthExample]:
    """Best, median and worst picture by RMSE of the first method that has a row, with every method's prediction.

    ``again`` gives the batches of the test set once more: keeping all of them would take memory without bound.
    """
    serving = [method for method in methods if method.name in scores.values]
    order = np.argsort(scores.column(serving[0].name, RANKING, "rmse"), kind="stable")
    picked = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    found: dict[str, DepthExample] = {}
    first = 0
    for batch in again():
        target, mask = ground_truth(RANKING, batch.depth_mm, batch.skin, batch.range_mm)
        kept = measurable(batch).nonzero().flatten().tolist()
        here = {title: kept[rank - first] for title, rank in picked.items() if first <= rank < first + len(kept)}
        first += len(kept)
        if here:
            aligned = _aligned(serving, batch, target, mask)
            for title, i in here.items():
                found[title] = _case(title, batch, i, target, mask, aligned)
        if len(found) == len(picked):
            break
    return [found[title] for title in picked]


def every_case(methods: Sequence[Method], batch: ImageBatch) -> list[DepthExample]:
    """All pictures of a batch that can be measured, titled by their keys, with each method's prediction."""
    target, mask = ground_truth(RANKING, batch.depth_mm, batch.skin, batch.range_mm)
    aligned = _aligned(methods, batch, target, mask)
    measured = measurable(batch).nonzero().flatten().tolist()
    return [_case(batch.key[i], batch, i, target, mask, aligned) for i in measured]


def _aligned(methods: Iterable[Method], batch: ImageBatch, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
    return {m.name: align_scale_shift(timed_prediction(m, batch)[0], target, mask) for m in methods}


def _case(
    title: str, batch: ImageBatch, i: int, target: Tensor, mask: Tensor, aligned: dict[str, Tensor]
) -> DepthExample:
    return DepthExample(
        title=title,
        key=batch.key[i],
        rgb_HW3=((batch.rgb[i].float().permute(1, 2, 0) + 1) / 2).cpu().numpy(),
        target_HW=target[i, 0].cpu().numpy(),
        mask_HW=mask[i, 0].cpu().numpy(),
        range_mm=float(batch.range_mm[i, 1] - batch.range_mm[i, 0]),
        predictions={name: depth[i, 0].cpu().numpy() for name, depth in aligned.items()},
    )


def build_methods(args: argparse.Namespace, default: Iterable[str] = DEPTH_METHODS) -> tuple[list[Method], int | None]:
    """The methods that the options name, or the ``default`` ones, and the side in pixels that they ask for; None: any
    will do."""
    weights = None if args.weights is None else Path(resolve(args.weights))
    settings = MethodSettings(weights, args.steps, args.ensemble, args.seed, find_device(args.device))
    known = DEPTH_METHODS | PHOTO_METHODS
    methods = [known[name](settings) for name in args.methods or default]
    others = ((MarigoldDepth, args.marigold), (TransformersDepth, args.transformers), (FunctionDepth, args.function))
    for kind, given in others:
        methods += [kind(name, place, settings) for name, place in given]
    names = [method.name for method in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BenchmarkError(f"two methods are called {twice}; name one of them otherwise, as in {twice}-2=…")
    own = [method.size_px for method in methods if hasattr(method, "size_px")]
    return methods, args.size or (own[0] if own else None)


@contextmanager
def region_finder(asked: bool) -> Iterator[tuple[FindRegions | None, str]]:
    """What finds the regions of faces, and "", or None and why there is none."""
    try:
        landmarker = Landmarker() if asked else None
    except (AssetError, ImportError) as error:
        yield None, str(error)
        return
    if landmarker is None:
        yield None, ""
        return
    with landmarker:
        yield partial(find_regions, landmarker), ""


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write ``depth.json``, ``depth.csv`` and ``depth.png`` into ``args.out``."""
    console = Console()
    methods, size_px = build_methods(args)
    data = ImageDataModule(test=args.shards, batch_size=args.batch_size, size_px=size_px, workers=args.workers)
    args.out.mkdir(parents=True, exist_ok=True)

    total, device = count_pictures(args.shards, args.limit), find_device(args.device)

    def batches(note: str) -> Iterator[ImageBatch]:
        with Telling("picture", total, console=console) as telling:
            for batch in pictures(data.test_dataloader(), device, args.limit):
                yield batch
                telling.advance(len(batch), note)

    with region_finder(not args.no_regions) as (find, reason):
        scores = measure(methods, batches("measuring"), frozenset(args.methods or ()), alignments_of(args), find)
    if reason:
        scores.left_out["regions of faces"] = reason
    if not scores.key:
        raise BenchmarkError(f"{args.shards}: nothing to measure: none of {scores.empty} pictures has depth on skin")
    drawn = cases(methods, lambda: batches("drawing cases"), scores)
    plot_cases(drawn, args.out / "depth.png")
    stamp = {"shards": args.shards, "size_px": size_px or "as stored", "people": len(set(scores.person_id))}
    publish("depth", scores, args, stamp, console)
    return 0


def alignments_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The alignments that were asked for; scale and shift is always among them."""
    return tuple(name for name in ALIGNMENTS if name == SCALE_SHIFT or name in args.alignments)


def publish(
    name: str,
    scores: DepthScores,
    args: argparse.Namespace,
    stamp: dict[str, Any],
    console: Console,
    left_out: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Print the tables and write ``NAME.json`` and the CSV files; ``stamp`` says what is known of the data alone, and
    ``left_out`` which pictures could not be measured (name → whose, why)."""
    device = find_device(args.device)
    table, groups, paired = (make(scores, args.seed) for make in (rows, group_rows, paired_rows))
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        "weights": args.weights,
        "steps": args.steps,
        "ensemble": args.ensemble,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "pictures": len(scores.key),
        "pictures_without_skin_depth": scores.empty,
        "depth_source": dict(Counter(scores.depth_source)),
        "interval_over": "people",
        "seconds_per_picture": {method: _seconds_per_picture(calls) for method, calls in scores.seconds.items()},
        "left_out": scores.left_out,
        **stamp,
    }
    report.write_json(args.out / f"{name}.json", {"rows": table, "groups": groups, "paired": paired, "stamp": stamp})
    for file, some in ((name, table), ("groups", groups), ("paired", paired)):
        report.write_csv(args.out / f"{file}.csv", some)
    report.write_csv(args.out / "pictures.csv", list(picture_rows(scores, left_out)))
    report.print_table(table, stamp, console)
    _print_regions([row for row in groups if row["group"] == BY_REGION], console)
    _print_pairs([row for row in paired if row["first"] == table[0]["method"] and row["measure"] == "rmse"], console)


def _print_regions(rows: Sequence[dict[str, Any]], console: Console) -> None:
    if not rows:
        return
    console.print("By region, RMSE in mm after one scale and shift of the whole face", style="bold")
    named = list(dict.fromkeys(row["of"] for row in rows))
    table = report.grid("method", named)
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {row["of"]: row for row in rows if row["method"] == method}
        table.add_row(method, *(f"{mine[name]['mean']:.2f}" if name in mine else "" for name in named))
    report.show(table, console)


def _print_pairs(rows: Sequence[dict[str, Any]], console: Console) -> None:
    for row in rows:
        low, high = row["mean_ci"]
        digits = 2 if row["unit"] == "mm" else 4
        console.print(
            f"{row['first']} minus {row['other']}, {row['frame']} RMSE: {row['mean']:+.{digits}f} "
            f"[{low:+.{digits}f}, {high:+.{digits}f}]{' mm' if row['unit'] == 'mm' else ''}, p {row['p_holm']:.2g}",
            style="dim",
            markup=False,
        )


def _seconds_per_picture(calls: list[tuple[float, int]]) -> float:
    # The first call allocates and compiles; it is left out where there are others.
    counted = calls[1:] or calls
    return sum(s for s, _ in counted) / sum(n for _, n in counted)


def part_of(batch: ImageBatch, part: slice) -> ImageBatch:
    """Some pictures of a batch."""
    values: dict[str, Any] = {}
    for f in fields(batch):
        value = getattr(batch, f.name)
        values[f.name] = None if value is None else value[part]
    return type(batch)(**values)
