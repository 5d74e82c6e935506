"""The loop that gives units to workers: a unit stays with its worker, a death or another fault of the machine costs one
attempt at one video, and the next attempt is another worker's if there is one."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from data_prep.clips.steps.pipeline import Divided
from data_prep.engines.local import Crew, Died, Trouble
from data_prep.engines.plan import PrepareError, Unit
from data_prep.engines.records import ClipRow
from data_prep.engines.segments import Piece
from data_prep.engines.unit import Fault, VideoStep

#: Workers that may die of one video (or meet a fault of the machine), or of writing one shard, before it is given up.
DEATHS = 2
#: So many faults of the machine in a row, and not one video done in between, end the run: the machine is not fit.
FAULTS = 10
#: Seconds between two looks at what other runs hold.
POLL_S = 1.0


class PieceSource(Protocol):
    """Where units and segments come from."""

    @property
    def undecided(self) -> bool:
        """Whether there may be some later."""

    def next(self) -> Piece | None:
        """A piece to do, or None where there is none at the moment."""

    def divide(self, piece: Piece, index: int, segments: int) -> None:
        """Take a unit back, whose video ``index`` has so many segments, and give them one by one."""


@dataclass(eq=False)
class _Job:
    piece: Piece
    made: int = 0
    deaths: Counter[int] = field(default_factory=Counter)
    lost: dict[int, str] = field(default_factory=dict)
    index: int = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    @property
    def unit(self) -> Unit:
        return self.piece.unit

    def begin(self) -> None:
        """Another worker may find what is done already."""
        self.index = 0 if self.piece.segment is None else self.piece.index

    def step(self) -> VideoStep:
        if self.piece.segment is None:
            while self.index in self.lost or self.index in self.piece.parts:
                self.index += 1
        return VideoStep(self.unit, self.index, dict(self.lost), self.piece.parts, self.piece.segment)

    @property
    def done(self) -> bool:
        return self.piece.segment is not None or self.index == len(self.unit.videos)


def drive(
    source: PieceSource,
    crew: Crew,
    workers: int,
    on_video: Callable[[Unit, int], Any],
    on_piece: Callable[[Piece, list[ClipRow]], Any],
) -> None:
    """Have all that ``source`` gives done by at most ``workers`` workers of ``crew``.

    ``on_video(unit, how many of its videos are done)`` and ``on_piece(piece, rows)`` are told of progress. A video that
    :data:`DEATHS` workers died of, or met a fault of the machine with, becomes a row with the reason. Raises what a
    worker could not go on for (a full disk, a model that is missing), and :class:`PrepareError` where workers die
    before they have built their models, or where nothing but faults of the machine comes of :data:`FAULTS` attempts.
    """
    again: deque[_Job] = deque()
    busy: dict[int, _Job] = {}
    idle: list[int] = []
    unborn = faults = 0
    while True:
        while len(busy) < workers:
            piece = source.next()
            job = _Job(piece) if piece else again.popleft() if again else None
            if job is None:
                break
            worker = idle.pop() if idle else crew.hire()
            busy[worker] = job
            crew.give(worker, job.step())
        if not busy:
            if not source.undecided:
                return
            time.sleep(POLL_S)
            continue
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
                _count(job, answer.reason)
            elif unborn > DEATHS:
                raise PrepareError(f"workers die while they load models ({answer.reason}): see why with --workers 0")
            job.begin()
            again.append(job)
        elif isinstance(answer, Fault):
            assert job is not None
            faults += 1
            if faults >= FAULTS:
                raise PrepareError(
                    f"{faults} faults of this machine, not of the videos, in a row; the last: {answer.reason}. What is "
                    "finished stays; mend it, or go elsewhere, and run the same command again"
                )
            _count(job, answer.reason)
            job.begin()
            del busy[worker]
            again.append(job)
            if answer.poisoned:
                crew.end(worker)
            else:
                idle.append(worker)
        elif isinstance(answer, Divided):
            assert job is not None
            unborn = faults = 0
            del busy[worker]
            idle.append(worker)
            source.divide(job.piece, job.index, answer.segments)
        else:
            assert job is not None
            unborn = 0
            if job.index >= job.made:  # not what was found done
                faults, job.made = 0, job.index + 1
            if job.done:
                on_piece(job.piece, answer)
                del busy[worker]
                idle.append(worker)
            else:
                job.index += 1
                on_video(job.unit, job.index)
                crew.give(worker, job.step())


def _count(job: _Job, reason: str) -> None:
    """Note what a video has met. (The unit begins again; another worker may find what is done already.)"""
    job.deaths[job.index] += 1
    if job.deaths[job.index] >= DEATHS:
        if job.index == len(job.unit.videos) or job.index in job.lost:
            raise PrepareError(f"{reason}, {DEATHS} times, while it wrote the shard of unit {job.piece.name}")
        job.lost[job.index] = f"{reason}, {DEATHS} times"


def _raise(trouble: Trouble) -> None:
    if type(trouble.error) is RuntimeError:  # a bug: with its traceback
        raise RuntimeError(f"a worker failed:\n{trouble.details}")
    raise trouble.error
