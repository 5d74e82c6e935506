"""``python -m benchmarks drift VIDEO``: does a long video stay what it was when it began?

Of a video that ``jdap talk`` wrote, by either way, some frames of every second are compared with its first frame, or
with the photo it was made of: is it still this person, has its colour or its depth changed? A row a minute, and what
changes from minute to minute as a straight line. Writes ``drift.json`` (with every sample) and ``drift.csv``.

Shapes: K samples, H x W pixels.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy.stats import linregress, t

from benchmarks import BenchmarkError, report
from benchmarks.modes.identity import Identity, identity
from benchmarks.modes.measure import HEAD
from jdap.choices import VIDEO
from jdap.depth import from_uint16
from jdap.io.progress import Telling
from jdap.media.frames import FramesError, read_frames, read_grey
from jdap.metrics.identity import distance
from jdap.photos.film import DEPTH_ENDS

#: measure → digits shown.
DRIFT_MEASURES = {
    "identity": 3, "face_found": 3, "red": 2, "green": 2, "blue": 2, "depth_scale": 4, "depth_shift": 4,
}  # fmt: skip
_COLOURS = ("red", "green", "blue")
_MINUTE_S = 60.0


def frames_of(video: Path, depth: Path | None) -> Iterator[tuple[np.ndarray, np.ndarray | None, float]]:
    """Frames (H, W, 3) uint8, depth (H, W) in [-1, 1] where there is some, and frames a second.

    Raises :class:`benchmarks.BenchmarkError` for depth of another length or size than the video.
    """
    depths = None if depth is None else read_grey(depth)
    for rgb, fps in read_frames(video):
        if depths is None:
            yield rgb, None, fps
            continue
        grey, _ = next(depths, (None, 0.0))
        # H.264 comes in even sizes: odd ones have one more row or column.
        if grey is None or any(not 0 <= a - b <= 1 for a, b in zip(rgb.shape, grey.shape, strict=False)):
            raise BenchmarkError(f"{depth}: has not the frames of {video}; name its own with --depth")
        yield rgb[: grey.shape[0], : grey.shape[1]], from_uint16(grey), fps


def colour_and_depth(rgb_HW3: np.ndarray, depth_HW: np.ndarray | None, first_HW: np.ndarray | None) -> dict[str, float]:
    """The mean colour (0 … 255) of a frame's head, or of all of a frame without depth; how far the head's depth is
    spread, over that of the first frame's, and how much farther it is (range 2)."""
    if depth_HW is None or first_HW is None:
        return dict(zip(_COLOURS, rgb_HW3.reshape(-1, 3).mean(0).tolist(), strict=True))
    head, was = depth_HW < HEAD, first_HW < HEAD
    found = dict(zip(_COLOURS, rgb_HW3[head].mean(0).tolist(), strict=True))
    now, then = depth_HW[head], first_HW[was]
    return found | {"depth_scale": float(now.std() / then.std()), "depth_shift": float(now.mean() - then.mean())}


def minutes_of(samples: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """A row a minute: means of its samples, and how many there are."""
    table = []
    for minute in range(math.floor(samples[-1]["time_s"] / _MINUTE_S) + 1):
        here = [one for one in samples if one["time_s"] // _MINUTE_S == minute]
        row: dict[str, Any] = {"minute": minute + 1, "n": len(here)}
        for name in DRIFT_MEASURES:
            numbers = [one[name] for one in here if not math.isnan(one.get(name, math.nan))]
            if any(name in one for one in here):
                row[name] = float(np.mean(numbers)) if numbers else math.nan
        table.append(row)
    return table


def trend(table: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """How much a measure changes in a minute: the slope of a line through the minutes' means, and half of its 95 %
    interval; NaN of less than three minutes."""
    pairs = [(row["minute"], row[name]) for row in table if math.isfinite(row[name])]
    if len(pairs) < 3:
        return math.nan, math.nan
    if len({value for _, value in pairs}) == 1:
        return 0.0, 0.0
    line = linregress(*zip(*pairs, strict=True))
    return float(line.slope), float(line.stderr * t.ppf(0.975, len(pairs) - 2))


def samples_of(
    video: Path, depth: Path | None, every_s: float, faces: Identity | None, telling: Telling | None = None
) -> list[dict[str, float]]:
    """Numbers of a frame every so many seconds, from the first on, which they are compared with."""
    samples: list[dict[str, float]] = []
    own = first_depth = None
    for k, (rgb, depth_HW, fps) in enumerate(frames_of(video, depth)):
        if k < math.ceil(len(samples) * every_s * fps - 1e-6):
            continue
        if first_depth is None:
            first_depth = depth_HW
        found = {"time_s": k / fps} | colour_and_depth(rgb, depth_HW, first_depth)
        if faces is not None:
            picture = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
            at, seen = faces.landmarks(picture)
            there = bool(seen[0])
            face = faces.embed(picture, at) if there else None
            if own is None:
                own = face
            found["face_found"] = float(there)
            found["identity"] = math.nan if face is None or own is None else float(distance(face, own))
        samples.append(found)
        if telling is not None:
            telling.tell(len(samples))
    return samples


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write the files into ``args.out``."""
    console, left_out = Console(), dict[str, str]()
    depth = args.depth or args.video.with_name(args.video.stem + DEPTH_ENDS[VIDEO])
    if args.depth is None and not depth.is_file():
        left_out["depth"] = f"{depth} is not there"
        depth = None
    try:
        with identity(args.embedder) as (faces, reason), Telling("sample", console=console) as telling:
            samples = samples_of(args.video, depth, args.every, faces, telling)
    except FramesError as error:
        raise BenchmarkError(str(error)) from error
    if not samples:
        raise BenchmarkError(f"{args.video}: no frame in it")
    left_out |= {"identity": reason} if reason else {}
    table = minutes_of(samples)
    names = [name for name in DRIFT_MEASURES if name in table[0]]
    trends = {name: trend(table, name) for name in names}
    stamp = report.software_stamp() | {"video": str(args.video), "every_s": args.every, "left_out": left_out}
    stamp["embedder"] = None if faces is None else faces.embed.name
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"rows": table, "trend_a_minute": trends, "samples": samples, "stamp": stamp}
    report.write_json(args.out / "drift.json", results)
    report.write_csv(args.out / "drift.csv", table)
    shown = report.grid("minute", ["n", *names])
    for row in table:
        shown.add_row(str(row["minute"]), str(row["n"]), *(f"{row[n]:.{DRIFT_MEASURES[n]}f}" for n in names))
    shown.add_row(
        "a minute",
        "",
        *(f"{slope:+.{DRIFT_MEASURES[n]}f}±{half:.{DRIFT_MEASURES[n]}f}" for n, (slope, half) in trends.items()),
    )
    report.show(shown, console)
    report.print_left_out(stamp, console)
    return 0
