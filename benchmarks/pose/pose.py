"""``python -m benchmarks pose``: pictures of the studio with the expression and pose of a second picture of the person.

A pair shows one head in one light with two expressions and poses, each crop by its own camera. The first picture is
brought to the second and compared with it. Rows: nothing done; the picture warped by heads that were fitted to both
pictures (as ``jdap pose --from OTHER --take both`` does, and moved to where it is there), or by the true heads; that,
redrawn by the model; and the head drawn by the model on its own depth, moved, or on the second picture's true depth.
Writes ``pose.json`` (with each picture's numbers), ``pose.csv`` and ``pose.png``.

Shapes: B pairs, S x S pixels, N landmarks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from benchmarks import BenchmarkError, answers, report
from benchmarks.counts import count_clips
from benchmarks.depth.method import seeded
from benchmarks.depth.photo_heads import FACE_LOOK_PX, face_of
from benchmarks.pose.pairs import PosePair, read_pose_pairs
from jdap.faces.embedding import Embedder, IdentityError, load_embedder
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker, face_width_px
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.metrics.identity import distance
from jdap.pipelines.grid import labelled_grid
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.relight import RelightPipeline
from jdap.pose.heads import Heads
from jdap.pose.pipeline import PosePipeline, soft_region
from jdap.pose.warp import drawn

DONE_NOTHING, FITTED_WARP, TRUE_WARP = "nothing", "warp, fitted heads", "warp, true heads"
REDRAWN_WARP, FITTED_DRAWN, TRUE_DRAWN = "warp, redrawn", "model, fitted heads", "model, true depth"
#: measure → (unit, whether more is better).
POSE_MEASURES = {
    "psnr": ("dB", True),
    "psnr_person": ("dB", True),
    "ssim": ("", True),
    "landmarks": ("%", False),
    "identity": ("", False),
}
POSE_HEADERS = {"psnr": "PSNR", "psnr_person": "person", "ssim": "SSIM", "landmarks": "marks %"}
#: Which differences are told with their paired intervals: first − other.
PAIRED_WITH = (
    (FITTED_WARP, DONE_NOTHING),
    (TRUE_WARP, FITTED_WARP),
    (REDRAWN_WARP, FITTED_WARP),
    (FITTED_DRAWN, FITTED_WARP),
    (FITTED_DRAWN, DONE_NOTHING),
    (TRUE_DRAWN, FITTED_DRAWN),
)
PEOPLE_SHOWN = 8


class Reader:
    """Landmarks and, where dlib is installed or a file of ONNX is named, embeddings of pictures: readers that know
    nothing of head models."""

    def __init__(self, landmarker: Landmarker, embedder: Path | None = None) -> None:
        self.landmarker = landmarker
        self.why_not = ""
        try:
            self.embed: Embedder | None = load_embedder(embedder)
        except IdentityError as error:
            self.embed, self.why_not = None, str(error)

    def landmarks(self, rgb_3SS: Tensor) -> np.ndarray | None:
        """(N, 2) in pixels of a picture in [0, 1], or None where no face is found."""
        face = face_of(self.landmarker, rgb_3SS)
        if face is None:
            return None
        points: np.ndarray = face.landmarks_px_N3[:FACE_LANDMARKS, :2] * (rgb_3SS.shape[-1] / FACE_LOOK_PX)
        return points

    def scores(self, made_3SS: Tensor, true_3SS: Tensor) -> dict[str, float]:
        """Landmarks' mean distance in % of the face's width; distance of the embeddings. NaN where no face is found."""
        found = {"landmarks": float("nan"), "identity": float("nan")}
        own, true = self.landmarks(made_3SS), self.landmarks(true_3SS)
        if true is None:
            return found
        if own is not None:
            found["landmarks"] = float(100 * np.linalg.norm(own - true, axis=1).mean() / face_width_px(true))
        if self.embed is not None:
            both = self.embed(torch.stack([made_3SS, true_3SS]) * 2 - 1, np.stack([true, true]))
            found["identity"] = float(distance(both[:1], both[1:])[0])
        return found


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write."""
    console = Console()
    portrait = PortraitPipeline.from_pretrained(args.weights).quiet().to(find_device(args.device))
    values: dict[str, dict[str, list[float]]] = {}
    done: list[PosePair] = []
    lost: list[str] = []
    shown: list[dict[str, Tensor]] = []
    with (
        Landmarker() as landmarker,
        Telling("person", count_clips(args.shards, args.limit), console=console) as telling,
    ):
        pipeline, reader = PosePipeline(portrait, Heads(landmarker)), Reader(landmarker, args.embedder)
        pairs = read_pose_pairs(args.shards, pipeline, args.limit)
        while some := list(islice(pairs, args.batch_size)):
            lost += [one for one in some if isinstance(one, str)]
            found = [one for one in some if isinstance(one, PosePair)]
            if not found:
                continue
            true = _stacked([pair.new_HW3 for pair in found])
            pictures = dict(drawings(pipeline, found, args))
            for name, made in pictures.items():
                for measure, numbers in scores(made, true, found, reader).items():
                    values.setdefault(name, {}).setdefault(measure, []).extend(numbers)
            done += found
            if sum(len(one[DONE_NOTHING]) for one in shown) < PEOPLE_SHOWN:
                shown.append({**pictures, "the true picture": true})
            telling.tell(len(done) + len(lost))
    if not done:
        raise BenchmarkError(f"{args.shards}: no pair in which a face is found twice")
    people = [pair.person_id for pair in done]
    table = answers.rows(values, POSE_MEASURES, people, args.seed)
    differences = answers.compared(values, PAIRED_WITH, POSE_MEASURES, people, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    names = ("shards", "weights", "redraw", "steps", "seed")
    stamp = report.software_stamp() | {name: getattr(args, name) for name in names}
    stamp |= {"pairs": len(done), "no_face": lost, "left_out": {"identity": reader.why_not} if reader.why_not else {}}
    stamp["embedder"] = None if reader.embed is None else reader.embed.name
    numbers_of = {"key": [pair.key for pair in done], "person_id": people, "values": values}
    result = {"rows": table, "differences": differences, "stamp": stamp, "pictures": numbers_of}
    report.write_json(args.out / "pose.json", result)
    report.write_csv(args.out / "pose.csv", table)
    columns = {name: torch.cat([one[name] for one in shown])[:PEOPLE_SHOWN] * 2 - 1 for name in shown[0]}
    labelled_grid(list(columns.values()), [name[:20] for name in columns]).save(args.out / "pose.png")
    print_table(table, differences, stamp, console)
    return 0


def drawings(pipeline: PosePipeline, pairs: list[PosePair], args: argparse.Namespace) -> Iterator[tuple[str, Tensor]]:
    """(name, pictures (B, 3, S, S) in [0, 1]) of every row."""
    old = _stacked([pair.old_HW3 for pair in pairs])
    yield DONE_NOTHING, old
    window = np.array([0.0, 0.0, old.shape[-1]])
    warped = [_stacked([drawn(p.old_HW3, window, pipeline.heads, getattr(p, how)) for p in pairs])
              for how in ("fitted", "true")]  # fmt: skip
    yield FITTED_WARP, warped[0]
    yield TRUE_WARP, warped[1]

    def generators() -> list[torch.Generator]:
        return [seeded(args.seed, [pair.key]) for pair in pairs]

    assert pipeline.portrait is not None
    found = pipeline.portrait.image_to_depth(old * 2 - 1, generator=generators()).depth.float().cpu()
    moved = torch.cat([pipeline.new_depth(d[None], p.fitted) for d, p in zip(found, pairs, strict=True)])
    if args.redraw > 0:
        redraw = RelightPipeline(pipeline.portrait).redraw
        made = redraw(warped[0] * 2 - 1, moved, args.redraw, args.steps, generator=generators()).cpu()
        region = torch.cat([soft_region(pair.fitted, made.shape[-1]) for pair in pairs])
        yield REDRAWN_WARP, torch.lerp(warped[0], (made + 1) / 2, region)
    true = torch.cat([pair.depth_11SS for pair in pairs])
    for name, depth, motions in (
        (FITTED_DRAWN, moved, [pair.fitted for pair in pairs]),
        (TRUE_DRAWN, true, [pair.true for pair in pairs]),
    ):
        yield name, (pipeline.draw(old * 2 - 1, depth, motions, args.steps, generator=generators()) + 1) / 2


def scores(made_B3SS: Tensor, true_B3SS: Tensor, pairs: list[PosePair], reader: Reader) -> dict[str, list[float]]:
    """Each picture's measures against the true picture, in 8 bits."""
    made = (made_B3SS.clamp(0, 1) * 255).round() / 255
    error = (made - true_B3SS).square().mean(1)
    person = torch.stack([pair.person_SS for pair in pairs]).float()
    means = {"psnr": error.mean((1, 2)), "psnr_person": (error * person).sum((1, 2)) / person.sum((1, 2)).clamp_min(1)}
    found = {name: (-10 * mean.clamp_min(1e-10).log10()).tolist() for name, mean in means.items()}
    alike = ssim(made, true_B3SS, data_range=1.0, reduction="none")
    assert isinstance(alike, Tensor)
    found["ssim"] = alike.tolist()
    read = [reader.scores(one, true) for one, true in zip(made, true_B3SS, strict=True)]
    return found | {name: [one[name] for one in read] for name in ("landmarks", "identity")}


def print_table(
    table: list[dict[str, Any]], differences: list[dict[str, Any]], stamp: dict[str, Any], console: Console
) -> None:
    """The answers, and below them the paired differences."""
    report.show(answers.table(table, POSE_MEASURES, POSE_HEADERS), console)
    report.print_left_out(stamp, console)
    answers.print_differences(differences, 3, console)


def _stacked(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
