"""Worker processes that may die: every task gets its result or the reason why there is none, in the order of the tasks.

``concurrent.futures`` gives up all tasks when one process dies, and decoders of damaged files do die. Here a dead
worker costs its own task only: another takes its place.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True)
class Died:
    """What stands for the result of a task whose worker died; ``reason`` says how, on one line."""

    reason: str


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    task: int | None = None


def run_tasks(
    tasks: Sequence[Any], make: Callable[[], Callable[[Any], Any]], workers: int, log: Path | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield (index, result) of every task, in order.

    ``make`` builds the function that does a task, once in each worker (both must be picklable, by name); the function
    must not raise: an exception kills its worker. What workers write to stderr goes to the file ``log``, if one is
    named: native libraries are chatty. ``workers`` = 0 works in this process, without protection. When the caller
    stops early or an exception passes, the workers are ended.
    """
    if workers == 0:
        work = make()
        yield from ((index, work(task)) for index, task in enumerate(tasks))
        return
    waiting, done, pool = list(range(len(tasks)))[::-1], dict[int, Any](), list[_Worker]()
    try:
        for index in range(len(tasks)):
            while index not in done:
                while waiting and len(pool) < workers:
                    pool.append(_start(make, log))
                for worker in pool:
                    if worker.task is None and waiting:
                        worker.task = waiting.pop()
                        worker.pipe.send(tasks[worker.task])
                _collect(pool, done)
            yield index, done.pop(index)
    finally:
        for worker in pool:
            worker.process.terminate()
            worker.process.join()


def _start(make: Callable[[], Callable[[Any], Any]], log: Path | None) -> _Worker:
    context = mp.get_context("spawn")  # a fork would copy torch's and mediapipe's threads in an unknown state
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(make, theirs, log), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _collect(pool: list[_Worker], done: dict[int, Any]) -> None:
    """Wait until something happens; store results, and take dead workers out of the pool."""
    ready = wait([worker.pipe for worker in pool if worker.task is not None])
    for pipe in ready:
        worker = next(w for w in pool if w.pipe is cast(Connection, pipe))
        task, worker.task = cast(int, worker.task), None
        try:
            done[task] = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            done[task] = Died(_how(worker.process.exitcode))
            pool.remove(worker)


def _how(code: int) -> str:
    """How a process ended, by its exit code."""
    if code < 0:
        return f"the worker was killed by {signal.Signals(-code).name}"
    return f"the worker ended with exit status {code}"


def _serve(make: Callable[[], Callable[[Any], Any]], pipe: Connection, log: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its workers
    if log is not None:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
    work = make()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(work(task))
