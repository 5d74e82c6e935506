"""``python -m benchmarks lipsync``: do mouths of talking portraits move with the sound?

Each held-out clip's reference frame and sound go through the talking pipeline of every weights folder; readers
(:mod:`benchmarks.mouth.curves`) say how far the drawn mouth is open in each frame, and the curve is correlated with the
true one. Beside: the true frames and what the codec makes of them (what the readers can see at best), the reference
repeated, and on the first weights two controls: another clip's sound, and silence. With ``--syncnet`` a network of the
user's judges all of them, too (:mod:`benchmarks.talking.judge`). docs/benchmarks.md says how to read it. Writes
``lipsync.json`` (with every curve), ``lipsync.csv`` and ``lipsync.png`` into a folder.

Shapes: F frames, H = W pixels, S audio samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, answers, report
from benchmarks.choices import FIRST, TRUE_TURNS
from benchmarks.clips import talking_clips
from benchmarks.loading import load_named
from benchmarks.mouth.curves import Curves, read_all, rows
from benchmarks.mouth.curves_report import plot, print_table
from benchmarks.mouth.mouth import CODEC, TRUE, clips_json, landmarks
from benchmarks.mouth.training import through_codec
from benchmarks.talking.judge import SYNC_MEASURES, SyncJudge
from benchmarks.talking.moved import MOVED_REFERENCE, MovedReference
from data_prep.video.syncnet import load_syncnet
from jdap.batch import ClipBatch
from jdap.choices import IMAGE_WEIGHTS
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import resolve
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.metrics.mouth import load_readers
from jdap.pipelines.portrait import Portrait, PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline

STILL = "still portrait"
OTHERS, OTHERS_CURVE, SILENCE = "another's sound", "another's sound and curve", "silence"
#: Of the judge alone: what it says where nothing belongs together.
TRUE_OTHERS = f"{TRUE}, {OTHERS}"
#: Clips in the picture.
CLIPS_SHOWN = 4


@dataclass
class SampledClips:
    """What is kept of the clips: curves, the frames of the first few by arm, and seconds of drawing."""

    curves: Curves = field(default_factory=Curves)
    strips: dict[str, list[Tensor]] = field(default_factory=dict)
    seconds: float = 0.0
    frames: int = 0


def reference_of(clip: ClipBatch, which: str) -> Tensor:
    """The frame (1, 3, H, W) that a portrait is to be drawn after."""
    return clip.rgb[:, 0 if which == FIRST else clip.rgb.shape[1] // 2]


def spoken(pipeline: TalkingPipeline, reference_13HW: Tensor, sound_S: Tensor, args: argparse.Namespace) -> Portrait:
    """All frames of a video, on the CPU."""
    windows = pipeline.talk(
        reference_13HW,
        sound_S,
        steps=args.steps,
        guidance=args.guidance,
        audio_guidance=args.audio_guidance if pipeline.audio is not None else 1.0,
        seed=args.seed,
    )
    made = [Portrait(window.rgb.cpu(), window.depth.cpu()) for window in windows]
    return Portrait(torch.cat([w.rgb for w in made]), torch.cat([w.depth for w in made]))


def fitted(sound_S: Tensor, samples: int) -> Tensor:
    """Sound cut, or continued by silence, to so many samples."""
    return F.pad(sound_S[:samples], (0, max(0, samples - len(sound_S))))


def other_clips(clips: list[ClipBatch]) -> list[int]:
    """For each clip the next one of another person. Raises :class:`benchmarks.BenchmarkError` where there is none."""
    people = [clip.person_id[0] for clip in clips]
    if len(set(people)) < 2:
        raise BenchmarkError("another's sound needs clips of two people: name more shards, or use --no-controls")
    order = range(len(people))
    return [next(j for step in order if people[j := (i + step) % len(people)] != people[i]) for i in order]


def sounds(clips: list[ClipBatch], i: int, controls: bool) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The sounds that clip ``i`` is drawn with by name ("" its own), and the true curve where it is not the clip's."""
    own = clips[i].audio[0]
    found: dict[str, tuple[Tensor, Tensor | None]] = {"": (own, None)}
    if controls:
        other = clips[other_clips(clips)[i]]
        frames = clips[i].rgb.shape[1]
        curve = F.pad(other.lip_opening_mm[0][:frames], (0, max(0, frames - other.rgb.shape[1])), value=torch.nan)
        found |= {OTHERS: (fitted(other.audio[0], len(own)), curve), SILENCE: (torch.zeros_like(own), None)}
    return found


def image_of(args: argparse.Namespace, device: torch.device, weights: str = IMAGE_WEIGHTS) -> PortraitPipeline:
    """The image model. Raises :class:`benchmarks.BenchmarkError` where there is nothing to measure."""
    if not (args.weights or args.moved):
        raise BenchmarkError("nothing to measure: name --weights, or --moved")
    return PortraitPipeline.from_pretrained(weights).quiet().to(device)


def moved_reference(
    args: argparse.Namespace, image: PortraitPipeline, landmarker: Landmarker | None, reason: str
) -> MovedReference | None:
    """The reference moved, if asked for; :class:`benchmarks.BenchmarkError` where faces cannot be looked for."""
    if not args.moved:
        return None
    if landmarker is None:
        raise BenchmarkError(f"--moved: {reason}")
    if args.turns == TRUE_TURNS and args.reference != FIRST:
        raise BenchmarkError(f"--turns {TRUE_TURNS}: they are those since the first frame, so --reference {FIRST}")
    return MovedReference(image, landmarker, args.seed, args.turns)


def sync_judge(
    args: argparse.Namespace, landmarker: Landmarker | None, reason: str, device: torch.device
) -> SyncJudge | None:
    """The user's SyncNet, if asked for; :class:`benchmarks.BenchmarkError` where faces cannot be looked for."""
    if args.syncnet is None:
        return None
    net = load_syncnet(args.syncnet, str(device))
    if landmarker is None:
        raise BenchmarkError(f"--syncnet: {reason}")
    return SyncJudge(net, landmarker, str(device))


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, read, print the table, and write the files into ``args.out``."""
    console, device = Console(), find_device(args.device)
    readers = load_readers(Path(resolve(args.reader)))
    pipelines = load_named(TalkingPipeline, args.weights, device, args.steps, dtype=getattr(torch, args.dtype))
    image = image_of(args, device)
    seeing = next(iter(pipelines.values()), image)
    clips = list(talking_clips(args.shards, seeing.size_px, args.limit))
    names, controls = [*pipelines, *[MOVED_REFERENCE] * args.moved], not args.no_controls
    controlled = {names[0], MOVED_REFERENCE} & set(names) if controls else set()
    total = len(clips) * (len(names) + 2 * len(controlled))
    with landmarks() as (landmarker, reason), Telling("clip", total, console=console) as telling:
        drawn, moved = SampledClips(), moved_reference(args, image, landmarker, reason)
        judge = sync_judge(args, landmarker, reason, device)
        arms: dict[str, Callable[[Tensor, Tensor], Portrait]] = {
            name: partial(spoken, pipeline, args=args) for name, pipeline in pipelines.items()
        }
        for i, clip in enumerate(clips):
            if moved is not None:
                arms[MOVED_REFERENCE] = partial(moved.spoken, pose_F6=clip.pose[0])
            of_others = {TRUE_OTHERS: sounds(clips, i, controls)[OTHERS][0]} if controls else {}
            beside(drawn, clip, seeing, args.reference, readers, landmarker, judge, of_others)
            for name, arm_of in arms.items():
                for what, (sound, curve) in sounds(clips, i, name in controlled).items():
                    start = time.perf_counter()
                    made = arm_of(reference_of(clip, args.reference), sound)
                    drawn.seconds += time.perf_counter() - start
                    drawn.frames += len(made.rgb)
                    arm = f"{name}, {what}" if what else name
                    made = Portrait(*(x[: clip.rgb.shape[1]] for x in made))
                    found = read_all(readers, landmarker, *made)
                    drawn.curves.add(arm, found)
                    if curve is not None:
                        drawn.curves.add(f"{name}, {OTHERS_CURVE}", found, curve)
                    if judge is not None:
                        as_drawn = {} if curve is None else {f"{name}, {OTHERS_CURVE}": sound}
                        judge.add(made.rgb, {arm: clip.audio[0], **as_drawn})
                    if i < CLIPS_SHOWN and not what:
                        drawn.strips.setdefault(arm, []).append(made.rgb)
                    telling.advance()

    of_control = {name: [f"{name}, {what}" for what in (OTHERS, SILENCE)] for name in names if name in controlled}
    pairs = [(names[0], other) for other in (*names[1:], *of_control.get(names[0], ()), STILL)]
    pairs += [(name, other) for name in names[1:] for other in of_control.get(name, ())]
    table = rows(drawn.curves, pairs, args.seed)
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        "weights": dict(args.weights),
        "reader": str(args.reader),
        "shards": args.shards,
        **{
            name: getattr(args, name)
            for name in ("steps", "guidance", "audio_guidance", "reference", "turns", "seed", "dtype")
        },
        "clips": len(clips),
        "people": len({clip.person_id[0] for clip in clips}),
        "seconds_per_frame": drawn.seconds / max(1, drawn.frames),
        "left_out": {"landmarks": reason} if reason else {},
        **({} if moved is None else {"moved_faceless": moved.faceless}),
        "syncnet": None if args.syncnet is None else args.syncnet.name,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    people = drawn.curves.person_id
    judged = [] if judge is None else judge.rows([*pairs, (TRUE, TRUE_OTHERS)], people, args.seed)
    per_clip = clips_json(drawn.curves) | ({} if judge is None else {"sync": judge.values})
    results = {"rows": table, "sync": judged, "stamp": stamp, "clips": per_clip}
    report.write_json(args.out / "lipsync.json", results)
    report.write_csv(args.out / "lipsync.csv", table)
    plot(drawn.curves, (CODEC, *names), args.out / "lipsync.png", drawn.strips, CLIPS_SHOWN)
    print_table(table, stamp, console)
    if judged:
        console.print(f"judged by {args.syncnet.name}", style="bold")
        report.show(answers.table(judged, SYNC_MEASURES), console)
    return 0


def beside(
    drawn: SampledClips,
    clip: ClipBatch,
    pipeline: TalkingPipeline | PortraitPipeline,
    which: str,
    readers: Any,
    landmarker: Any,
    judge: SyncJudge | None,
    of_others: dict[str, Tensor],
) -> None:
    """Note a clip and what drawn ones are compared with: true frames, the codec's, and the reference repeated.

    The judge hears the clip's own sound, and with the true frames those ``of_others``.
    """
    curves = drawn.curves
    curves.key += clip.key
    curves.person_id += clip.person_id
    curves.true.append(clip.lip_opening_mm[0])
    rgb, depth = clip.rgb[0], clip.depth[0]
    curves.add(TRUE, read_all(readers, landmarker, rgb, depth))
    coded = [through_codec(pipeline.codec, x.to(pipeline.device)).cpu() for x in (rgb, depth)]
    curves.add(CODEC, read_all(readers, landmarker, *coded))
    at = 0 if which == FIRST else len(rgb) // 2
    still = [x[at : at + 1].expand(len(rgb), -1, -1, -1) for x in coded]
    curves.add(STILL, read_all(readers, landmarker, *still))
    if judge is not None:
        own = clip.audio[0]
        judge.add(rgb, {TRUE: own, **of_others})
        judge.add(coded[0], {CODEC: own})
        judge.add(still[0], {STILL: own})
    if len(curves.key) <= CLIPS_SHOWN:
        drawn.strips.setdefault(TRUE, []).append(rgb)
