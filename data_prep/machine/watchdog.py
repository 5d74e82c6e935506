"""Ends a worker that gets no further: native decoders know endless loops, and hold the interpreter's lock in them.

The alarm is the kernel's, so it needs nobody to run: a process whose :func:`beat` does not come in time is ended by
SIGALRM. Outside of :func:`watched` nothing is armed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds without progress, unless told otherwise: probing a film of 20 GB on a slow file server takes several minutes.
LIMIT_S = 900.0
_limit_s = 0.0


@contextmanager
def watched(limit_s: float) -> Iterator[None]:
    """End this process if what is inside makes no progress for ``limit_s`` seconds; 0: never."""
    global _limit_s
    _limit_s = limit_s
    beat()
    try:
        yield
    finally:
        _limit_s = 0.0
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def beat() -> None:
    """Something was done: the limit begins anew."""
    if _limit_s:
        signal.setitimer(signal.ITIMER_REAL, _limit_s)
