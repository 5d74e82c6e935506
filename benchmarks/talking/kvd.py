"""``python -m benchmarks kvd``: whether drawn clips, as a set, look and move like true ones.

Of every held-out person there are the first frames of one true clip, and as many by each answer: drawn for the
reference and the sound by each weights folder, the photo moved, the true clip through the codec, blurred, its frames in
another order, its reference frame held still, and, as the floor, its last frames, which are another true clip. Each
answer's set is compared with the true set by the kernel distance of a video network's features
(:mod:`jdap.metrics.kernel`; KVD, Unterthiner et al., arXiv 1812.01717). Writes ``kvd.json`` and ``kvd.csv`` into
a folder.

Shapes: T frames, S x S pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, report
from benchmarks.answers import Measures
from benchmarks.clips import talking_clips
from benchmarks.counts import count_clips
from benchmarks.loading import load_named
from benchmarks.modes.kid import BLUR_SHARE, KID, KID_MEASURES, TRUE_BLURRED, check_apart, kid_rows, publish_sets
from benchmarks.modes.trunk import OnnxClipTrunk
from benchmarks.mouth.mouth import CODEC, TRUE, landmarks
from benchmarks.mouth.training import through_codec
from benchmarks.talking.lipsync import STILL, image_of, moved_reference, reference_of, spoken
from benchmarks.talking.moved import MOVED_REFERENCE
from jdap.batch import ClipBatch
from jdap.blur import gaussian_blur
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.models.codec import Codec
from jdap.pipelines.portrait import Portrait
from jdap.pipelines.talking import TalkingPipeline

KVD = "KVD"
KVD_MEASURES: Measures = {KVD: KID_MEASURES[KID]}
LAST_FRAMES, TRUE_SHUFFLED = "true, last frames", "true, shuffled"


def beside_drawn(clip: ClipBatch, codec: Codec, reference_13SS: Tensor, frames: int, seed: int) -> dict[str, Tensor]:
    """What drawn clips are read beside: so many frames (T, 3, S, S) in [-1, 1] by each answer but the drawn ones.

    Another true clip is there only where the last frames are not among the first.
    """
    rgb = clip.rgb[0, :frames]
    order = torch.randperm(frames, generator=torch.Generator().manual_seed(seed))
    found = {
        CODEC: through_codec(codec, rgb),
        TRUE_BLURRED: gaussian_blur(rgb, BLUR_SHARE * rgb.shape[-1]),
        TRUE_SHUFFLED: rgb[order],
        STILL: reference_13SS.expand(frames, -1, -1, -1),
    }
    return found | ({LAST_FRAMES: clip.rgb[0, -frames:]} if clip.rgb.shape[1] >= 2 * frames else {})


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Draw, compare, print the table, and write the files into ``args.out``."""
    console, device, trunk = Console(), find_device(args.device), OnnxClipTrunk(args.trunk, args.frames)
    pipelines = load_named(TalkingPipeline, args.weights, device, args.steps, dtype=getattr(torch, args.dtype))
    image = image_of(args, device)
    seeing = next(iter(pipelines.values()), image)
    parts: dict[str, list[Tensor]] = {}
    people: list[str] = []
    total = count_clips(args.shards, args.limit)
    with landmarks() as (landmarker, reason), Telling("clip", total, console=console) as telling:
        moved = moved_reference(args, image, landmarker, reason)
        arms: dict[str, Callable[[Tensor, Tensor], Portrait]] = {
            name: partial(spoken, pipeline, args=args) for name, pipeline in pipelines.items()
        }
        for clip in talking_clips(args.shards, seeing.size_px, args.limit):
            if clip.rgb.shape[1] < trunk.frames:
                there = f"clip {clip.key[0]} has {clip.rgb.shape[1]} frames"
                raise BenchmarkError(f"{args.shards}: {there}; {trunk.name} looks at {trunk.frames}")
            if moved is not None:
                arms[MOVED_REFERENCE] = partial(moved.spoken, pose_F6=clip.pose[0])
            reference = reference_of(clip, args.reference)
            made = {name: draw(reference, clip.audio[0]).rgb[: trunk.frames] for name, draw in arms.items()}
            made |= beside_drawn(clip, seeing.codec, reference, trunk.frames, args.seed)
            for answer, rgb in {TRUE: clip.rgb[0, : trunk.frames], **made}.items():
                parts.setdefault(answer, []).append(trunk(rgb))
            people += clip.person_id
            telling.advance()
    check_apart(people, args.shards, "clip")
    whole = {answer: torch.stack(some) for answer, some in parts.items() if len(some) == len(people)}
    true = whole.pop(TRUE)
    table = kid_rows(whole, true, args.seed, KVD)
    left_out = {LAST_FRAMES: f"needs clips of {2 * trunk.frames} frames"} if LAST_FRAMES not in whole else {}
    stamp = _stamp(args, device, trunk, len(people)) | {"left_out": left_out}
    publish_sets(args.out / "kvd", table, KVD_MEASURES, stamp, f"one clip of {trunk.frames} frames", console)
    report.print_left_out(stamp, console)
    return 0


def _stamp(args: argparse.Namespace, device: torch.device, trunk: OnnxClipTrunk, people: int) -> dict[str, Any]:
    names = ("shards", "steps", "guidance", "audio_guidance", "reference", "turns", "seed", "dtype")
    return report.software_stamp() | {
        "device": report.device_name(device),
        "weights": dict(args.weights),
        **{name: getattr(args, name) for name in names},
        "trunk": trunk.name,
        "frames": trunk.frames,
        "people": people,
    }
