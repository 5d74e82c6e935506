"""``python -m benchmarks modes``: the four questions to one model, on held-out people.

Image-to-depth, depth-to-image, joint generation, and inpainting of a hidden half of the face, beside what each is to be
compared with; docs/benchmarks.md says how to read it. Writes ``modes.json`` (with the numbers of every picture),
``modes.csv`` and ``modes.png`` into a folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, answers, report
from benchmarks.choices import QUESTION_NAMES
from benchmarks.counts import count_pictures
from benchmarks.depth.depth import pictures
from benchmarks.depth.method import MethodSettings, TrainingMean
from benchmarks.loading import check_steps
from benchmarks.modes import identity as modes_identity
from benchmarks.modes import measure
from benchmarks.modes.parts import part_holes
from jdap.batch import ImageBatch
from jdap.choices import CLEAN, MEAN_DEPTH_FILE, REPAINT
from jdap.data.modules import ImageDataModule
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import resolve
from jdap.io.device import find_device
from jdap.io.fetch import AssetError
from jdap.io.progress import Telling
from jdap.pipelines.grid import depth_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pose.heads import Heads

#: measure -> (unit, whether higher is better)
MODE_MEASURES: answers.Measures = {
    "rmse": ("0.1-1", False),
    "absrel": ("", False),
    "delta1": ("", True),
    "psnr": ("dB", True),
    "ssim": ("", True),
    "identity": ("distance", False),
    "depth_rmse": ("0.1-1", False),
    "seam": ("of 2", False),
    "depth_seam": ("of 2", False),
    "face_found": ("share", True),
}
#: Pairs of the model's answers that are compared picture by picture.
PAIRS_COMPARED = (
    (measure.ONE_STEP, REPAINT),
    (CLEAN, REPAINT),
    (measure.EITHER, measure.RESAMPLED),
    (measure.CARRIED, CLEAN),
    (measure.BY_MOVED, CLEAN),
    (measure.BY_MOVED, measure.JOINT_QUESTION),
    (measure.BY_MOVED, measure.EITHER),
    (measure.KEPT_FACE, CLEAN),
    (measure.KEPT_FACE, measure.JOINT_QUESTION),
)

#: Of the picture with its hole, in the sheet.
HIDDEN = "hidden"


@dataclass
class ModeScores:
    """Numbers of every picture, in the order of the test set: ``values[question][answer][measure]``."""

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, outcomes: dict[str, measure.Answers], batch: ImageBatch) -> None:
        """Take in a batch."""
        self.key += batch.key
        self.person_id += batch.person_id
        for question, outcome in outcomes.items():
            for answer, found in outcome.values.items():
                for name, values in found.items():
                    place = self.values.setdefault(question, {}).setdefault(answer, {})
                    place.setdefault(name, []).extend(values.tolist())


def ask(
    pipeline: PortraitPipeline,
    batch: ImageBatch,
    settings: measure.ModeSettings,
    mean_depth: Tensor | None = None,
    estimator: PortraitPipeline | None = None,
    holes: Mapping[str, Tensor] | None = None,
    questions: Sequence[str] = QUESTION_NAMES,
    faces: measure.ReferenceFaces | None = None,
) -> tuple[dict[str, measure.Answers], dict[str, float]]:
    """Questions about a batch, and the seconds that each took; ``holes``: part → what is hidden of it; with
    ``faces`` portraits are also measured with their reference's."""
    by_part = {measure.inpaint_part(part): hole for part, hole in (holes or {}).items()}
    outcomes: dict[str, measure.Answers] = {}
    seconds: dict[str, float] = {}
    for question in (*questions, *by_part):
        start = time.perf_counter()
        if question == measure.IMAGE_TO_DEPTH_QUESTION:
            outcomes[question] = measure.image_to_depth(pipeline, batch, settings, mean_depth)
        elif question == measure.DEPTH_TO_IMAGE_QUESTION:
            outcomes[question] = measure.depth_to_image(pipeline, batch, settings, estimator, faces)
        elif question == measure.JOINT_QUESTION:
            outcomes[question] = measure.joint(pipeline, batch, settings, estimator, faces)
        else:
            outcomes[question] = measure.inpaint(pipeline, batch, settings, question, by_part.get(question), faces)
        # The numbers are on the CPU by now: a GPU has been waited for.
        seconds[question] = time.perf_counter() - start
    return outcomes, seconds


def rows(scores: ModeScores, seed: int) -> list[dict[str, Any]]:
    """The table: a row a question, answer and measure, with the mean and its bootstrap interval over people.

    Rows of two answers are the mean of the differences, picture by picture. Pictures without a number are left out of a
    row; ``n`` says how many are in it.
    """
    table = []
    for question, found in scores.values.items():
        columns = dict(found)
        for first, second in PAIRS_COMPARED:
            pair = [next((a for a in found if a == x or a.startswith(f"{x} ")), None) for x in (first, second)]
            if pair[0] is not None and pair[1] is not None:
                columns[f"{pair[0]} − {pair[1]}"] = answers.minus(found[pair[0]], found[pair[1]])
        table += answers.rows(columns, MODE_MEASURES, scores.person_id, seed, question=question)
    return table


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write the files into ``args.out``."""
    console, device = Console(), find_device(args.device)
    folder = Path(resolve(args.weights))
    pipeline = PortraitPipeline.from_pretrained(folder).quiet().to(device)
    if pipeline.one_step_start is not None:
        raise BenchmarkError(f"--weights {args.weights}: they only estimate depth in one step; see benchmarks depth")
    estimator = None
    if args.estimator is not None:
        estimator = PortraitPipeline.from_pretrained(args.estimator).quiet().to(device)
    check_steps(pipeline, args.steps)
    settings = measure.ModeSettings(args.steps, args.guidance, args.resample, args.seed, args.best_of)
    data = ImageDataModule(
        test=args.shards, batch_size=args.batch_size, size_px=pipeline.size_px, eval_frames=args.targets
    )
    mean = TrainingMean(MethodSettings(folder)) if (folder / MEAN_DEPTH_FILE).is_file() else None
    scores, columns, seconds = ModeScores(), [], dict[str, float]()
    columns_of: list[str] = []
    with (
        modes_identity.identity(args.embedder) as (identity, reason),
        fitting(identity) as (heads, no_heads),
        part_holes(args.part) as parts,
    ):
        total = count_pictures(args.shards, args.limit, args.targets)
        with Telling("picture", total, console=console) as telling:
            for batch in pictures(data.test_dataloader(), device, args.limit):
                mean_depth = mean.predict(batch) if mean else None
                faces = None if heads is None else measure.ReferenceFaces(heads, batch)
                outcomes, took = ask(
                    pipeline, batch, settings, mean_depth, estimator, parts.of(batch), args.questions, faces
                )
                if identity is not None:
                    identity.add(outcomes, batch)
                if (missing := args.drawn - len(scores.key)) > 0:
                    drawn = panels(batch, outcomes) | part_panels(outcomes, args.part)
                    columns_of = list(drawn)
                    columns.append(torch.cat([x[:missing].cpu() for x in drawn.values()], dim=3))
                scores.add(outcomes, batch)
                seconds = {question: seconds.get(question, 0) + s for question, s in took.items()}
                telling.advance(len(batch))
        separation = None if identity is None else identity.separation()
    if not scores.key:
        raise BenchmarkError(f"{args.shards}: holds no pictures")

    args.out.mkdir(parents=True, exist_ok=True)
    table = rows(scores, args.seed)
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        "weights": args.weights,
        "estimator": args.estimator or args.weights,
        "shards": args.shards,
        "steps": args.steps,
        "guidance": args.guidance,
        "resample": args.resample,
        "best_of": args.best_of,
        "seed": args.seed,
        "size_px": pipeline.size_px,
        "pictures": len(scores.key),
        "people": len(set(scores.person_id)),
        "seconds_per_picture": {question: s / len(scores.key) for question, s in seconds.items()},
        "embedder": None if identity is None else identity.embed.name,
        "identity_separation": separation,
        "left_out": {n: why for n, why in (("identity", reason), (measure.KEPT_FACE, no_heads)) if why},
    }
    per_picture = {"key": scores.key, "person_id": scores.person_id, "values": scores.values}
    report.write_json(args.out / "modes.json", {"rows": table, "stamp": stamp, "pictures": per_picture})
    report.write_csv(args.out / "modes.csv", table)
    cells = torch.cat(columns).split(pipeline.size_px, dim=3)
    labelled_grid(cells, columns_of).save(args.out / "modes.png")
    print_table(table, stamp, console)
    return 0


@contextmanager
def fitting(identity: modes_identity.Identity | None) -> Iterator[tuple[Heads | None, str]]:
    """What fits heads and "", or None and why it cannot be had here."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(Landmarker()) if identity is None else identity.landmarker
            heads, reason = Heads(found), ""
        except AssetError as error:
            heads, reason = None, str(error)
        yield heads, reason


def panels(batch: ImageBatch, outcomes: dict[str, measure.Answers]) -> dict[str, Tensor]:
    """The pictures of a batch for people, by the label of their column: (B, 3, H, W) in [-1, 1] each.

    Answers that ablated networks do not give have no column.
    """
    hole = measure.half_face(batch.skin)
    found = {
        "reference": batch.reference_rgb,
        "true": batch.rgb,
        "true depth": depth_picture(batch.depth),
    }
    both = (measure.INPAINT_BOTH, measure.EITHER)
    for label, (question, answer), half in (
        ("image-to-depth", (measure.IMAGE_TO_DEPTH_QUESTION, measure.ONE_STEP), "depth"),
        ("… repaint", (measure.IMAGE_TO_DEPTH_QUESTION, REPAINT), "depth"),
        ("depth-to-image", (measure.DEPTH_TO_IMAGE_QUESTION, CLEAN), "rgb"),
        ("… carried", (measure.DEPTH_TO_IMAGE_QUESTION, measure.CARRIED), "rgb"),
        ("… shown", (measure.DEPTH_TO_IMAGE_QUESTION, measure.BY_MOVED), "rgb"),
        ("… its face", (measure.DEPTH_TO_IMAGE_QUESTION, measure.KEPT_FACE), "rgb"),
        ("… repaint ", (measure.DEPTH_TO_IMAGE_QUESTION, REPAINT), "rgb"),
        ("joint", (measure.JOINT_QUESTION, measure.JOINT_QUESTION), "rgb"),
        ("… shown ", (measure.JOINT_QUESTION, measure.BY_MOVED), "rgb"),
        ("… its face ", (measure.JOINT_QUESTION, measure.KEPT_FACE), "rgb"),
        ("joint: depth", (measure.JOINT_QUESTION, measure.JOINT_QUESTION), "depth"),
        ("half hidden", (measure.INPAINT_BOTH, HIDDEN), "rgb"),
        ("inpainted", both, "rgb"),
        ("… depth", both, "depth"),
        ("… shown  ", (measure.INPAINT_BOTH, measure.BY_MOVED), "rgb"),
        ("… resampled", (measure.INPAINT_BOTH, measure.RESAMPLED), "rgb"),
        ("depth known", (measure.INPAINT_RGB, CLEAN), "rgb"),
        ("… repaint  ", (measure.INPAINT_RGB, REPAINT), "rgb"),
    ):
        if question not in outcomes:
            continue
        drawn = getattr(outcomes[question], half) | {HIDDEN: torch.where(hole, -0.2, batch.rgb)}
        # "resampled" goes on with how many times.
        if name := next((name for name in drawn if name == answer or name.startswith(f"{answer} ")), None):
            found[label] = drawn[name] if half == "rgb" else depth_picture(drawn[name])
    return found


def part_panels(outcomes: dict[str, measure.Answers], parts: Sequence[str]) -> dict[str, Tensor]:
    """What was drawn in the parts' places, as :func:`panels` has it."""
    return {f"{part} anew": outcomes[measure.inpaint_part(part)].rgb[measure.EITHER] for part in dict.fromkeys(parts)}


def print_table(table: Sequence[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """A block a question, a row an answer, a column a measure: mean and half of the 95 % interval's width."""
    for question in dict.fromkeys(row["question"] for row in table):
        console.print(question, style="bold")
        shown = answers.table((row for row in table if row["question"] == question), MODE_MEASURES)
        report.show(shown, console)
    people = (
        f"{stamp['pictures']} pictures of {stamp['people']} people; ±: half of the 95 % bootstrap interval over people"
    )
    console.print(people, style="dim")
    if (parted := stamp["identity_separation"]) is not None:
        console.print(
            f"identity on these true pictures: AUC {parted['auc']:.3f}, d' {parted['d_prime']:.2f}; one person "
            f"{parted['same']:.2f}, different people {parted['different']:.2f}",
            style="dim",
        )
    report.print_left_out(stamp, console)
