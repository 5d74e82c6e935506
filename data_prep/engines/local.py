"""Workers that are processes of this machine, and may die: decoders of damaged files do.

Every worker sends one answer for each step. A dead one is told of as :class:`Died`, and costs nothing but its step.
"""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch

from data_prep.clips.steps.pipeline import Divided
from data_prep.engines.gpus import least_used, take_gpu, use_gpu
from data_prep.engines.records import ClipRow
from data_prep.engines.unit import Fault, UnitWorker, VideoStep, WorkOrder

T = TypeVar("T")


@dataclass(frozen=True)
class Died:
    """A worker died; ``reason`` says how, on one line. ``started``: whether it had built its models."""

    reason: str
    started: bool = True


@dataclass(frozen=True)
class Trouble:
    """A worker cannot go on, and no other could: ``error`` is what it raised, ``details`` its traceback."""

    error: Exception
    details: str


class Crew(Protocol):
    """Workers of some kind, named by numbers."""

    def hire(self) -> int:
        """Start a worker."""

    def give(self, worker: int, step: VideoStep) -> None:
        """Send a step to a worker that has answered all it was sent."""

    def wait(self) -> tuple[int, list[ClipRow] | Fault | Divided | Died | Trouble]:
        """Wait for an answer. A worker that died is gone."""

    def end(self, worker: int) -> None:
        """End a worker that has answered."""

    def close(self) -> None:
        """End all workers, also those at work."""


class Alone:
    """One worker, which is this very process: nothing protects it from a decoder that crashes. Errors are raised."""

    def __init__(self, work: WorkOrder, gpus: Sequence[str] = ()):
        if gpus:
            use_gpu(gpus[0])
        self._worker = UnitWorker(work)
        self._answer: list[ClipRow] | Fault | Divided = []

    def hire(self) -> int:
        """There is one already."""
        return 0

    def give(self, worker: int, step: VideoStep) -> None:
        """Do the step."""
        self._answer = self._worker(step)

    def wait(self) -> tuple[int, list[ClipRow] | Fault | Divided]:
        """The answer."""
        return 0, self._answer

    def end(self, worker: int) -> None:
        """It cannot be ended: what memory it can give back, it does."""
        gc.collect()
        if torch.cuda.is_initialized():
            with suppress(RuntimeError):
                torch.cuda.empty_cache()

    def close(self) -> None:
        """Nothing to end."""


@dataclass(eq=False)
class _Process:
    process: Any
    pipe: Connection
    gpu: str | None
    started: bool = False


class Processes:
    """Worker processes; what they write to stderr goes to the file ``log``, for native libraries are chatty.

    With several GPUs, given by ``gpus`` as ``CUDA_VISIBLE_DEVICES`` names them, the workers share them evenly, also
    after deaths.
    """

    def __init__(self, work: WorkOrder, log: Path, gpus: Sequence[str] = ()):
        self.work, self.log, self.gpus = work, log, gpus
        self._workers: dict[int, _Process] = {}
        self._hired = 0

    def hire(self) -> int:
        """Start a process; it loads its models while the first step waits for it."""
        context = mp.get_context("spawn")  # a fork would copy torch's and mediapipe's threads in an unknown state
        ours, theirs = context.Pipe()
        number, self._hired = self._hired, self._hired + 1
        gpu = least_used(self.gpus, [worker.gpu for worker in self._workers.values()])
        process = context.Process(target=_serve, args=(self.work, theirs, self.log, gpu), daemon=True)
        process.start()
        theirs.close()
        self._workers[number] = _Process(process, ours, gpu)
        return number

    def give(self, worker: int, step: VideoStep) -> None:
        """Send a step."""
        with suppress(OSError):  # it is dead already, as wait() will tell
            self._workers[worker].pipe.send(step)

    def wait(self) -> tuple[int, list[ClipRow] | Fault | Divided | Died | Trouble]:
        """Wait until one has answered or died."""
        while True:
            numbers = {worker.pipe: number for number, worker in self._workers.items()}
            number = numbers[cast(Connection, wait(list(numbers))[0])]
            worker = self._workers[number]
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                del self._workers[number]
                return number, Died(_how(worker.process.exitcode, self.work.limit_s), worker.started)
            if worker.started or isinstance(answer, Trouble):
                return number, answer
            worker.started = True

    def end(self, worker: int) -> None:
        """Kill it: with a broken CUDA context it may hang in its own end."""
        gone = self._workers.pop(worker)
        gone.process.kill()
        gone.process.join()
        gone.pipe.close()

    def close(self) -> None:
        """Terminate all."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()
        self._workers.clear()


def attempt(do: Callable[[Any], T], argument: Any) -> T | Trouble:
    """``do(argument)``, or what it raised, as a worker sends it back."""
    try:
        return do(argument)
    except Exception as error:
        return Trouble(_plain(error), traceback.format_exc())


def _plain(error: Exception) -> Exception:
    """The exception as it can be sent: some of other packages' cannot be built again from their pickle."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename) if error.errno else OSError(str(error))
    if isinstance(error, ImportError):
        return ImportError(str(error), name=error.name)
    return error if type(error).__module__.startswith(("jdap.", "data_prep.")) else RuntimeError(f"{error!r}")


def _how(code: int, limit_s: float) -> str:
    """How a process ended, by its exit code."""
    if code == -signal.SIGALRM:
        return f"the worker made no progress for over {limit_s:g} s"
    if code < 0:
        return f"the worker was killed by {signal.Signals(-code).name}"
    return f"the worker ended with exit status {code}"


def _serve(work: WorkOrder, pipe: Connection, log: Path, gpu: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    if gpu is not None:
        take_gpu(gpu)
    worker = attempt(UnitWorker, work)
    pipe.send(worker if isinstance(worker, Trouble) else None)
    while not isinstance(worker, Trouble):
        try:
            step = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(worker, step))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers; they must not write on beside the run that takes over."""
    parent = mp.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
