"""``python -m benchmarks kid``: whether drawn portraits, as a set, look like true pictures.

Of every held-out person there are one true picture and one by each answer: portraits drawn from the reference, pictures
drawn for the true depth, the true picture through the codec and blurred, and, as the floor, the reference, which is
another true picture. Each answer's set is compared with the true set by the kernel distance of features
(:mod:`jdap.metrics.kernel`). Writes ``kid.json`` and ``kid.csv`` into a folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, report
from benchmarks.answers import Measures
from benchmarks.answers import table as shown_as
from benchmarks.counts import count_pictures
from benchmarks.depth.depth import pictures
from benchmarks.depth.method import seeded
from benchmarks.loading import load_named
from benchmarks.modes import measure
from benchmarks.modes.trunk import Trunk, trunk_of
from jdap.batch import ImageBatch
from jdap.blur import gaussian_blur
from jdap.data.modules import ImageDataModule
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.metrics.bootstrap import interval
from jdap.metrics.kernel import kernel_distance, kernel_terms, resampled_distances
from jdap.pipelines.portrait import PortraitPipeline

FLOOR, TRUE_BLURRED, DEPTH_GIVEN = "true, the references", "true, blurred", "depth given"
#: Standard deviation of the blur, as a share of the picture's side: what a distance is to be read beside.
BLUR_SHARE = 0.01
KID = "KID"
#: Distances are small numbers, and told in thousandths, as is usual.
KID_MEASURES: Measures = {KID: ("× 1000", False)}


def drawn(
    pipelines: Mapping[str, PortraitPipeline], batch: ImageBatch, settings: measure.ModeSettings
) -> dict[str, Tensor]:
    """Pictures (B, 3, H, W) in [-1, 1] by each answer, one a person of the batch."""
    found: dict[str, Tensor] = {}
    for name, pipeline in pipelines.items():
        found[f"{name}, {measure.JOINT_QUESTION}"] = measure.portraits(pipeline, batch, settings).rgb
        if pipeline.joint:
            found[f"{name}, {DEPTH_GIVEN}"] = pipeline.depth_to_image(
                batch.depth,
                reference=measure.reference_of(pipeline, batch),
                steps=settings.steps,
                guidance=settings.guidance,
                generator=seeded(settings.seed, [measure.DEPTH_TO_IMAGE_QUESTION, *batch.key]),
            )
        found.setdefault(measure.CODEC, pipeline.codec.decode(pipeline.codec.encode(batch.rgb)).clamp(-1, 1))
    found[TRUE_BLURRED] = gaussian_blur(batch.rgb, BLUR_SHARE * batch.rgb.shape[-1])
    found[FLOOR] = batch.reference_rgb
    return found


def kid_rows(features: Mapping[str, Tensor], true_NE: Tensor, seed: int, measure: str = KID) -> list[dict[str, Any]]:
    """A row an answer, features (N, E) of one picture a person (or of a clip, where the ``measure`` has that name):
    distance to the true set, its interval over people.

    Then the differences of every other answer and the first, on the same draws of people.
    """
    terms = {answer: kernel_terms(made, true_NE) for answer, made in features.items()}
    means = {answer: kernel_distance(found) for answer, found in terms.items()}
    draws = {answer: resampled_distances(found, seed=seed) for answer, found in terms.items()}
    first, *others = terms
    for other in others:
        name = f"{first} − {other}"
        means[name], draws[name] = means[first] - means[other], draws[first] - draws[other]
    unit, better = KID_MEASURES[KID]
    return [
        {"answer": answer, "measure": measure, "n": len(true_NE), "mean": 1000 * mean}
        | {"mean_ci": list(interval(1000 * draws[answer])), "unit": unit, "higher_is_better": better}
        for answer, mean in means.items()
    ]


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, compare, print the table, and write the files into ``args.out``."""
    console, device, trunk = Console(), find_device(args.device), trunk_of(args.trunk)
    pipelines = _load(args, device)
    (size_px,) = {pipeline.size_px for pipeline in pipelines.values()}
    data = ImageDataModule(test=args.shards, batch_size=args.batch_size, size_px=size_px, eval_frames=1)
    settings = measure.ModeSettings(args.steps, args.guidance, seed=args.seed)
    parts: dict[str, list[Tensor]] = {}
    people: list[str] = []
    with Telling("picture", count_pictures(args.shards, args.limit, 1), console=console) as telling:
        for batch in pictures(data.test_dataloader(), device, args.limit):
            for answer, rgb in drawn(pipelines, batch, settings).items():
                parts.setdefault(answer, []).append(trunk(rgb))
            parts.setdefault(measure.TRUE, []).append(trunk(batch.rgb))
            people += batch.person_id
            telling.advance(len(batch))
    check_apart(people, args.shards, "sample")
    features = {answer: torch.cat(some) for answer, some in parts.items()}
    table = kid_rows(features, features.pop(measure.TRUE), args.seed)
    stamp = _stamp(args, device, trunk, len(people))
    publish_sets(args.out / "kid", table, KID_MEASURES, stamp, "one picture", console)
    return 0


def check_apart(people: Sequence[str], shards: str, what: str) -> None:
    """Raises :class:`BenchmarkError` unless there is one sample, or whatever it is, of each of three people or more."""
    if len(people) < 3 or len(set(people)) < len(people):
        raise BenchmarkError(
            f"{shards}: one {what} each of three people or more is needed, found {len(people)} of {len(set(people))}"
        )


def publish_sets(
    stem: Path, table: list[dict[str, Any]], measures: Measures, stamp: dict[str, Any], what: str, console: Console
) -> None:
    """Write ``stem.json`` and ``stem.csv``, and print the table of sets with ``what`` of each person."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    report.write_json(stem.with_suffix(".json"), {"rows": table, "stamp": stamp})
    report.write_csv(stem.with_suffix(".csv"), table)
    report.show(shown_as(table, measures), console)
    console.print(
        f"{stamp['people']} people, {what} of each in every set; features: {stamp['trunk']}; unbiased, so that two "
        "sets of one kind have 0 in the mean; ±: half of the 95 % bootstrap interval over people",
        style="dim",
        highlight=False,
    )


def _load(args: argparse.Namespace, device: torch.device) -> dict[str, PortraitPipeline]:
    """The pipelines by name. Raises :class:`BenchmarkError` for what cannot be compared."""
    found = load_named(PortraitPipeline, args.weights, device, args.steps)
    for name, pipeline in found.items():
        if pipeline.one_step_start is not None:
            raise BenchmarkError(f"--weights {name}: they only estimate depth in one step, and draw no portraits")
    return found


def _stamp(args: argparse.Namespace, device: torch.device, trunk: Trunk, people: int) -> dict[str, Any]:
    return report.software_stamp() | {
        "device": report.device_name(device),
        "weights": dict(args.weights),
        "shards": args.shards,
        "trunk": trunk.name,
        "steps": args.steps,
        "guidance": args.guidance,
        "seed": args.seed,
        "people": people,
        "left_out": {},
    }
