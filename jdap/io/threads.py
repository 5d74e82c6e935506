"""How threads wait for each other.

OpenMP's threads, which torch computes with, spin while they wait. Where other programs want the same cores that makes
two threads several times slower than one. Threads that sleep while they wait cost next to nothing where the cores are
free.
"""

from __future__ import annotations

import os

#: Settings of OpenMP that say how threads wait: of the standard, of GNU's library and of Intel's and LLVM's.
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """Have the threads of this process and of those it starts sleep while they wait; call it before torch is imported.

    Where the user set one of :data:`SETTINGS`, that is how they wait.
    """
    if not any(name in os.environ for name in SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
