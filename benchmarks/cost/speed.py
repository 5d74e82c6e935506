"""``python -m benchmarks speed``: what the reference costs in training and sampling, and a training run's throughput.

Four parts, each interleaved (A, B, A, B …):

``training``
    A step (forward, backward, AdamW) of the joint UNet with its ReferenceNet, against the sum of the steps of the two
    plain UNets, each by itself.
``sampling``
    A guided sampling run of one picture, against the usual design (:mod:`benchmarks.cost.reference_bank`).
``precision``
    A training step of preset tiny in bfloat16 against float32 (:mod:`benchmarks.cost.precision`).
``throughput``
    Pictures a second of ``jdap train-image`` at preset tiny on the shards that ship
    (:mod:`benchmarks.cost.throughput`).

Ratios are medians over rounds, by the clock that ``--clock`` names: the wall's, or on a CPU the processor's, which does
not count what other programs take.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.choices import CLOCKS, TARGET_WIDTHS
from benchmarks.cost.precision import CELLS, precision_steps
from benchmarks.cost.speed_steps import sampling_runs, training_steps
from benchmarks.cost.timing import Timing, compare, interleaved
from jdap.io.device import find_device
from jdap.io.progress import track
from jdap.models.image.build import TINY_WIDTHS

#: (part, latent cells a side) → the largest ratio that we accept, at widths 64, 128, 256, 256.
ACCEPTED_RATIOS = {("training", 32): 1.30, ("training", 64): 1.40, ("sampling", 32): 0.75, ("sampling", 64): 0.65}


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write ``speed.json`` into ``args.out``."""
    console = Console()
    device = find_device(args.device)
    clock = args.clock or ("processor" if device.type == "cpu" else "wall")
    if clock == "processor" and device.type != "cpu":
        raise BenchmarkError("--clock processor: measures a CPU only")
    dtype = getattr(torch, args.dtype)
    autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=dtype != torch.float32)
    load_before = os.getloadavg()
    rows: list[dict[str, Any]] = []
    for size in track(args.sizes, "size", console):
        if "training" in args.parts:
            steps = training_steps(args.widths, size, args.batch, device, autocast)
            timings = interleaved(steps, args.repeats, device)
            for name, ours in (("all see it", "injected"), ("one does not", "dropping")):
                rows.append(_row("training", name, size, timings, ours, ["joint", "other"], CLOCKS[clock], args.widths))
        if "sampling" in args.parts:
            runs = sampling_runs(args.widths, size, args.steps, device, autocast)
            timings = interleaved(runs, args.repeats, device)
            for name, theirs in ((f"{args.steps} guided steps", "bank"), ("against leaner", "lean")):
                rows.append(_row("sampling", name, size, timings, "ours", [theirs], CLOCKS[clock], args.widths))
    if "precision" in args.parts:
        for what, calls in precision_steps(device).items():
            timings = interleaved(calls, args.repeats, device)
            row = _row(
                "precision", f"{what}, bfloat16", CELLS, timings, "bfloat16", ["float32"], CLOCKS[clock], TINY_WIDTHS
            )
            rows.append(row)
    rates = []
    if "throughput" in args.parts:
        from benchmarks.cost.throughput import throughput  # Lightning and the data take a while to import

        rates = throughput(args.throughput_steps, args.repeats, device, args.dtype)
    stamp = report.software_stamp() | {
        "device": report.device_name(device),
        "dtype": args.dtype,
        "threads": torch.get_num_threads(),
        "load_average": [load_before[0], os.getloadavg()[0]],
        "clock": clock,
        "widths": args.widths,
        "batch": args.batch,
        "steps": args.steps,
        "repeats": args.repeats,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    report.write_json(args.out / "speed.json", {"rows": rows, "throughput": rates, "stamp": stamp})
    if rows:
        console.print(_table(rows, f"{clock} seconds, medians of {args.repeats} rounds"))
    if rates:
        console.print(_throughput_table(rates))
    console.print(
        f"{stamp['device']}, {args.dtype}, {stamp['threads']} threads, load average {load_before[0]:.1f} at the start",
        style="dim",
    )
    return 0


def target(part: str, size: int, widths: Sequence[int]) -> float | None:
    """The ratio that ``part`` should stay under at latents of ``size``², None where none was set: for other widths."""
    return ACCEPTED_RATIOS.get((part, size)) if tuple(widths) == TARGET_WIDTHS else None


def _row(
    part: str,
    name: str,
    size: int,
    timings: dict[str, Timing],
    ours: str,
    theirs: list[str],
    clock: str,
    widths: tuple[int, ...],
) -> dict[str, Any]:
    return {
        "part": part,
        "what": name,
        "size": size,
        **compare(timings[ours], [timings[name] for name in theirs], clock),
        "target": target(part, size, widths) if theirs != ["lean"] else None,
        "calls": {name: timings[name].to_json() for name in (ours, *theirs)},
    }


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    measured = any(call["peak_bytes"] is not None for row in rows for call in row["calls"].values())
    table.add_column("part, latents", no_wrap=True)
    for header in ("ours", "theirs", "ratio", "range", "target", *(["peak MiB"] if measured else [])):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["ratio_range"]
        peaks = [call["peak_bytes"] for call in row["calls"].values() if call["peak_bytes"] is not None]
        table.add_row(
            f"{row['part']} {row['size']}²: {row['what']}",
            f"{row['ours_s']:.3f}",
            f"{row['theirs_s']:.3f}",
            f"{row['ratio']:.2f}",
            f"{low:.2f}–{high:.2f}",
            "" if row["target"] is None else f"≤ {row['target']:.2f}",
            *([" / ".join(f"{peak / 2**20:.0f}" for peak in peaks)] if measured else []),
        )
    return table


def _throughput_table(rates: list[dict[str, Any]]) -> Table:
    table = Table(title="train-image, preset tiny", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("latents", no_wrap=True)
    for header in ("pictures/s", "range", "per second of processor time"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rates:
        low, high = row["pictures_per_s_range"]
        processor = row["pictures_per_processor_s"]
        table.add_row(row["what"], f"{row['pictures_per_s']:.2f}", f"{low:.2f}–{high:.2f}", f"{processor:.2f}")
    return table
