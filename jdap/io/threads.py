"""How many threads compute, and how they wait for each other.

OpenMP's threads, which torch computes with, spin for some milliseconds while they wait. Where other programs want the
same cores that makes two threads several times slower than one. Threads that sleep at once do not, but to wake them
costs more than the work of a small layer: on a virtual machine of two free cores a training step of preset ``tiny``
took three times as long (docs/training.md). So they sleep where others are at work (:func:`wait_by_load`,
:func:`wait_asleep`), and spin where the machine is free.

The threads of OpenBLAS, which NumPy and SciPy compute with, cannot be told to sleep. They are others than torch's, and
``torch.set_num_threads`` does not reach them: beside another busy process a fit takes up to thirty times as long with
two of them as with one. So what calls BLAS often does so by one thread (:func:`one_blas_thread`), and workers compute
with one thread altogether (:func:`use_threads`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil
from threadpoolctl import ThreadpoolController

#: Settings of OpenMP that say how threads wait: of the standard, of GNU's library and of Intel's and LLVM's.
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: Others are at work where more cores than this are busy, looked at for so long.
BUSY_CORES, LOAD_LOOK_S = 0.5, 0.1


def wait_asleep() -> None:
    """Have the threads of this process and of those it starts sleep while they wait; call it before torch is imported.

    Where the user set one of :data:`SETTINGS`, that is how they wait.
    """
    if not _users_own():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def wait_by_load() -> None:
    """The same where other programs are at work just now; on a free machine threads wait as OpenMP has it.

    To be called before torch is imported, by a program that computes in one process.
    """
    if not _users_own() and busy_cores() > BUSY_CORES:
        wait_asleep()


def busy_cores() -> float:
    """How many cores are at work while this process does nothing; it takes a tenth of a second."""
    return psutil.cpu_percent(LOAD_LOOK_S) / 100 * (psutil.cpu_count() or 1)


def _users_own() -> bool:
    return any(name in os.environ for name in SETTINGS)


def use_threads(count: int) -> None:
    """From now on this process computes with ``count`` threads (at least 1): torch, and every BLAS that is loaded."""
    import torch  # not where wait_asleep() is imported, which comes before it

    torch.set_num_threads(count)
    _loaded().limit(limits=count)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Gives this process its threads back, whatever :func:`use_threads` sets meanwhile."""
    import torch

    threads = torch.get_num_threads()
    try:
        with _loaded().limit(limits=None):
            yield
    finally:
        torch.set_num_threads(threads)


def one_blas_thread() -> AbstractContextManager[object]:
    """The BLAS of NumPy and SciPy computes with one thread meanwhile, in all of this process; torch as it did."""
    return _of_numpy_and_scipy().limit(limits=1, user_api="blas")


@functools.cache
def _of_numpy_and_scipy() -> ThreadpoolController:
    return _loaded()  # to look for them takes a millisecond


def _loaded() -> ThreadpoolController:
    import numpy  # noqa: F401 - libraries are found once they are loaded, and each brings a BLAS of its own
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
