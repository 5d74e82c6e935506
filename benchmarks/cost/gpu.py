"""``python -m benchmarks gpu``: everything that docs/gpu.md asks of a GPU, in nine minutes.

Runs the commands of :func:`tasks` one after another, each in processes of its own with a time limit, until
``--minutes`` are over, and writes ``gpu.json`` after each. A row whose command failed, ran out of time or was not
reached stays blank, and the JSON says why. ``--docs FILE`` puts the table between its marks in that file. ``--reduced``
runs the same at a size for a CPU: what it says is of no interest, but that it can be said.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks import report
from jdap.io.device import find_device
from jdap.io.fetch import ENVIRONMENT
from jdap.io.progress import track

#: The lines between which the table stands in docs/gpu.md.
GPU_BEGIN, GPU_END = "<!-- benchmarks gpu --docs -->", "<!-- end -->"
JSON_FILE = "rows.json"
#: Steps of `make shipped-weights`' image model.
SHIPPED_STEPS = 110_000
#: A run's first seconds compile and allocate: rates are of the steps after this share of them.
STARTED = 0.3


@dataclass(frozen=True)
class GpuTask:
    """One command: its words after ``python -m``, how long it may take, and what its folder says, row → figure."""

    name: str
    words: Sequence[str]
    seconds: float
    read: Callable[[Path], dict[str, str]]


#: Row → what it is, in the order of the table.
GPU_ROWS = {
    "tiny": "preset `tiny`, a minute of training: steps a second, depth RMSE, `val/lookup`",
    "small": "preset `small`, the same",
    "shipped": "hours of `make shipped-weights`' image model at that speed of `tiny` (computed)",
    **{
        f"step {batch} {how}": f"`sd15`, a training step, batch {batch}, {said}: pictures a second, peak"
        for batch in (1, 4, 8)
        for how, said in (("kept", "checkpointing"), ("plain", "without"))
    },
    "step 4 compiled": "`sd15`, a training step, batch 4, without checkpointing, compiled",
    "step 4 shared": "`sd15`, a training step of four pictures of one reference (against batch 4 above)",
    "joint": "`sd15`, one portrait at 512², joint, 20 steps",
    "depth": "`sd15`, depth of one picture at 512², one step",
    "clip": "`sd15`, a training step of a clip of 14 + 2 frames, checkpointing: frames a second, peak",
    "preparation": "preparation of videos: frames a second, and milliseconds a frame of its three longest steps",
    "studio": "studio, 512² with shadows: pictures a second",
}


def tasks(device: str, videos: Sequence[Path], train_s: float, reduced: bool) -> list[GpuTask]:
    """The commands in the order of their worth; ``reduced``: for a CPU, on the smallest of everything."""
    preset, size = ("tiny", ["--size", "32", "--share"]) if reduced else ("sd15", [])
    footprint = ["benchmarks", "footprint", "--preset", preset, *size, "--device", device, "--json", JSON_FILE]
    steps = ["--steps", "2", "--warmup", "0"] if reduced else ["--steps", "5", "--warmup", "2"]
    drawing = ["--sampling-steps", "2" if reduced else "20"]
    found = [
        GpuTask(
            "steps",
            [*footprint, *steps, *drawing, "--batch", "1", "4", "8", "--targets", "1", "4", "--checkpointing", "both",
             "--compile", "off"],
            240, _steps,
        ),
        *(
            GpuTask(name, _training(f"image-{name}", device, train_s, reduced), train_s + 60, partial(_trained, name))
            for name in ("tiny", "small")
        ),
        GpuTask(
            "studio",
            ["benchmarks", "studio", "--device", device, "--shadows", "on", "--workers", "1", "--repeats", "2",
             "--json", JSON_FILE, *(["--sizes", "64", "--people", "2", "--batches", "2"] if reduced else
                                    ["--sizes", "512", "--batches", "32"])],
            60, _studio,
        ),
    ]  # fmt: skip
    if videos:
        words = ["benchmarks", "preparation", *map(str, videos), "--device", device, "--json", JSON_FILE]
        found.append(GpuTask("preparation", [*words, *(["--size", "64"] if reduced else [])], 90, _preparation))
    clips = ["--stage", "video", "--checkpointing", "on", "--batch", "1", *(["--frames", "3"] if reduced else [])]
    # On a CPU compiling takes minutes.
    compiled = ["--batch", "4", "--checkpointing", "off", "--compile", "off" if reduced else "on"]
    found.append(GpuTask("clip", [*footprint, *steps, *clips, "--sampling-steps", "0"], 120, _clip))
    found.append(GpuTask("compiled", [*footprint, *steps, *compiled, "--sampling-steps", "0"], 150, _compiled))
    return found


def run(args: argparse.Namespace) -> int:
    """Run, write ``gpu.json`` as rows come, print the table, and put it into ``args.docs``."""
    console, out = Console(), args.out.resolve()
    device = find_device(args.device)
    until = time.monotonic() + 60 * args.minutes
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, str] = {}
    why: dict[str, str] = {}
    stamp = report.software_stamp() | {"device": report.device_name(device), "reduced": args.reduced}
    for task in track(tasks(str(device), _videos(args.videos), args.train_seconds, args.reduced), "command", console):
        console.print(f"{task.name}: python -m {' '.join(task.words)}", style="dim", markup=False, soft_wrap=True)
        seconds = task.seconds * (4 if args.reduced else 1)  # a CPU may be busy with other things
        reason = perform(task, out / task.name, min(seconds, until - time.monotonic()))
        try:
            rows |= task.read(out / task.name)
        except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
            reason = reason or f"it wrote nothing that can be read: {error!r}"
        if reason:
            why[task.name] = reason
        report.write_json(out / "gpu.json", {"rows": rows, "why_not": why, "stamp": stamp})
    if not _videos(args.videos):
        why["preparation"] = f"no videos: name some with --videos, or set {ENVIRONMENT}"
    report.write_json(out / "gpu.json", {"rows": rows, "why_not": why, "stamp": stamp})
    table = markdown(rows, stamp)
    console.print(table, markup=False, soft_wrap=True)
    for name, reason in why.items():
        console.print(f"{name}: {reason}", style="yellow", markup=False, soft_wrap=True)
    if args.docs is not None:
        report.put_between(args.docs, GPU_BEGIN, GPU_END, table)
    return 1 if why else 0


def perform(task: GpuTask, folder: Path, seconds: float) -> str:
    """Run a command in a folder of its own for so long at most; "" or why it did not end well."""
    if seconds <= 0:
        return "not reached: the time was over"
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *task.words], cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"ended after {seconds:.0f} s"
    last = (folder / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
    return "" if status == 0 else f"status {status}: {' '.join(last)}"


def markdown(rows: dict[str, str], stamp: dict[str, Any]) -> str:
    """The table of docs/gpu.md; what was not measured is blank."""
    lines = [f"| {what} | {rows.get(name, '')} |" for name, what in GPU_ROWS.items()]
    table = "\n".join([f"| what | {stamp.get('device', 'result')} |\n|---|---|", *lines])
    if not rows:
        return table
    commit = (stamp["git_commit"] or "unknown")[:9]
    return f"{table}\n\ntorch {stamp['torch']}, commit {commit}. Brackets: fastest and slowest."


def _training(config: str, device: str, seconds: float, reduced: bool) -> list[str]:
    minutes, rest = divmod(round(seconds), 60)
    words = ["jdap", "train-image", "--config", config, "--out", "run", "--data.train", "shipped:shards/train"]
    words += ["--data.val", "shipped:shards/val", "--trainer.max_time", f"00:00:{minutes:02d}:{rest:02d}"]
    words += [
        "--trainer.accelerator",
        "gpu" if device.startswith("cuda") else "cpu",
        "--trainer.log_every_n_steps",
        "1",
    ]
    words += ["--data.workers", "0" if reduced else "8", "--trainer.val_check_interval", "2" if reduced else "100"]
    if reduced:
        words += ["--data.batch_size", "4", "--trainer.limit_val_batches", "1", "--trainer.max_steps", "4"]
        words += ["--model.preset", "tiny", "--trainer.precision", "32-true"]
        words += ["--model.size_px", "32", "--data.size_px", "32"]
    return words


def _trained(name: str, folder: Path) -> dict[str, str]:
    """Steps a second and validation scores, of the events that the run logged."""
    events = EventAccumulator(str(next(folder.glob("run/logs/**/events.out.tfevents.*")).parent))
    events.Reload()
    scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    steps = next(found for tag, found in scalars.items() if tag.startswith("train/loss"))
    kept = steps[int(STARTED * len(steps)) :]
    rate = (kept[-1].step - kept[0].step) / max(kept[-1].wall_time - kept[0].wall_time, 1e-9)
    said = [f"{rate:.1f} steps/s, {steps[-1].step + 1} steps"]
    for tag in ("val/rmse", "val/lookup/own_700", "val/lookup/none_700", "val/lookup/itself_700"):
        said += [f"{tag.removeprefix('val/')} {scalars[tag][-1].value:.3f}"] if tag in scalars else []
    found = {name: ", ".join(said)}
    return found | ({"shipped": f"{SHIPPED_STEPS / rate / 3600:.1f} h"} if name == "tiny" else {})


def _json(folder: Path) -> Any:
    return json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))


def _step(row: dict[str, Any]) -> str:
    if "failed" in row:
        return row["failed"]
    low, high = row["step_s_range"]
    return f"{row['pictures_per_s']:.3g}/s; {row['step_s']:.3f} s [{low:.3f}, {high:.3f}] a step; {row['peak_gib']} GiB"


def _steps(folder: Path) -> dict[str, str]:
    found = {}
    for row in _json(folder)["rows"]:
        if row["what"] == "train" and row["targets"] == 1:
            found[f"step {row['batch']} {'kept' if row['checkpointing'] else 'plain'}"] = _step(row)
        elif row["what"] == "train" and row["batch"] == row["targets"] == 4 and not row["checkpointing"]:
            found["step 4 shared"] = _step(row)
        elif row["what"] == "sample":
            for name, key in (("joint", "generate"), ("depth", "depth")):
                if f"{key}_s" in row:
                    low, high = row[f"{key}_s_range"]
                    found[name] = f"{row[f'{key}_s']:.3f} s [{low:.3f}, {high:.3f}]; {row['peak_gib']} GiB"
    return found


def _compiled(folder: Path) -> dict[str, str]:
    return {"step 4 compiled": _step(_json(folder)["rows"][0])}


def _clip(folder: Path) -> dict[str, str]:
    return {"clip": _step(_json(folder)["rows"][0])}


def _studio(folder: Path) -> dict[str, str]:
    row = _json(folder)["rows"][0]
    return {"studio": f"{row['per_second']} [{row['slowest']}, {row['fastest']}]"}


def _preparation(folder: Path) -> dict[str, str]:
    found = _json(folder)
    longest = list(found["ms_a_frame"].items())[:3]
    parts = ", ".join(f"{name} {spent:.1f} ms" for name, spent in longest)
    return {"preparation": f"{found['frames_per_s']:.1f} of {found['frames']} frames; {parts}"}


def _videos(given: Sequence[Path] | None) -> list[Path]:
    """The videos that were named, or those of the development assets."""
    if given:
        return [path.resolve() for path in given]
    folder = Path(os.environ.get(ENVIRONMENT, "")) / "videos" / "grid"
    return [folder] if os.environ.get(ENVIRONMENT) and folder.is_dir() else []
