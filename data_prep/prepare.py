"""``python -m data_prep prepare VIDEO_OR_FOLDER… --out DIR``: videos of people → shards with fitted depth.

Every video runs through :mod:`data_prep.pipeline`. Whatever goes wrong with one is a row of the manifest, and the rest
goes on. Videos are spread over worker processes; results are taken in the order of the inputs, so shards hold the same
bytes whatever the number of workers.

Everything is written to a folder beside DIR, which takes DIR's name at the very end: an interrupted run leaves no DIR.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_prep import contact_sheet
from data_prep.pipeline import Task, failed_row, prepare_video
from data_prep.pool import Died, run_tasks
from data_prep.quality import HELD, KEPT, reason_kind, select
from data_prep.report import MANIFEST
from data_prep.sample import read_members
from data_prep.shards import Sample, ShardWriter
from data_prep.stages import Settings, Tools, add_settings, read_settings
from data_prep.video import find_videos
from jdap.files import write_whole
from jdap.schema import Record


class PrepareError(ValueError):
    """A mistake in the command's arguments, told in one line."""


@dataclass(frozen=True)
class StoredSample:
    """A sample as a worker has encoded it: :class:`data_prep.shards.ShardWriter` asks for no more than this."""

    key: str
    record: Record
    encoded: dict[str, bytes]

    def members(self) -> dict[str, bytes]:
        """The encoded members."""
        return self.encoded


def prepare(
    inputs: list[Path], out: Path, settings: Settings, workers: int = 1, overwrite: bool = False
) -> list[dict[str, Any]]:
    """Prepare videos into a folder of shards; returns the manifest's rows.

    ``workers`` processes share the videos; 0 works in this process. Raises :class:`PrepareError` where ``out`` holds
    something already and ``overwrite`` is not set.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise PrepareError(f"{out} exists and is not empty: name another folder, or replace it with --overwrite")
    tasks = _tasks(inputs, out.with_name(f".{out.name}.part"))
    part = out.with_name(f".{out.name}.part")
    _remove(part)
    part.mkdir(parents=True)
    threads = torch.get_num_threads()
    try:
        rows = _prepare(tasks, part, settings, workers)
        _remove(part / "scratch")
        contact_sheet.write_index(part / "contact", rows)
        write_whole(part / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())
        _replace(part, out)
    finally:
        torch.set_num_threads(threads)
        _remove(part)
    return rows


def _prepare(tasks: list[Task], part: Path, settings: Settings, workers: int) -> list[dict[str, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[dict[str, Any]] = []
    make = functools.partial(_make_worker, settings)
    (part / "contact").mkdir()
    with (
        ShardWriter(part, "clips") as writer,
        ShardWriter(part / "held", "clips") as held,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task("preparing", total=len(tasks))
        log = part / "scratch" / "workers.log"
        log.parent.mkdir(exist_ok=True)
        for index, result in run_tasks(tasks, make, min(workers, len(tasks)), log):
            task = tasks[index]
            found = [failed_row(task, result.reason)] if isinstance(result, Died) else result
            found = [select(row, settings.thresholds) for row in found]
            for row in found:
                _store(row, task, held if row["status"] == HELD else writer)
            rows += found
            _remove(task.scratch)
            progress.update(bar, advance=1, description=f"{sum(r['status'] == KEPT for r in rows)} clips kept")
    if not held.shards:
        held.folder.rmdir()
    return rows


def _store(row: dict[str, Any], task: Task, writer: ShardWriter) -> None:
    """Move a clip's samples into the shards, and its time and reason into the sidecar."""
    for stage, seconds in row["seconds"].items():
        writer.add_seconds(stage, seconds)
    if row["status"] not in (KEPT, HELD):
        writer.reject(reason_kind(row["reason"]))
        return
    for shard in sorted((task.scratch / row["clip_id"]).glob("*.tar")):
        for key, members in read_members(shard):
            record = Record.from_json(json.loads(members["json"]))
            writer.write(cast(Sample, StoredSample(key, record, members)))


def _make_worker(settings: Settings) -> Callable[[Task], list[dict[str, Any]]]:
    torch.set_num_threads(1)  # sums depend on the number of threads, and shards must not
    return functools.partial(prepare_video, tools=Tools(settings))


def _tasks(inputs: list[Path], part: Path) -> list[Task]:
    tasks: list[Task] = []
    taken: Counter[str] = Counter()
    for index, (path, name) in enumerate(find_videos(inputs)):
        base_id = video_id(name)
        taken[base_id] += 1
        if taken[base_id] > 1:  # the same file twice, or folders of one name with files of one name
            base_id = f"{base_id}-{taken[base_id]}"
        tasks.append(Task(path, name, base_id, part / "scratch" / f"{index:06d}", part / "contact"))
    return tasks


def video_id(name: str) -> str:
    """An id that is safe in keys and file names: the file's stem and a hash of ``folder/name.ext``."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).stem).strip("-")[:48] or "video"
    return f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _replace(part: Path, out: Path) -> None:
    """Give the finished folder its name; what was there before goes when the new one is in place."""
    old = out.with_name(f".{out.name}.old")
    _remove(old)
    if out.exists():
        os.replace(out, old)
    os.replace(part, out)
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep prepare``."""
    parser.description = "Videos of people to shards with fitted depth, at 25 frames a second."
    parser.add_argument("inputs", nargs="+", type=Path, metavar="VIDEO_OR_FOLDER", help="folders are searched")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards, manifest.jsonl and contact/")
    add_settings(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes; 0 works without protection (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if there is one")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the videos; 0 when every input has its row."""
    if args.workers < 0:
        raise PrepareError(f"--workers must not be negative, got {args.workers}")
    settings = read_settings(args)
    # A scheduler's SIGTERM ends the run as Ctrl-C does: workers are ended and nothing half written stays.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.perf_counter()
    try:
        rows = prepare(args.inputs, args.out, settings, args.workers, args.overwrite)
    finally:
        signal.signal(signal.SIGTERM, before)
    console = Console()
    for row in rows:
        if row["status"] != KEPT:
            console.print(f"{row['status']}: {row['source']}: {row['reason']}", markup=False, soft_wrap=True)
    kept = [row for row in rows if row["status"] == KEPT]
    console.print(
        f"{args.out}: {len(kept)} of {len(rows)} clips kept, {sum(row['frames'] for row in kept)} frames, "
        f"{time.perf_counter() - started:.0f} s; look at {args.out / 'contact' / 'index.html'}",
        markup=False,
        soft_wrap=True,
    )
    return 0
