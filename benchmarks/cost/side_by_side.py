"""Ours beside what people use today: the calls of a part take turns, and each also runs in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost.timing import Call, compare, interleaved
from jdap.io.threads import use_threads

#: Makes networks, readers and whatever else is not timed, and gives the call that is. Another process can be sent it.
Builder = Callable[[], Call]


@dataclass(frozen=True)
class Part:
    """What is compared.

    * ``name``: of the part; ``size``: what it runs on, in words
    * ``builders``: name → what builds its call
    * ``compared``: what a row is called, the name of ours in it, and of theirs
    """

    name: str
    size: str
    builders: Mapping[str, Builder]
    compared: tuple[tuple[str, str, str], ...]


def measured(part: Part, repeats: int, device: torch.device, clock: str, memory: bool = True) -> list[dict[str, Any]]:
    """The rows of a part: seconds of ours and theirs, their ratio round by round, every call, and its memory.

    Memory is the GPU's where the part runs on one (``peak_bytes`` of a call); else that of a process which runs one
    call and nothing else (``memory``: name → :func:`peak_alone`), or None where ``memory`` is False.
    """
    alone = memory and device.type != "cuda"
    peaks = {name: peak_alone(build) if alone else None for name, build in part.builders.items()}
    timings = interleaved({name: build() for name, build in part.builders.items()}, repeats, device)
    return [
        {
            "part": part.name,
            "size": part.size,
            "what": what,
            "names": [ours, theirs],
            **compare(timings[ours], [timings[theirs]], clock),
            "calls": {name: timings[name].to_json() for name in (ours, theirs)},
            "memory": {name: peaks[name] for name in (ours, theirs)},
        }
        for what, ours, theirs in part.compared
    ]


def peak_alone(build: Builder) -> dict[str, int] | None:
    """Most resident memory of a fresh process that builds a call and runs it once, in bytes.

    ``built_bytes`` is the most until the call began: interpreter, libraries, networks. ``peak_bytes`` is the most of
    all. None where the system does not tell (it is Linux that does).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_alone, build, torch.get_num_threads()).result()


def _run_alone(build: Builder, threads: int) -> dict[str, int] | None:
    use_threads(threads)
    call = build()
    built = _most_resident()
    call()
    peak = _most_resident()
    return None if built is None or peak is None else {"built_bytes": built, "peak_bytes": peak}


def _most_resident() -> int | None:
    """Of this process since it began. ``getrusage`` would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return None if found is None else int(found[1]) * 1024
