"""The loop that gives units to workers: a unit stays with its worker, a death costs one attempt at one video."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from data_prep.engines.local import Crew, Died, Trouble
from data_prep.engines.plan import PrepareError, Unit
from data_prep.engines.records import Row
from data_prep.engines.unit import Step

#: Workers that may die of one video, or of writing one shard, before it is given up.
DEATHS = 2


@dataclass(eq=False)
class _Job:
    unit: Unit
    index: int = 0
    deaths: Counter[int] = field(default_factory=Counter)
    lost: dict[int, str] = field(default_factory=dict)

    def step(self) -> Step:
        while self.index in self.lost:
            self.index += 1
        return Step(self.unit, self.index, dict(self.lost))


def drive(
    units: Iterable[Unit],
    crew: Crew,
    workers: int,
    on_video: Callable[[Unit, int], Any],
    on_unit: Callable[[Unit, list[Row]], Any],
) -> None:
    """Have all units done by at most ``workers`` workers of ``crew``.

    ``on_video(unit, how many of its videos are done)`` and ``on_unit(unit, rows)`` are told of progress. A video that
    :data:`DEATHS` workers died of becomes a row with the reason. Raises what a worker could not go on for (a full disk,
    a model that is missing), and :class:`PrepareError` where workers die before they have built their models.
    """
    waiting = deque(_Job(unit) for unit in units)
    busy: dict[int, _Job] = {}
    idle: list[int] = []
    unborn = 0
    while waiting or busy:
        while waiting and len(busy) < workers:
            worker = idle.pop() if idle else crew.hire()
            busy[worker] = waiting.popleft()
            crew.give(worker, busy[worker].step())
        worker, answer = crew.wait()
        job = busy.get(worker)
        if isinstance(answer, Trouble):
            _raise(answer)
        elif isinstance(answer, Died):
            if job is None:  # it died idle, of nothing that we know
                idle.remove(worker)
                continue
            del busy[worker]
            unborn = 0 if answer.started else unborn + 1
            if answer.started:
                _count_death(job, answer)
            elif unborn > DEATHS:
                raise PrepareError(f"workers die while they load models ({answer.reason}): see why with --workers 0")
            job.index = 0
            waiting.appendleft(job)
        else:
            assert job is not None
            unborn = 0
            if job.index == len(job.unit.videos):
                on_unit(job.unit, answer)
                del busy[worker]
                idle.append(worker)
            else:
                job.index += 1
                on_video(job.unit, job.index)
                crew.give(worker, job.step())


def _count_death(job: _Job, died: Died) -> None:
    """Note who died of what. (The unit begins again; another worker may find what is done already.)"""
    job.deaths[job.index] += 1
    if job.deaths[job.index] >= DEATHS:
        if job.index == len(job.unit.videos):
            raise PrepareError(f"{died.reason}, {DEATHS} times, while it wrote the shard of unit {job.unit.name}")
        job.lost[job.index] = f"{died.reason}, {DEATHS} times"


def _raise(trouble: Trouble) -> None:
    if type(trouble.error) is RuntimeError:  # a bug: with its traceback
        raise RuntimeError(f"a worker failed:\n{trouble.details}")
    raise trouble.error
