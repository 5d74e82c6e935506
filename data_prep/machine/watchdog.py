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
#: A decoder may look through a whole file in one call, for what comes after damage or behind a preallocated end; 4 GB
#: of nothing in a Matroska file took 73 s on one busy core.
SCANNED_BYTES_PER_S = 20_000_000
_limit_s = 0.0


def limit_of_file_s(limit_s: float, file_bytes: int) -> float:
    """``limit_s``, and as long as it takes to look through a file at :data:`SCANNED_BYTES_PER_S`; 0 stays 0: never."""
    return limit_s + max(file_bytes, 0) / SCANNED_BYTES_PER_S if limit_s else 0.0


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
