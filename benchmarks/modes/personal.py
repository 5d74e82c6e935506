"""``python -m benchmarks personal``: has a model that was fine-tuned to one person learnt that person?

On frames that were kept aside (``python -m data_prep hold-out``) the picture is drawn for the true depth, led by one
picture of those that were trained on. Beside it: what the codec makes of the true picture (nothing can be better), that
one picture as the answer, and the weights ``--before``. Intervals are over blocks of time, for frames next to each
other are nearly one picture; they say nothing of another video. Writes ``personal.json`` (with every picture's
numbers), ``personal.csv`` and ``personal.png``, drawn pictures beside the true ones.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, answers, report
from benchmarks.counts import count_pictures
from benchmarks.depth.depth import pictures
from benchmarks.depth.method import seeded
from benchmarks.modes import identity as modes_identity
from benchmarks.modes.identity import FACE_FOUND
from benchmarks.modes.measure import CODEC, DEPTH_TO_IMAGE_QUESTION, REFERENCE, TRUE, Answers, ModeSettings, psnr, ssim
from benchmarks.modes.modes import MODE_MEASURES
from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.io import assets as shipped
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.pipelines.grid import depth_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline

SAMPLED, BEFORE = "drawn", "before"
#: What the drawn picture's numbers are compared with, picture by picture.
ARMS_COMPARED = (BEFORE, REFERENCE)
#: Columns of pictures in the sheet.
ABREAST = 2


@dataclass
class PersonalScores:
    """Of every picture: its ``block`` of time, ``values[answer][measure]``, and what goes into the sheet."""

    block: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    shown: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, outcome: Answers, batch: ImageBatch, frames: int) -> None:
        """Take in a batch; a block is so many ``frames``."""
        self.key += batch.key
        self.block += [block_of(key, frames) for key in batch.key]
        for answer, measures in outcome.values.items():
            for name, values in measures.items():
                self.values.setdefault(answer, {}).setdefault(name, []).extend(values.tolist())
        shown = {"its depth": depth_picture(batch.depth), **outcome.rgb, TRUE: batch.rgb}
        for label in ("its depth", BEFORE, SAMPLED, TRUE):
            if label in shown:
                self.shown.setdefault(label, []).extend(shown[label].cpu())


def block_of(key: str, frames: int) -> str:
    """The block of a picture ``CLIP-FIRST/FRAME``: the clip and the number of the block in it."""
    sample, _, frame = key.rpartition("/")
    clip, _, first = sample.rpartition("-")
    return f"{clip} {(int(first) + int(frame)) // frames}"


def references(shards: str, size_px: int) -> dict[str, Tensor]:
    """Of each person the picture in the middle of the first sample, (3, H, W) in [-1, 1]."""
    data, found = ImageDataModule(test=shards, size_px=size_px, eval_frames=1), dict[str, Tensor]()
    for batch in data.test_dataloader():
        for person, rgb in zip(batch.person_id, batch.rgb, strict=True):
            found.setdefault(person, rgb)
    return found


def led_by(batches: Iterator[ImageBatch], known: dict[str, Tensor], where: str) -> Iterator[ImageBatch]:
    """Batches whose references are those of ``known``. Raises :class:`BenchmarkError` where one is missing."""
    for batch in batches:
        if missing := [person for person in batch.person_id if person not in known]:
            raise BenchmarkError(f"{where}: holds no picture of {missing[0]}, who is to be drawn")
        rgb = torch.stack([known[person] for person in batch.person_id]).to(batch.rgb)
        # The pose is that of the reference that was there.
        yield replace(batch, reference_rgb=rgb, reference_pose=None, reference_camera_px=None)


def ask(
    pipelines: dict[str, PortraitPipeline],
    batch: ImageBatch,
    settings: ModeSettings,
    identity: modes_identity.Identity | None = None,
) -> Answers:
    """Pictures drawn for the true depth by each pipeline, and their numbers beside the codec's and the reference's."""
    out = Answers()
    for name, pipeline in pipelines.items():
        out.rgb[name] = pipeline.depth_to_image(
            batch.depth,
            reference=batch.reference_rgb,
            steps=settings.steps,
            guidance=settings.guidance,
            generator=seeded(settings.seed, [DEPTH_TO_IMAGE_QUESTION, *batch.key]),
        )
    codec, whole = pipelines[SAMPLED].codec, torch.ones_like(batch.skin)
    out.rgb[CODEC] = codec.decode(codec.encode(batch.rgb)).clamp(-1, 1)
    out.rgb[REFERENCE] = batch.reference_rgb
    for answer, rgb in out.rgb.items():
        out.add(answer, "psnr", psnr(rgb, batch.rgb, whole))
        out.add(answer, "ssim", ssim(rgb, batch.rgb, whole))
    if identity is not None:
        identity.add({DEPTH_TO_IMAGE_QUESTION: out}, batch)
        for answer, rgb in out.rgb.items():
            out.add(answer, FACE_FOUND, identity.landmarks(rgb)[1].double())
    return out


def rows(found: PersonalScores, seed: int) -> list[dict[str, Any]]:
    """A row an answer and measure, then the mean differences, picture by picture, from :data:`ARMS_COMPARED`."""
    columns = dict(found.values)
    for other in (name for name in ARMS_COMPARED if name in found.values):
        columns[f"{SAMPLED} − {other}"] = answers.minus(found.values[SAMPLED], found.values[other])
    return answers.rows(columns, MODE_MEASURES, found.block, seed)


def sheet(found: PersonalScores, count: int) -> Any:
    """So many pictures, evenly over time: depth, what was drawn before and is drawn now, and the true one."""
    there = len(found.key)
    rows_count = max(1, min(count, there) // ABREAST)
    at = np.linspace(0, there - 1, min(there, rows_count * ABREAST)).round().astype(int)
    columns, labels = [], []
    for first in range(0, len(at), rows_count):
        for label, all_of_them in found.shown.items():
            columns.append(torch.stack([all_of_them[i] for i in at[first : first + rows_count]]))
            labels.append(label)
    return labelled_grid(columns, labels)


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write the files into ``args.out``."""
    console, device = Console(), find_device(args.device)
    folders = {SAMPLED: args.weights} | ({BEFORE: args.before} if args.before else {})
    pipelines = {n: PortraitPipeline.from_pretrained(shipped.resolve(f)).to(device) for n, f in folders.items()}
    if any(pipeline.reference is None for pipeline in pipelines.values()):
        raise BenchmarkError(f"{' and '.join(folders.values())}: weights without a ReferenceNet are led by nobody")
    size_px, settings = pipelines[SAMPLED].size_px, ModeSettings(args.steps, args.guidance, seed=args.seed)
    data = ImageDataModule(
        test=args.shards, batch_size=args.batch_size, size_px=size_px, eval_frames=args.targets
    ).test_dataloader()
    known, found = references(args.reference, size_px), PersonalScores()
    total = count_pictures(args.shards, args.limit, args.targets)
    with (
        modes_identity.identity(args.embedder) as (identity, reason),
        Telling("picture", total, console=console) as telling,
    ):
        for batch in led_by(pictures(data, device, args.limit), known, args.reference):
            found.add(ask(pipelines, batch, settings, identity), batch, args.block)
            telling.advance(len(batch))
    args.out.mkdir(parents=True, exist_ok=True)
    table = rows(found, args.seed)
    stamp = report.software_stamp() | {
        **{name: getattr(args, name) for name in ("weights", "before", "shards", "reference")},
        **{name: getattr(args, name) for name in ("steps", "guidance", "block", "seed")},
        "size_px": size_px,
        "pictures": len(found.key),
        "blocks": len(set(found.block)),
        "embedder": None if identity is None else identity.embed.name,
        "left_out": {"identity": reason} if reason else {},
    }
    per_picture = {"key": found.key, "block": found.block, "values": found.values}
    report.write_json(args.out / "personal.json", {"rows": table, "stamp": stamp, "pictures": per_picture})
    report.write_csv(args.out / "personal.csv", table)
    sheet(found, args.drawn).save(args.out / "personal.png")
    print_table(table, stamp, console)
    return 0


def print_table(table: Sequence[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """A row an answer, a column a measure: mean and half of the 95 % interval's width."""
    report.show(answers.table(table, MODE_MEASURES), console)
    console.print(
        f"{stamp['pictures']} pictures in {stamp['blocks']} blocks of {stamp['block']} frames; ±: half of the 95 % "
        "bootstrap interval over blocks of time, which says nothing of another video",
        style="dim",
    )
    report.print_left_out(stamp, console)
