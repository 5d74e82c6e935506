"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Hand freed memory back to the operating system, where the C library is glibc; elsewhere nothing.

    glibc keeps what lies between blocks in use: after some videos a gigabyte in a worker that uses 200 MB. Keeping none
    (``MALLOC_MMAP_THRESHOLD_``) costs a quarter to a half of the speed, for each array's pages are then made anew.
    """
    if trim := _malloc_trim():
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc; Windows has no library None
        return None
