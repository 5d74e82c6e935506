"""Workers that are actors of a Ray cluster, of this machine's own or a running one. The one file that imports Ray.

A worker that Ray loses (a crash, a node that is gone) is told of as :class:`data_prep.engines.local.Died`. On several
nodes, code and models must be on every node, and the output a folder or URL that all of them see.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from typing import Any

from data_prep.clips.steps.pipeline import Divided
from data_prep.engines.local import Died, Trouble, attempt
from data_prep.engines.plan import PrepareError
from data_prep.engines.records import ClipRow
from data_prep.engines.unit import Fault, UnitWorker, VideoStep, WorkOrder

# Nothing is to be sent home, and warnings of things that are not used here say nothing.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    import ray.exceptions
except ImportError as error:
    raise ImportError("--engine ray needs Ray: pip install 'jdap[ray]'", name="ray") from error


class _Actor:
    """A :class:`UnitWorker` in a process of Ray's."""

    def start(self, work: WorkOrder) -> Trouble | None:
        """Build it."""
        self._worker = attempt(UnitWorker, work)
        return self._worker if isinstance(self._worker, Trouble) else None

    def do(self, step: VideoStep) -> list[ClipRow] | Fault | Divided | Trouble:
        """A step of its."""
        assert not isinstance(self._worker, Trouble)
        return attempt(self._worker, step)


class Actors:
    """Actors of a cluster: the one at ``address``, or else one that is started on this machine and ended at the end.

    Each takes one CPU and ``gpus`` of a GPU, a fraction if several are to share one. ``workers``: how many there may
    be; 0 = as many as the cluster has room for. Raises :class:`PrepareError` where it has room for none.
    """

    def __init__(self, work: WorkOrder, workers: int, address: str | None = None, gpus: float = 0):
        self.work = work
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(address, workers)
        have = ray.cluster_resources()
        room = int(have.get("CPU", 0))
        if gpus:
            room = min(room, int(have.get("GPU", 0) / gpus + 1e-6))
        if room < 1:
            self.close()
            raise PrepareError(f"the Ray cluster has no room for a worker of 1 CPU and {gpus:g} GPU: {_have(have)}")
        self.workers = min(workers or room, room)
        self._make = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Actor)
        self._actors: dict[int, Any] = {}
        self._started: set[int] = set()
        self._pending: dict[Future, int] = {}
        self._hired = 0

    def hire(self) -> int:
        """Start an actor; it loads its models while the first step waits for it."""
        number, self._hired = self._hired, self._hired + 1
        self._actors[number] = self._make.remote()
        self._pending[self._actors[number].start.remote(self.work).future()] = number
        return number

    def give(self, worker: int, step: VideoStep) -> None:
        """Send a step."""
        self._pending[self._actors[worker].do.remote(step).future()] = worker

    def end(self, worker: int) -> None:
        """Kill it."""
        ray.kill(self._actors.pop(worker))
        self._started.discard(worker)

    def wait(self) -> tuple[int, list[ClipRow] | Fault | Divided | Died | Trouble]:
        """Wait until one has answered or died."""
        while True:
            # Not by ray.wait: what a signal's handler raises there, as SystemExit(143), comes out as SystemExit(1).
            done = next(iter(wait_for(self._pending, return_when=FIRST_COMPLETED).done))
            number = self._pending.pop(done)
            try:
                answer = done.result()
            except ray.exceptions.RayTaskError as error:
                return number, Trouble(RuntimeError(_line(error)), str(error))
            except ray.exceptions.RayError as error:
                self._pending = {one: n for one, n in self._pending.items() if n != number}
                del self._actors[number]
                return number, Died(f"Ray lost the worker ({_cause(error)})", number in self._started)
            if number in self._started or isinstance(answer, Trouble):
                return number, answer
            self._started.add(number)

    def close(self) -> None:
        """End the actors, and the cluster if it is ours."""
        for actor in getattr(self, "_actors", {}).values():
            ray.kill(actor)
        if self._ours:
            ray.shutdown()


def _connect(address: str | None, workers: int) -> None:
    own: dict[str, Any] = {} if address else {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
    before, ends = os.environ.get("PYTHONPATH"), signal.getsignal(signal.SIGTERM)
    # What this process can import, the workers of its own cluster can.
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise PrepareError(f"no Ray cluster at {address or 'this machine'}: {_line(error)}") from error
    except SystemExit:  # of Ray's handler, while it starts
        if callable(ends):
            ends(signal.SIGTERM, None)
        raise
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
        # Ray sets a handler of its own, which would outlive it; how a run ends on SIGTERM is the caller's to say.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ends)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _cause(error: Exception) -> str:
    """What Ray says of a death, less its advice."""
    for line in str(error).splitlines():
        for mark in ("Worker unexpectedly exits", "Worker exits", "The actor died", "The node", "OOM", "out of memory"):
            if mark in line:
                return " ".join(line[line.index(mark) :].split()).split(". ")[0][:200]
    return type(error).__name__


def _have(resources: dict[str, float]) -> str:
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
