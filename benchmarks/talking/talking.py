"""``python -m benchmarks talking``: who talks, how true the depth of a clip is, and whether it holds still.

For every held-out clip and weights folder the reference frame and the sound become a video, whose frames, depth and
borders between windows are measured; and the clip model is asked for the depth of the true frames, beside the image
model frame by frame. docs/benchmarks.md says what each measure and each baseline is. With ``--seconds`` the first
weights also draw one long video, and memory and speed are sampled while they do. Writes ``talking.json``,
``talking.csv``, ``talking.png`` and, of the long video, ``talking_long.png`` into a folder.

Shapes: F frames, H = W pixels, S audio samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, answers, report
from benchmarks.clips import talking_clips
from benchmarks.depth.method import seeded
from benchmarks.loading import load_named
from benchmarks.modes import identity as modes_identity
from benchmarks.mouth.training import through_codec
from benchmarks.talking import measure
from benchmarks.talking.lipsync import image_of, moved_reference, reference_of, spoken
from benchmarks.talking.long import Long, long_video
from benchmarks.talking.moved import MOVED_REFERENCE, MovedReference
from benchmarks.talking.picture import plot_clips, plot_long
from jdap.batch import ClipBatch
from jdap.io.device import find_device
from jdap.io.progress import Telling, track
from jdap.metrics.identity import distance
from jdap.pipelines.pictures import Portrait
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.units import SAMPLE_RATE

TRUE, CODEC, STILL, OTHER, BY_FRAME = "true", "codec", "still portrait", "other person", "frame by frame"
LIKENESS, DRIFT, DEPTH_QUESTION, STEADY, STEADY_DRAWN, BORDERS = (
    "likeness", "drift of identity", "depth", "steadiness on true frames", "steadiness on drawn frames",
    "window borders",
)  # fmt: skip
#: Frames of each clip whose faces are compared.
FACES = 6
#: measure -> (unit, whether higher is better; None: neither)
TALKING_MEASURES: dict[str, tuple[str, bool | None]] = {
    "identity": ("distance", False),
    "face_found": ("share", True),
    "psnr": ("dB", True),
    "ssim": ("", True),
    "absrel": ("", False),
    "delta1": ("", True),
    "rmse": ("0.1-1", False),
    "flicker": ("of 2", False),
    "jitter": ("of 2", False),
    "static": ("share", None),
    "rgb_jump": ("ratio", None),
    "depth_jump": ("ratio", None),
    "rgb_above": ("share", None),
    "depth_above": ("share", None),
    **dict.fromkeys(measure.drift(torch.zeros(FACES)), ("distance", False)),
}
#: Clips in the picture.
CLIPS_IN_PICTURE = 3


@dataclass
class TalkingScores:
    """Numbers of every clip in their order: ``values[question][answer][measure]``, NaN where there is none."""

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, question: str, answer: str, found: dict[str, float]) -> None:
        """Note one number a measure of the clip at hand."""
        place = self.values.setdefault(question, {}).setdefault(answer, {})
        for name, value in found.items():
            place.setdefault(name, []).append(value)


def rows(scores: TalkingScores, seed: int) -> list[dict[str, Any]]:
    """A row a question, answer and measure. Differences of each question's first answer and the others are paired."""
    table = []
    for question, found in scores.values.items():
        first, *others = found
        columns = found | {f"{first} − {other}": answers.minus(found[first], found[other]) for other in others}
        table += answers.rows(columns, TALKING_MEASURES, scores.person_id, seed, question=question)
    return table


class Measuring:
    """Asks pipelines about one clip at a time, and notes what comes of it in ``scores``."""

    def __init__(
        self,
        pipelines: dict[str, TalkingPipeline],
        image: PortraitPipeline,
        args: argparse.Namespace,
        identity: modes_identity.Identity | None,
        moved: MovedReference | None = None,
    ) -> None:
        self.pipelines, self.image, self.args, self.identity, self.moved = pipelines, image, args, identity, moved
        self.scores = TalkingScores()
        self.panels: list[dict[str, Tensor]] = []
        self.others: dict[str, Tensor] = {}  # the last clip's faces of the last two people

    def clip(self, clip: ClipBatch) -> None:
        """All questions about one clip."""
        scores, rgb, frames = self.scores, clip.rgb[0], clip.rgb.shape[1]
        scores.key += clip.key
        scores.person_id += clip.person_id
        reference = reference_of(clip, self.args.reference)
        at = int((clip.rgb[0] - reference).flatten(1).abs().sum(1).argmin())
        codec = next(iter(self.pipelines.values()), self.image).codec
        coded = Portrait(*(through_codec(codec, x.to(self.image.device)).cpu() for x in (rgb, clip.depth[0])))
        made = {
            name: Portrait(*(x[:frames] for x in spoken(pipeline, reference, clip.audio[0], self.args)))
            for name, pipeline in self.pipelines.items()
        }
        if self.moved is not None:
            made[MOVED_REFERENCE] = Portrait(
                *(x[:frames] for x in self.moved.spoken(reference, clip.audio[0], clip.pose[0]))
            )
        seen = {
            name: measure.estimate(pipeline, rgb, reference, clip.audio[0], self.args.steps, self.args.seed)
            for name, pipeline in self.pipelines.items()
        }
        seen[BY_FRAME] = self.by_frame(rgb, f"true {clip.key[0]}")
        self.likeness(clip, reference, made, coded, at)
        for name, portrait in made.items():
            scores.add(DEPTH_QUESTION, f"{name}, drawn", measure.depth_of_clip(portrait.depth, clip))
        for name, depth in seen.items():
            scores.add(
                DEPTH_QUESTION, f"{name}, of true frames" if name in made else name, measure.depth_of_clip(depth, clip)
            )
        scores.add(DEPTH_QUESTION, CODEC, measure.depth_of_clip(coded.depth, clip))
        scores.add(DEPTH_QUESTION, STILL, measure.depth_of_clip(measure.repeated(coded.depth[at], frames), clip))
        head = clip.depth_mm[0] > 0
        both = head[1:] & head[:-1]
        for name, depth in (*seen.items(), (CODEC, coded.depth), (TRUE, clip.depth[0])):
            scores.add(STEADY, name, measure.steadiness(depth, rgb, both))
        for name, portrait in made.items():
            where = measure.head_of(portrait.depth)
            again = self.by_frame(portrait.rgb, f"{name} {clip.key[0]}")
            scores.add(STEADY_DRAWN, name, measure.steadiness(portrait.depth, portrait.rgb, where))
            scores.add(STEADY_DRAWN, f"{name}, {BY_FRAME}", measure.steadiness(again, portrait.rgb, where))
            if name not in self.pipelines:
                continue
            joins = measure.borders(frames, self.pipelines[name].shape)
            scores.add(BORDERS, name, measure.jumps(*portrait, joins))
            scores.add(BORDERS, f"{TRUE}, at {name}'s borders", measure.jumps(rgb, clip.depth[0], joins))
        if len(self.panels) < CLIPS_IN_PICTURE:
            panels = {"true": rgb, "true depth": clip.depth[0], f"{BY_FRAME}, of true": seen[BY_FRAME]}
            for name, portrait in made.items():
                panels |= {name: portrait.rgb, f"{name}: depth": portrait.depth}
                panels |= {f"{name}, of true": seen[name]} if name in seen else {}
            self.panels.append(panels)

    def by_frame(self, rgb_F3HW: Tensor, key: str) -> Tensor:
        """Depth (F, 1, H, W) by the image model in one step, each frame for itself with noise of its own."""
        generator = seeded(self.args.seed, [BY_FRAME, key])
        parts = [
            self.image.image_to_depth(some.to(self.image.device), generator=generator).depth.cpu()
            for some in rgb_F3HW.split(16)
        ]
        return torch.cat(parts)

    def likeness(
        self, clip: ClipBatch, reference_13HW: Tensor, made: dict[str, Portrait], coded: Portrait, at: int
    ) -> None:
        """Identity against the reference, and PSNR and SSIM against the true frames."""
        frames = len(coded.rgb)
        answers = {name: portrait.rgb for name, portrait in made.items()}
        answers |= {CODEC: coded.rgb, STILL: measure.repeated(coded.rgb[at], frames)}
        shown = np.linspace(0, frames - 1, min(FACES, frames)).round().astype(int)
        faces = {name: self.face(rgb[shown]) for name, rgb in {**answers, TRUE: clip.rgb[0]}.items()}
        own = self.face(reference_13HW)
        for name, found in faces.items():
            values = measure.likeness(answers[name], clip) if name in answers else {"psnr": np.nan, "ssim": np.nan}
            if found is not None and own is not None:
                near = distance(found[0], own[0].expand_as(found[0]))
                values |= {"identity": float(near.mean()), "face_found": float(found[1].double().mean())}
                # of a clip of fewer frames there are no such times
                at_times = near if len(near) == FACES else torch.full((FACES,), torch.nan)
                self.scores.add(DRIFT, name, measure.drift(at_times))
            self.scores.add(LIKENESS, name, values)
        true = faces[TRUE]
        if own is not None and true is not None:
            # Of the last clip of somebody else; the first person has none.
            (who,) = clip.person_id
            others = next((faces for person, faces in reversed(self.others.items()) if person != who), None)
            far = np.nan if others is None else float(distance(others, own[0].expand_as(others)).mean())
            self.scores.add(LIKENESS, OTHER, {"identity": far})
            self.others.pop(who, None)
            self.others[who] = true[0]
            while len(self.others) > 2:  # the last two people are all that is ever asked for
                del self.others[next(iter(self.others))]

    def face(self, rgb_B3HW: Tensor) -> tuple[Tensor, Tensor] | None:
        """Embeddings of the faces of pictures, and where a face was found; None without the embedder."""
        if self.identity is None:
            return None
        points, found = self.identity.landmarks(rgb_B3HW)
        return self.identity.embed(rgb_B3HW, points), found


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, measure, print the table, and write the files into ``args.out``."""
    console, device = Console(), find_device(args.device)
    pipelines = load_named(TalkingPipeline, args.weights, device, args.steps, dtype=getattr(torch, args.dtype))
    image = image_of(args, device, args.image)
    first = next(iter(pipelines), None)
    if first is not None and image.size_px != pipelines[first].size_px:
        raise BenchmarkError(f"--image {args.image}: its pictures have {image.size_px} pixels, not those of --weights")
    clips = list(talking_clips(args.shards, image.size_px, args.limit))
    long: Long | None = None
    faces: AbstractContextManager = modes_identity.identity(args.embedder)
    with faces as (identity, reason):
        moved = moved_reference(args, image, None if identity is None else identity.landmarker, reason)
        measuring = Measuring(pipelines, image, args, identity, moved)
        for clip in track(clips, "clip", console):
            measuring.clip(clip)
        if args.seconds > 0 and first is not None:
            sound = measure.looped(torch.cat([clip.audio[0] for clip in clips]), round(args.seconds * SAMPLE_RATE))
            with Telling("frame", console=console) as telling:

                def step(done: int, of: int) -> None:
                    telling.total = of
                    telling.tell(done, "long video")

                long = long_video(pipelines[first], reference_of(clips[0], args.reference), sound, args, step)

    table = rows(measuring.scores, args.seed)
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        "weights": dict(args.weights),
        **{
            n: getattr(args, n)
            for n in ("image", "shards", "steps", "guidance", "audio_guidance", "reference", "turns", "seed", "dtype")
        },
        "clips": len(clips),
        "people": len(set(measuring.scores.person_id)),
        "embedder": None if identity is None else identity.embed.name,
        "left_out": {"identity": reason} if reason else {},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    per_clip = {"key": measuring.scores.key, "person_id": measuring.scores.person_id, "values": measuring.scores.values}
    results = {"rows": table, "stamp": stamp, "clips": per_clip, "long": None if long is None else long.to_json()}
    report.write_json(args.out / "talking.json", results)
    report.write_csv(args.out / "talking.csv", table)
    plot_clips(measuring.panels, args.out / "talking.png")
    print_table(table, stamp, console)
    if long is not None:
        plot_long(long, args.out / "talking_long.png")
        console.print(long.sentence())
    return 0


def print_table(table: Sequence[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """A block a question, a row an answer, a column a measure: mean and half of the 95 % interval's width."""
    for question in dict.fromkeys(row["question"] for row in table):
        console.print(question, style="bold")
        shown = answers.table((row for row in table if row["question"] == question), TALKING_MEASURES)
        report.show(shown, console)
    console.print(
        f"{stamp['clips']} clips of {stamp['people']} people; ±: half of the 95 % bootstrap interval over people; the "
        "head of a drawn clip moves as it likes, so psnr, ssim and the depth of drawn clips also count its pose",
        style="dim",
    )
    report.print_left_out(stamp, console)
