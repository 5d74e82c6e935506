"""``python -m benchmarks peers``: ours beside what people use today, in one run on one machine.

Four parts, each interleaved (A, B, A, B …), with random weights where there are networks:

``depth``
    Depth of a picture in one step, against diffusers' ``MarigoldDepthPipeline`` of the same size.
``clip``
    A window of the talking pipeline, against diffusers' ``AnimateDiffPipeline`` of the same size.
``reading``
    A video at 25 fps by our reader, against decord, OpenCV and PyAV frame by frame.
``preparation``
    A video to shards, against the script that is usually written (:mod:`benchmarks.cost.peer_scripts`).

The training step, and guided sampling against the public ReferenceNets, are in ``benchmarks speed``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.choices import CLOCKS
from benchmarks.cost.side_by_side import Part, measured
from jdap.io.device import find_device
from jdap.io.progress import track


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write ``peers.json`` into ``args.out`` after each part."""
    console = Console()
    device = find_device(args.device)
    if wanting := [str(path) for path in args.video if not path.is_file()]:
        raise BenchmarkError(f"{wanting[0]}: no such file; --video takes files")
    if odd := [width for width in (*args.widths, *args.codec_widths) if width % 32]:
        raise BenchmarkError(f"--widths, --codec-widths: multiples of 32 are normalised in groups, got {odd[0]}")
    clock = "processor" if device.type == "cpu" else "wall"
    load_before = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in track(list(parts(args, device, Path(folder))), "part", console):
            on = device if part.name in ("depth", "clip") else torch.device("cpu")
            rows += measured(part, args.repeats, on, CLOCKS[clock], not args.no_memory)
            stamp = report.software_stamp() | {
                "device": report.device_name(device),
                "threads": torch.get_num_threads(),
                "load_average": [load_before, os.getloadavg()[0]],
                "clock": clock,
                **{name: getattr(args, name) for name in ("widths", "codec_widths", "repeats")},
            }
            report.write_json(args.out / "peers.json", {"rows": rows, "stamp": stamp})
    report.show(_table(rows), console)
    on_what = f"{stamp['device']}, {stamp['threads']} threads, load average {load_before:.1f} at the start"
    console.print(f"{clock} seconds, medians of {args.repeats} rounds; {on_what}", style="dim")
    return 0


def parts(args: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Part]:
    """What is asked for; a drawn video is written into ``folder``."""
    sizes = (args.widths, args.codec_widths, args.size)
    if "depth" in args.parts or "clip" in args.parts:
        from benchmarks.cost import peer_networks  # diffusers' pipelines take a while to import

        if "depth" in args.parts:
            yield peer_networks.depth_part(*sizes, args.ensemble, str(device))
        if "clip" in args.parts:
            yield peer_networks.clip_part(*sizes, args.frames, args.steps, str(device))
    if "reading" in args.parts or "preparation" in args.parts:
        from benchmarks.cost import peer_videos  # and so do mediapipe and the fit

        if "reading" in args.parts:
            drawn = peer_videos.draw_video(folder / "drawn.mp4", args.drawn_seconds)
            yield from map(peer_videos.reading_part, (drawn, *args.video))
        if "preparation" in args.parts:
            yield from (peer_videos.preparation_part(path, args.size) for path in args.video)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = report.grid("part, size", ("ours", "theirs", "ratio", "range", "peak MiB, ours / theirs"))
    for row in rows:
        low, high = row["ratio_range"]
        table.add_row(
            f"{row['part']}, {row['size']}: {row['what']}",
            f"{row['ours_s']:.3f}",
            f"{row['theirs_s']:.3f}",
            f"{row['ratio']:.2f}",
            f"{low:.2f}–{high:.2f}",
            " / ".join(_peak(row, name) for name in row["names"]),
        )
    return table


def _peak(row: dict[str, Any], name: str) -> str:
    peak = (row["memory"][name] or row["calls"][name])["peak_bytes"]
    return "?" if peak is None else f"{peak / 2**20:.0f}"
