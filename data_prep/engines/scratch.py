"""A run's own work folder on a local disk, which goes with the run, also with one that was killed.

Whoever works in a folder holds a lock on a file beside it; the operating system lets go of it however a process ends.
Folders whose lock is free belong to nobody any more and are deleted by whoever comes next. Several runs (ranks) share a
root. Where the root cannot lock (some network file systems), what killed runs leave stays: nothing tells that they are
dead.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def scratch(root: Path, name: str) -> Iterator[Path]:
    """A new folder ``name`` below ``root``, deleted at the end; what dead runs left there is deleted first."""
    folder = root / name
    try:
        with shared(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_of(folder).unlink(missing_ok=True)
        with suppress(OSError):  # another run is still in it
            root.rmdir()


@contextmanager
def shared(folder: Path) -> Iterator[Path]:
    """Work in a folder that others work in, too; it is made where it is not there."""
    lock = _lock_of(folder)
    _clean(folder.parent, lock)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = lock.open("a+")
        except (FileNotFoundError, FileExistsError):  # another run has just taken the root or the folder with it
            if folder.is_file():
                raise
            continue
        if _locked(handle, fcntl.LOCK_SH) is not False and folder.is_dir() and lock.exists():
            break
        handle.close()  # another run took it for a dead run's in this very moment
        time.sleep(0.01)
    try:
        yield folder
    finally:
        handle.close()


def _clean(root: Path, mine: Path) -> None:
    for lock in root.glob("*.lock"):
        if lock == mine:
            continue
        try:
            with lock.open("r+") as handle:  # NFS locks need a file that is open for writing
                if _locked(handle, fcntl.LOCK_EX):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
        except OSError:  # it has gone, or is somebody else's
            continue


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _locked(handle: IO[str], kind: int) -> bool | None:
    """Whether the lock was had; None where the file system has none."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
