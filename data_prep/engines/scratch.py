"""A run's own work folder, which goes with the run, also with one that was killed.

Every run holds a lock on a file beside its folder; the operating system lets go of it however the run ends. Folders
whose lock is free belong to nobody any more and are deleted by whoever comes next. Several runs (ranks) can share a
root, also over NFS.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A new folder below ``root``, deleted at the end; what dead runs left there is deleted first."""
    while True:
        root.mkdir(parents=True, exist_ok=True)
        _clean(root)
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        lock = root / f"{name}.lock"
        try:
            handle = lock.open("x")
        except FileNotFoundError:  # another run has ended and taken the root with it
            continue
        if _locked(handle.fileno()):
            break
        handle.close()  # another run took the file for a dead run's in this very moment
    folder = root / name
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        handle.close()
        with suppress(OSError):  # another run is still in it
            root.rmdir()


def _clean(root: Path) -> None:
    for lock in root.glob("*.lock"):
        try:
            with lock.open() as handle:
                if _locked(handle.fileno()):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
