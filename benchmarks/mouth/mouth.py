"""``python -m benchmarks mouth``: trains the readers of mouths that ``lipsync`` measures with; what can they see?

One reads RGB, one depth (:mod:`jdap.metrics.mouth`); both are trained on true frames of people in ``--train`` and
measured on other people's clips: as they are (the ceiling of any measurement), through the codec (the ceiling of what a
model over this codec can draw), and degraded. Frames whose mouth is that of one and the same frame must read as a still
mouth, whatever else moves. Writes ``mouth.safetensors``, ``mouth.json``, ``mouth.csv`` and ``mouth.png`` into a folder.

Shapes: F frames, C channels, H = W pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import report
from benchmarks.clips import talking_clips
from benchmarks.counts import count_clips
from benchmarks.mouth.curves import Curves, read_all, rows
from benchmarks.mouth.curves_report import plot, print_table
from benchmarks.mouth.training import frames_of, pictures, through_codec, train
from jdap.batch import ClipBatch
from jdap.blur import gaussian_blur
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import resolve
from jdap.io.fetch import AssetError
from jdap.io.progress import Telling, track
from jdap.metrics.mouth import (
    CROP_RADII,
    DEPTH,
    READER_CHANNELS,
    READER_SIDE_PX,
    RGB,
    MouthReader,
    load_readers,
    save_readers,
)
from jdap.models.codec import Codec, load_codec

TRUE, CODEC, TWICE, PASTED, PASTED_CODEC = "true", "codec", "codec twice", "one mouth", "one mouth, codec"
BLURS_PX = (1, 2, 3)


def one_mouth(frames_FCHW: Tensor, mouth_px_F3: Tensor, at: int) -> Tensor:
    """Frames whose mouth is that of frame ``at``: a disc around it, moved and scaled along with the head, edges faded.

    Head, eyes and what of the jaw lies outside go on moving.
    """
    side = frames_FCHW.shape[-1]
    y, x = torch.meshgrid(*[torch.arange(side) + 0.5] * 2, indexing="ij")
    made = []
    for frame, (cx, cy, radius) in zip(frames_FCHW, mouth_px_F3, strict=True):
        u, v = (x - cx) / radius, (y - cy) / radius
        to = mouth_px_F3[at]
        grid = torch.stack([to[0] + u * to[2], to[1] + v * to[2]], -1) / side * 2 - 1
        still = torch.nn.functional.grid_sample(frames_FCHW[at : at + 1], grid[None], align_corners=False)[0]
        inside = ((CROP_RADII - torch.hypot(u, v)) / 0.2).clamp(0, 1)
        made.append(torch.lerp(frame, still, inside))
    return torch.stack(made)


def conditions(clip: ClipBatch, codec: Codec) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, RGB (F, 3, H, W), depth (F, 1, H, W)) of a clip, as it is and degraded."""
    rgb, depth = pictures(clip, RGB), pictures(clip, DEPTH)
    coded_rgb, coded_depth = through_codec(codec, rgb), through_codec(codec, depth)
    yield TRUE, rgb, depth
    yield CODEC, coded_rgb, coded_depth
    yield TWICE, through_codec(codec, coded_rgb), through_codec(codec, coded_depth)
    for sigma in BLURS_PX:
        yield f"codec, blur {sigma} px", gaussian_blur(coded_rgb, sigma), gaussian_blur(coded_depth, sigma)
    shut = int(clip.lip_opening_mm[0].argmin())
    rgb, depth = (one_mouth(x, clip.mouth_px[0], shut) for x in (rgb, depth))
    yield PASTED, rgb, depth
    yield PASTED_CODEC, through_codec(codec, rgb), through_codec(codec, depth)


@contextmanager
def landmarks() -> Iterator[tuple[Landmarker | None, str]]:
    """mediapipe's landmarker and "", or None and why there is none."""
    try:
        landmarker = Landmarker()
    except (AssetError, ImportError) as error:
        yield None, str(error)
        return
    with landmarker:
        yield landmarker, ""


def run(args: argparse.Namespace) -> int:
    """Train, measure, print the table, and write the files into ``args.out``."""
    console = Console()
    codec = load_codec(Path(resolve(args.codec))).eval()
    if args.reader is None:
        readers, made = _train(args, codec, console)
    else:
        readers, made = load_readers(args.reader), {"reader": str(args.reader)}
    with Telling("test clip", count_clips(args.test, args.limit), console=console) as telling:
        curves, error, reason = measure(args, codec, readers, telling.advance)
    table = rows(curves, seed=args.seed)
    for row in table:
        row["mae_mm"] = error.get(row["arm"], {}).get(row["reader"])
    args.out.mkdir(parents=True, exist_ok=True)
    if args.reader is None:
        save_readers(readers, args.out / "mouth.safetensors")
    stamp = report.software_stamp() | {
        **made,
        "test": args.test,
        "codec": args.codec,
        "seed": args.seed,
        "clips": len(curves.key),
        "people": len(set(curves.person_id)),
        "left_out": {"landmarks": reason} if reason else {},
    }
    report.write_json(args.out / "mouth.json", {"rows": table, "stamp": stamp, "clips": clips_json(curves)})
    report.write_csv(args.out / "mouth.csv", table)
    plot(curves, (TRUE, CODEC, PASTED_CODEC), args.out / "mouth.png")
    print_table(table, stamp, console, extra={"MAE, mm": lambda row: row["mae_mm"]})
    return 0


def _train(args: argparse.Namespace, codec: Codec, console: Console) -> tuple[dict[str, MouthReader], dict[str, Any]]:
    """The readers, and what the stamp says of their training (seconds are the processor's)."""
    clips = talking_clips(args.train, READER_SIDE_PX, stride=args.stride, silent=True)
    frames = frames_of(track(clips, "training clip", console, count_clips(args.train)), codec, args.seed)
    readers, seconds = {}, {}
    with Telling("step", args.steps * len(frames), console=console) as telling:
        for kind, some in frames.items():

            def step(done: int, loss: float, kind: str = kind) -> None:
                telling.advance(1, f"{kind}, loss {loss:.2f}")

            readers[kind], seconds[kind] = train(some, args.steps, args.seed, on_step=step)
    return readers, {
        "train": args.train,
        "steps": args.steps,
        "frames_trained_on": frames[RGB].opening_mm_KF.numel(),
        "seconds_of_training": seconds,
    }


@torch.inference_mode()
def measure(
    args: argparse.Namespace, codec: Codec, readers: dict[str, MouthReader], on_clip: Callable[[], None]
) -> tuple[Curves, dict[str, dict[str, float]], str]:
    """Curves by condition; mean absolute errors in mm by condition and reader; why there are no landmarks, or ""."""
    curves, errors = Curves(), dict[str, dict[str, list[float]]]()
    with landmarks() as (landmarker, reason):
        for clip in talking_clips(args.test, READER_SIDE_PX, args.limit):
            curves.key += clip.key
            curves.person_id += clip.person_id
            curves.true.append(clip.lip_opening_mm[0])
            for name, rgb, depth in conditions(clip, codec):
                # A landmark model takes most of the time, and on softer pictures finds no faces.
                found = read_all(readers, landmarker if name in (TRUE, CODEC) else None, rgb, depth)
                curves.add(name, found)
                for kind in READER_CHANNELS:
                    off = (found[kind] - clip.lip_opening_mm[0]).abs().mean()
                    errors.setdefault(name, {}).setdefault(kind, []).append(float(off))
            on_clip()
    means = {name: {kind: float(np.mean(off)) for kind, off in found.items()} for name, found in errors.items()}
    return curves, means, reason


def clips_json(curves: Curves) -> dict[str, Any]:
    """Every curve, for programs."""
    return {
        "key": curves.key,
        "person_id": curves.person_id,
        "true_mm": [[round(x, 3) for x in curve.tolist()] for curve in curves.true],
        "read": {
            arm: {reader: [[round(x, 4) for x in curve.tolist()] for curve in some] for reader, some in found.items()}
            for arm, found in curves.read.items()
        },
    }
