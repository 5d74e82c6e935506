"""``python -m benchmarks studio``: how many pictures the synthetic studio makes in a second.

A picture is all that a shard's frame takes: drawing the person, rendering, exact depth and skin, and encoding the
members. Each line is the median of ``--repeats`` runs over the same ``--people`` people of ``--frames`` stills, after
one run that is not counted; the spread is from the slowest to the fastest. With several workers each is a process of
one thread, and the time is from the first job given to the last result. ``cpu`` is processor time, the only fair
measure where other programs run; on a GPU it is what the host spends.

Prints a table; writes nothing but the file named by ``--json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from data_prep.studio.people import PersonJob, make_batch
from data_prep.studio.photograph import Studio
from jdap.io.progress import Telling
from jdap.io.threads import threads_kept, use_threads

_studio: Studio | None = None


def _open(device: str) -> None:
    """Build the studio of this process."""
    global _studio
    use_threads(1)
    _studio = Studio(device)


def _work(job: PersonJob, indices: range) -> float:
    """Make and encode samples; the processor time it took, seconds."""
    assert _studio is not None
    started = time.process_time()
    for sample in make_batch(_studio, job, indices):
        sample.members()
    return time.process_time() - started


def _ready() -> bool:
    return _studio is not None


def measure(
    job: PersonJob, people: int, together: int, repeats: int, pool: ProcessPoolExecutor | None
) -> dict[str, Any]:
    """Pictures a second over ``people`` people, ``together`` of them photographed at a time.

    ``per_second`` (median), ``slowest``, ``fastest``; ``per_cpu_second``: median per second of processor time;
    ``n``: pictures of a run.
    """
    groups = [range(i, min(i + together, people)) for i in range(0, people, together)]
    pictures = people * job.frames
    wall, cpu = [], []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        spent = sum((pool.map if pool else map)(_work, [job] * len(groups), groups))
        if repeat:  # the first run allocates, and fills caches
            wall.append(pictures / (time.perf_counter() - started))
            cpu.append(pictures / spent)
    return {
        "size_px": job.size,
        "shadows": job.shadows,
        "together": together * job.frames,
        "per_second": round(median(wall), 2),
        "slowest": round(min(wall), 2),
        "fastest": round(max(wall), 2),
        "per_cpu_second": round(median(cpu), 2),
        "n": pictures,
        "repeats": repeats,
    }


def run(args: argparse.Namespace) -> int:
    """Measure, and print the table."""
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise BenchmarkError(f"--device {args.device}: torch finds no GPU here; use --device cpu")
    shadows = {"on": [True], "off": [False], "both": [True, False]}[args.shadows]
    jobs = [PersonJob(0, args.frames, size, shadows=on) for size in args.sizes for on in shadows]
    lines = [(job, max(batch // args.frames, 1)) for job in jobs for batch in args.batches]
    console, rows = Console(), list[dict[str, Any]]()
    with Telling("line", len(lines) * len(args.workers), console=Console(stderr=True)) as telling:
        for workers in args.workers:
            for pool in _pools(args.device, workers):
                for job, together in lines:
                    figures = measure(job, args.people, together, args.repeats, pool)
                    rows.append({"device": args.device, "workers": workers} | figures)
                    telling.advance()
    stamp = report.software_stamp() | {"device": report.device_name(torch.device(args.device))}
    console.print(_table(rows, stamp["device"]))
    console.print(
        "pictures a second: median of the runs, slowest–fastest; cpu: a second of processor time", style="dim"
    )
    if args.json:
        report.write_json(args.json, {"rows": rows, "stamp": stamp})
    return 0


def _pools(device: str, workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """This process for one worker, else that many others, their studios built."""
    if workers == 1:
        with threads_kept():
            _open(device)
            yield None
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_open, initargs=(device,)) as pool:
        for started in [pool.submit(_ready) for _ in range(workers)]:
            started.result()
        yield pool


def _table(rows: list[dict[str, Any]], device: str) -> Table:
    title = f"Studio, {rows[0]['n']} pictures a run, {rows[0]['repeats']} runs, on {device}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("size", "shadows", "together", "workers", "pictures/s", "spread", "cpu"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row['size_px']}²",
            "on" if row["shadows"] else "off",
            str(row["together"]),
            str(row["workers"]),
            f"{row['per_second']:.1f}",
            f"{row['slowest']:.1f}–{row['fastest']:.1f}",
            f"{row['per_cpu_second']:.1f}",
        )
    return table
