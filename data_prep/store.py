"""Where results go: a local folder or a folder of any file system that fsspec knows, written whole files at a time.

Only OSErrors are tried again, with doubled waits, and only those that may pass: a missing file stays missing.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import fsspec

from jdap.io.files import sync_folder, write_whole

T = TypeVar("T")
#: How often something is tried again, and the seconds before the first time; doubled for each further one.
RETRIES, WAIT_S = 3, 1.0
#: The disk, the quota or the allowed size of a file is used up.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: What the operating system says of the request, not of the device or the network.
_LASTING = FULL | {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EINVAL, errno.EBADF, errno.ENXIO, errno.EXDEV),
}
_LASTING_KINDS = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def is_url(place: str | Path) -> bool:
    """Whether a place is one for fsspec rather than a path."""
    return "://" in str(place)


def may_pass(error: OSError) -> bool:
    """Whether trying again may help."""
    return error.errno not in _LASTING and not isinstance(error, _LASTING_KINDS)


def storage_fault(error: BaseException | None) -> OSError | None:
    """The OSError behind an exception that is no fault of the file's contents: one that may pass, or a full disk.

    Decoders raise OSErrors of their own for damaged pictures; those have no ``errno``.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and (error.errno in FULL or may_pass(error)):
            return error
        error = error.__cause__
    return None


def retrying(do: Callable[[], T], retries: int = RETRIES) -> T:
    """What ``do`` returns; it is called at most ``retries`` + 1 times while it raises OSErrors that may pass."""
    for attempt in range(retries):
        try:
            return do()
        except OSError as error:
            if not may_pass(error):
                raise
        time.sleep(WAIT_S * 2**attempt)
    return do()


class Store:
    """A folder of whole files; names are relative to it, with slashes.

    ``scratch``: local folder where files are written before they get their name; beside it where there is none.
    ``path``: the folder, if it is a local one. Methods raise OSError after ``retries``.
    """

    def __init__(self, place: str | Path, scratch: Path | None = None, retries: int = RETRIES):
        self.place, self.scratch, self.retries = str(place), scratch, retries
        self.path: Path | None = None
        if is_url(place):
            self._fs, self._root = fsspec.core.url_to_fs(str(place))
            self._root = self._root.rstrip("/")
            if "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)):
                self.path = Path(self._root)
        else:
            self.path = Path(place)

    def __str__(self) -> str:
        return self.place

    def names(self, folder: str = "") -> dict[str, int]:
        """Name (with its folder) → bytes of the files straight in a folder; hidden ones are left out."""
        return retrying(lambda: self._names(folder), self.retries)

    def walk(self) -> dict[str, int]:
        """Name → bytes of all files, at any depth; hidden files and folders are left out."""
        return retrying(self._walk, self.retries)

    def exists(self) -> bool:
        """Whether the folder is there and holds something."""
        if self.path is not None:
            return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._root) and self._fs.ls(self._root, detail=False))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return self.read_all([name])[0]

    def read_all(self, names: list[str]) -> list[bytes]:
        """The bytes of files, in order; at once, where the file system can."""
        return retrying(lambda: self._read_all(names), self.retries) if names else []

    def write(self, name: str, data: bytes) -> None:
        """Write a file; it is there whole or not at all."""
        retrying(lambda: self._write(name, data), self.retries)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; whether it was written. Of several processes one succeeds, on local
        folders and on file systems that offer it (S3, GCS, Azure)."""
        return retrying(lambda: self._create(name, data), self.retries)

    def publish(self, file: Path, name: str) -> None:
        """Move a local file, flushed to disk, into the store; it is there whole or not at all."""
        retrying(lambda: self._publish(file, name), self.retries)

    def remove(self, names: list[str]) -> None:
        """Delete files; those that are not there are no error."""
        retrying(lambda: self._remove(names), self.retries)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A local path to a file's bytes: the file itself, or a copy that goes when the block is left."""
        if self.path is not None:
            yield self.path / name
            return
        with tempfile.TemporaryDirectory(prefix="jdap-") as folder:
            copy = Path(folder) / name.rpartition("/")[2]
            retrying(lambda: self._fs.get_file(self._url(name), str(copy)), self.retries)
            yield copy

    def _url(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _names(self, folder: str) -> dict[str, int]:
        start = f"{folder}/" if folder else ""
        if self.path is not None:
            here = self.path / folder
            if not here.is_dir():
                return {}
            inside = [entry for entry in os.scandir(here) if not entry.name.startswith(".") and entry.is_file()]
            return {start + entry.name: entry.stat().st_size for entry in sorted(inside, key=lambda e: e.name)}
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._url(folder), detail=True)
        except FileNotFoundError:
            return {}
        sizes = {e["name"].rstrip("/").rpartition("/")[2]: e["size"] for e in found if e["type"] == "file"}
        return {start + name: sizes[name] for name in sorted(sizes) if name and not name.startswith(".")}

    def _walk(self) -> dict[str, int]:
        if self.path is not None:
            sizes = {p.relative_to(self.path).as_posix(): p.stat().st_size for p in self.path.rglob("*") if p.is_file()}
        else:
            self._fs.invalidate_cache()
            root = "/" + self._root.strip("/") + "/"
            found = self._fs.find(self._root, detail=True)
            sizes = {("/" + path.lstrip("/")).removeprefix(root): info["size"] for path, info in found.items()}
        return {name: sizes[name] for name in sorted(sizes) if not any(p.startswith(".") for p in name.split("/"))}

    def _read_all(self, names: list[str]) -> list[bytes]:
        if self.path is not None:
            return [(self.path / name).read_bytes() for name in names]
        found = self._fs.cat_ranges([self._url(name) for name in names], None, None)  # unlike cat(), it knows no globs
        for data in found:
            if isinstance(data, Exception):
                raise data
        return found

    def _write(self, name: str, data: bytes) -> None:
        if self.path is None:
            self._put(name, lambda: self._fs.pipe_file(self._url(name), data))
        elif self.scratch is None:
            write_whole(self.path / name, data)
        else:
            self._rename(self._flushed(data), name)

    def _create(self, name: str, data: bytes) -> bool:
        try:
            if self.path is None:
                self._put(name, lambda: self._fs.pipe_file(self._url(name), data, mode="create"))
            else:
                target = self.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                part = self._flushed(data)
                try:
                    os.link(part, target)  # unlike a rename, it fails where there is one
                finally:
                    part.unlink()
                sync_folder(target.parent)
        except FileExistsError:
            return False
        return True

    def _publish(self, file: Path, name: str) -> None:
        if self.path is None:
            self._put(name, lambda: self._fs.put_file(str(file), self._url(name)))
            file.unlink()
        else:
            self._rename(file, name)

    def _put(self, name: str, do: Callable[[], None]) -> None:
        """Do it, making the folder first where the file system has real ones (an object store has none)."""
        try:
            do()
        except FileNotFoundError:
            self._fs.makedirs(self._url(name).rpartition("/")[0], exist_ok=True)
            do()

    def _flushed(self, data: bytes) -> Path:
        """A file of these bytes in the scratch folder."""
        assert self.path is not None
        part = (self.scratch or self.path) / f"{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _rename(self, file: Path, name: str) -> None:
        assert self.path is not None
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        sync_folder(target.parent)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            if self.path is not None:
                (self.path / name).unlink(missing_ok=True)
            elif self._fs.exists(self._url(name)):
                self._fs.rm_file(self._url(name))


def remove_folder(folder: Path) -> None:
    """Delete a folder with what is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
