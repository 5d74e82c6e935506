"""How far long work is: a bar where people look, a line every half minute where the output goes to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

T = TypeVar("T")
#: Seconds between two tellings: without a terminal, and of a bar.
LINE_S, BAR_S = 30.0, 0.25


class Telling:
    """Tells how far work is, in a ``with`` block: call :meth:`tell` or :meth:`advance` as often as you like.

    On a terminal there is a bar, which goes away at the end; elsewhere a line on stderr about every
    :data:`LINE_S` seconds, and none of work that is done before.

    Args:
        what: one of what is counted, ``frame``.
        total: how many there will be; None: nobody knows.
        first: how many were there before this work began, which say nothing of its speed.
        console: where the bar is drawn; lines printed by it stand above the bar.
    """

    def __init__(self, what: str, total: float | None = None, first: float = 0, console: Console | None = None) -> None:
        self.what, self.total, self.first, self.done = what, total, first, first
        self._console = console or Console()
        self._bar = Progress(
            BarColumn(), TextColumn("{task.description}", markup=False), console=self._console, transient=True
        )
        self._task = self._bar.add_task(what, total=total)
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._console.is_terminal:  # elsewhere it would leave an empty line
            self._bar.stop()

    @property
    def due(self) -> bool:
        """Whether :meth:`tell` would show anything now: what is costly to find out can wait until then."""
        return time.monotonic() - self._told >= (BAR_S if self._console.is_terminal else LINE_S)

    def tell(self, done: float, note: str = "", left_s: float | None = None) -> None:
        """Say how many are done, a ``note``, and the time left.

        ``left_s``: the work ends then at the latest. Where it ends by that before all is done, as far as the pace so
        far tells, there is no word of the total, which will not be reached.
        """
        self.done = done
        if not self.due:
            return
        self._told = time.monotonic()
        total, ends_s = self.total, self._foretold(done)
        reached = (done, total)
        if left_s is not None and (ends_s is None or left_s < ends_s):
            total, ends_s = None, left_s
            reached = (self.seconds, self.seconds + max(left_s, 0.0))
        line = told(self.what, done, total, note, ends_s)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=reached[0], total=reached[1], description=line)
        else:
            print(line, file=sys.stderr, flush=True)

    def advance(self, by: float = 1, note: str = "") -> None:
        """Say that so many more are done."""
        self.tell(self.done + by, note)

    @property
    def seconds(self) -> float:
        """How long the work has taken."""
        return time.monotonic() - self._begun

    def rate(self, done: float) -> float:
        """How many a second, since the work began."""
        return (done - self.first) / max(self.seconds, 1e-6)

    def _foretold(self, done: float) -> float | None:
        """Seconds until all is done, at the pace so far."""
        if self.total is None or done <= self.first:
            return None
        return (self.total - done) / self.rate(done)


def told(what: str, done: float, total: float | None, note: str = "", left_s: float | None = None) -> str:
    """One line: ``step 120 of 1000, loss 0.31, 4:35 left``."""
    count = f"{what} {int(done)}" + ("" if total is None else f" of {int(total)}")
    return ", ".join(x for x in (count, note, "" if left_s is None else f"{clock(left_s)} left") if x)


def clock(seconds: float) -> str:
    """``1:02:03``, or ``4:35`` under an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def track(items: Iterable[T], what: str, console: Console | None = None, total: float | None = None) -> Iterator[T]:
    """The items, telling how many are done, of ``total`` where they do not know themselves how many they are."""
    if isinstance(items, Sized):
        total = len(items)
    with Telling(what, total, console=console) as telling:
        for item in items:
            telling.tell(telling.done)
            yield item
            telling.done += 1
