"""``python -m benchmarks footprint``: memory and time of a preset at its full size, with random weights.

A **training step** is the image stage's own: a batch of drawn numbers is encoded, the ReferenceNet and the joint UNet
run, and AdamW steps, with gradients clipped. A row is one setting (batch, gradient checkpointing, ``torch.compile``).
**Sampling** is the portrait pipeline's own: joint generation from a reference, and depth from a picture in one step.
``--stage video`` measures the temporal stage's step instead, on clips of ``--frames`` drawn frames and two before them,
and sampling of one window, guided by nothing; its batches are clips, and the sound is heard by ``mel``.
On a CPU each row runs in a process of its own, so that its peak of resident memory is its own (the interpreter and
building the networks included). On a GPU, whose allocator can begin to count anew, rows of the same networks (but for
batch and targets) share a process (``--share``), because building them takes longer than a row. A row that does not fit
says so, and the others go on.

``bf16-mixed`` keeps float32 weights and computes under autocast, as the presets train. ``bf16-true`` keeps weights,
gradients and AdamW's states in bfloat16: half the memory for them, at the price of tiny updates that get lost. It
is there so that ``sd15`` fits a CPU, and not a recipe.

Seconds are the median over ``--steps`` after ``--warmup`` that are not counted, and the fastest and the slowest of
them. Beside them stands processor time, the
fair measure on a CPU where other programs run; on a GPU it is what the host spends.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.cost.footprint_case import MOTION_FRAMES, SIZES_PX, Case, batch_of, stage_of
from jdap.io.device import find_device
from jdap.io.progress import track
from jdap.io.threads import use_threads
from jdap.stages.image import ImageStage
from jdap.stages.temporal import TemporalStage
from jdap.units import FPS, SAMPLE_RATE

#: What is measured where nothing else is said.
ON_CPU: dict[str, Any] = {
    **{"batch": [1], "checkpointing": [True], "compile": [False], "precision": "bf16-true"},
    **{"steps": 1, "warmup": 0, "sampling_steps": 1, "share": False},
}
ON_GPU: dict[str, Any] = {
    **{"batch": [1, 4, 8], "checkpointing": [True, False], "compile": [True, False], "precision": "bf16-mixed"},
    **{"steps": 10, "warmup": 3, "sampling_steps": 20, "share": True},
}


def measure(case: Case, stage: ImageStage | TemporalStage | None = None) -> dict[str, Any]:
    """Run one row in this process; its figures. ``stage``: as :func:`built` makes it (None: it is built here)."""
    stage = built(case) if stage is None else stage
    if torch.device(case.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(case.device)
    parts = {name: list(part.parameters()) for name, part in stage.named_children()}
    parts["trained"] = [p for p in stage.parameters() if p.requires_grad]
    counts = {name: round(sum(p.numel() for p in part) / 1e6, 1) for name, part in parts.items() if part}
    figures = _train(stage, case) if case.what == "train" else _sample(stage, case)
    return {**asdict(case), "millions": counts, **figures, "peak_gib": round(_peak(case.device) / 2**30, 2)}


def built(case: Case) -> ImageStage | TemporalStage:
    """The stage of a row, with random weights, where it runs."""
    use_threads(case.threads)
    torch.manual_seed(0)
    stage = stage_of(case)
    if case.precision == "bf16-true":
        stage.to(torch.bfloat16)
        gc.collect()
    return stage.to(case.device)


def _train(stage: ImageStage | TemporalStage, case: Case) -> dict[str, Any]:
    stage.train()
    trained = [p for p in stage.parameters() if p.requires_grad]
    # fused, and so without copies of a whole group of parameters
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=1e-2, fused=True)
    batch: Any = batch_of(case).to(case.device)  # what its stage takes
    times = []
    for step in range(case.warmup + case.steps):
        started = _now(case.device)
        with torch.autocast(torch.device(case.device).type, torch.bfloat16):
            loss = stage.training_step(batch, step)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not loss.isfinite():
            raise BenchmarkError(f"{case.preset}: the loss of step {step} is not finite")
        times.append(_now(case.device) - started)
    figures = _seconds("step", times[case.warmup :])
    pictures_per_s = float(f"{case.batch * (case.frames or 1) / figures['step_s']:.3g}")
    return {**figures, "pictures_per_s": pictures_per_s, "loss": round(loss.item(), 4)}


def _sample(stage: ImageStage | TemporalStage, case: Case) -> dict[str, Any]:
    stage.eval()
    rgb = batch_of(case).reference_rgb.to(case.device)
    asked: dict[str, Callable[[], Any]]
    if isinstance(stage, TemporalStage):
        talking, silence = stage.pipeline(), torch.zeros(case.frames * SAMPLE_RATE // FPS)
        asked = {"window": lambda: list(talking.talk(rgb, silence, steps=case.sampling_steps))}
    else:
        pipeline = stage.pipeline()
        asked = {
            "generate": lambda: pipeline.generate(rgb, steps=case.sampling_steps),
            "depth": lambda: pipeline.image_to_depth(rgb, steps=1),
        }
    figures: dict[str, Any] = {}
    for name, ask in asked.items():
        times = []
        for _ in range(case.warmup + case.steps):
            started = _now(case.device)
            with torch.autocast(torch.device(case.device).type, torch.bfloat16):
                ask()
            times.append(_now(case.device) - started)
        figures |= _seconds(name, times[case.warmup :])
    return figures


def _now(device: str) -> np.ndarray:
    """Seconds of the clock and of the processor, when the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()])


def _seconds(name: str, times: list[np.ndarray]) -> dict[str, Any]:
    """Medians by both clocks, and the clock's fastest and slowest."""
    clock, processor = np.median(times, axis=0)
    wall = [float(one[0]) for one in times]
    ends = [round(min(wall), 3), round(max(wall), 3)]
    return {f"{name}_s": round(float(clock), 3), f"{name}_s_range": ends, f"{name}_cpu_s": round(float(processor), 3)}


def _peak(device: str) -> int:
    """Bytes at the worst moment of this process: of the GPU, or resident."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _guarded(some: list[Case]) -> list[dict[str, Any]]:
    """:func:`measure` of rows of the same networks; a GPU that is too small is a row, too."""
    rows, stage = [], None
    for case in some:
        try:
            stage = built(case) if stage is None else stage
            rows.append(measure(case, stage))
        except torch.OutOfMemoryError:
            rows.append({**asdict(case), "failed": "out of memory"})
            torch.cuda.empty_cache()
    return rows


def together(some: list[Case], share: bool) -> list[list[Case]]:
    """The rows that run in one process: with ``share`` those of the same networks."""
    if not share:
        return [[case] for case in some]
    return [
        [case for case in some if (case.checkpointing, case.compiled) == networks]
        for networks in dict.fromkeys((case.checkpointing, case.compiled) for case in some)
    ]


def settled(args: argparse.Namespace) -> argparse.Namespace:
    """The options with everything said: what was left open is little on a CPU, and a table of settings on a GPU.

    Raises :class:`jdap.io.device.DeviceError` for a device that is not there.
    """
    device = find_device(args.device)
    usual = ON_GPU if device.type == "cuda" else ON_CPU
    said = {name: value for name, value in vars(args).items() if value is not None}
    return argparse.Namespace(
        **{**vars(args), "threads": torch.get_num_threads(), **usual, **said, "device": str(device)}
    )


def cases(args: argparse.Namespace) -> list[Case]:
    """Rows in order: training by batch, checkpointing and compile, then sampling one picture or window."""
    size = args.size or SIZES_PX[args.preset]
    shared = {"preset": args.preset, "size_px": size, "device": args.device, "precision": args.precision}
    shared |= {name: getattr(args, name) for name in ("steps", "warmup", "sampling_steps", "threads")}
    found = []
    video = args.stage == "video"
    shared["frames"] = args.frames if video else 0
    compiling = [False] if video else args.compile  # the temporal stage is not compiled
    for checkpointing, compiled, batch, targets in itertools.product(
        args.checkpointing, compiling, args.batch, args.targets
    ):
        if batch % targets == 0:
            kind = {"checkpointing": checkpointing, "compiled": compiled, "targets": targets}
            found.append(Case("train", batch=batch, **kind, **shared))
    if args.sampling_steps:
        found.append(Case("sample", batch=1, checkpointing=False, compiled=False, **shared))
    return found


def run(args: argparse.Namespace) -> int:
    """Measure every row; print the table and write the file, if asked for."""
    args = settled(args)
    if min(args.steps, args.frames, *args.targets, *args.batch) < 1 or args.warmup < 0 or args.sampling_steps < 0:
        raise BenchmarkError(
            "--steps, --frames, --batch, --targets must be at least 1, --warmup and --sampling-steps at least 0"
        )
    if idle := [one for one in args.targets if all(batch % one for batch in args.batch)]:
        raise BenchmarkError(f"--targets {idle[0]}: divides no --batch of {', '.join(map(str, args.batch))}")
    console = Console(stderr=True)
    rows = []
    for some in track(together(cases(args), args.share), "process", console):
        console.print(f"{args.preset}: {'; '.join(map(_name, some))}", style="dim")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                rows += pool.submit(_guarded, some).result()
            except BrokenProcessPool:  # the system's answer to a process that takes too much
                rows += [{**asdict(case), "failed": "killed: out of memory?"} for case in some]
        if args.json:  # as they come: a long run that is interrupted leaves what it has
            report.write_json(args.json, {"rows": rows, "stamp": _stamp(args)})
    _print(rows, _stamp(args)["device"], Console())
    return 0


def _stamp(args: argparse.Namespace) -> dict[str, Any]:
    cuda = torch.device(args.device).type == "cuda"
    name = torch.cuda.get_device_name(args.device) if cuda else f"CPU, {args.threads} threads"
    return {**report.software_stamp(), "device": name}


def _name(case: Case) -> str:
    parts = [case.what, f"batch {case.batch}"] + [f"{case.targets} a reference"] * (case.targets > 1)
    parts += ["checkpointing"] * case.checkpointing + ["compile"] * case.compiled
    return ", ".join(parts)


def _print(rows: list[dict[str, Any]], device: str, console: Console) -> None:
    first = rows[0]
    clips = f", clips of {first['frames']} + {MOTION_FRAMES} frames" if first["frames"] else ""
    title = f"{first['preset']} at {first['size_px']}²{clips}, {first['precision']}, {device}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for header in ("seconds", "processor", "pictures/s", "peak, GiB"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        case = Case(**{name: row[name] for name in Case.__dataclass_fields__})
        if "failed" in row:
            table.add_row(_name(case), row["failed"])
            continue
        lines = {"step": _name(case), "generate": f"generate, {case.sampling_steps} steps", "depth": "depth, 1 step"}
        lines["window"] = f"window, {case.sampling_steps} steps"
        for key, label in lines.items():
            if f"{key}_s" in row:
                times = [f"{row[f'{key}{unit}']:.2f}" for unit in ("_s", "_cpu_s")]
                table.add_row(label, *times, str(row.get("pictures_per_s", "")), str(row["peak_gib"]))
    report.show(table, console)
    millions: dict[str, float] = next((row["millions"] for row in rows if "millions" in row), {})
    console.print("M parameters: " + ", ".join(f"{name} {count}" for name, count in millions.items()), style="dim")
