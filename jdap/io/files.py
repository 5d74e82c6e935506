"""Writing files so that what is there is whole."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

#: What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV}
#: Seconds after which a lock on a name that is to be created belongs to nobody.
LOCKED_S = 10.0


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to disk and rename it: it is there whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Raises NotADirectoryError where a file is in the way of a folder."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"--out {path}: a file; name a folder")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there.

    Raises NotADirectoryError as :func:`check_folder`, and OSError with the remedy where it cannot be made.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"--out {folder}: cannot be made ({error.strerror}); name another folder") from error


def put_in_place(part: Path, path: Path) -> None:
    """Flush the finished file ``part`` to disk and rename it to ``path``, in the same folder."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(path.parent)


def replace_folder(part: Path, folder: Path) -> None:
    """Put the finished ``part`` in the place of ``folder``. A crash in between leaves the new one under ``.part``."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def name_new(part: Path, target: Path) -> None:
    """Give a file its name; raises FileExistsError where there is one of that name, which a rename would replace."""
    try:
        os.link(part, target)
        return
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
    # Without hard links: whoever makes the lock may rename.
    lock = target.with_name(f".{target.name}.lock")
    until = time.monotonic() + LOCKED_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if target.exists():
                raise
            if time.monotonic() > until:  # its maker has died
                lock.unlink(missing_ok=True)
                until = time.monotonic() + LOCKED_S
            time.sleep(0.02)
    try:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.replace(part, target)
    finally:
        lock.unlink(missing_ok=True)
