"""Where results go: a local folder or a folder of any file system that fsspec knows, written whole files at a time.

Errors that may pass are tried again (:mod:`data_prep.machine.retry`). What the back ends of fsspec raise becomes
OSErrors first (:mod:`jdap.io.remote`).

On a local folder whole files get their names by a rename, from ``.part-OWNER/`` in the folder itself: it may be a
network's, without hard links and without locks.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import fsspec

from data_prep.machine.retry import RETRIES, retrying
from jdap.io.files import name_new, sync_folder, write_whole
from jdap.io.remote import remote_errors, stamp_of

T = TypeVar("T")
#: Folder of what is being written, with the run's name behind it.
UNFINISHED = ".part-"


def is_url(place: str | Path) -> bool:
    """Whether a place is one for fsspec rather than a path."""
    return "://" in str(place)


class StoreError(ValueError):
    """A name in a foreign folder that would lead out of it."""


def contained(name: str) -> str:
    """The name of a file in a folder, which stays within it. Raises :class:`StoreError`."""
    if not isinstance(name, str) or any(p in ("", ".", "..") for p in name.split("/")) or "\\" in name or "\0" in name:
        raise StoreError(f"{str(name)[:200]!r} is no name of a file within the folder: it was changed, or is not ours")
    return name


class Store:
    """A folder of whole files; names are relative to it, with slashes, and must stay within it.

    ``owner``: the run that writes, by whose name what it leaves half written can be told (:mod:`.engines.owner`).
    ``path``: the folder, if it is a local one. Methods raise OSError after ``retries``, and :class:`StoreError`.
    """

    def __init__(self, place: str | Path, owner: str = "", retries: int = RETRIES):
        self.place, self.owner, self.retries = str(place), owner, retries
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
        return self._try(lambda: self._names(folder))

    def sizes(self, names: list[str]) -> dict[str, int]:
        """Name → bytes of those of the files that are there."""
        if self.path is None:
            self._fs.invalidate_cache()
        return self._try(lambda: {name: size for name in names if (size := self._size(name)) is not None})

    def stamp(self, name: str) -> str:
        """What changes when a file is written anew: its time or ETag; empty where there is none."""
        return self._try(lambda: self._stamp(name))

    def entries(self) -> list[str]:
        """Names of the files and folders straight in it, but for what is being written."""
        return [name for name in self._try(self._entries) if not name.startswith(UNFINISHED)]

    def walk(self) -> dict[str, int]:
        """Name → bytes of all files, at any depth; hidden files and folders are left out."""
        return self._try(self._walk)

    def exists(self) -> bool:
        """Whether the folder is there and holds something."""
        return bool(self.entries())

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return self.read_all([name])[0]

    def read_all(self, names: list[str]) -> list[bytes]:
        """The bytes of files, in order; at once, where the file system can."""
        return self._try(lambda: self._read_all(names)) if names else []

    def write(self, name: str, data: bytes) -> None:
        """Write a file; it is there whole or not at all."""
        self._try(lambda: self._write(name, data))

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; whether it was written. Of several processes one succeeds, on local
        folders (with hard links or without) and on file systems that offer it (S3, GCS, Azure)."""
        return self._try(lambda: self._create(name, data))

    def publish(self, file: Path, name: str) -> None:
        """Move a local file, flushed to disk, into the store; it is there whole or not at all."""
        self._try(lambda: self._publish(file, name))

    def remove(self, names: list[str]) -> None:
        """Delete files; those that are not there are no error."""
        self._try(lambda: self._remove(names))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A local path to a file's bytes: the file itself, or a copy that goes when the block is left."""
        if self.path is not None:
            yield self.path / contained(name)
            return
        with tempfile.TemporaryDirectory(prefix="jdap-") as folder:
            copy = Path(folder) / name.rpartition("/")[2]
            self._try(lambda: self._fs.get_file(self._url(name), str(copy)))
            yield copy

    def remove_parts(self, owner: str) -> None:
        """Delete what a run has left half written."""
        if self.path is not None and owner and "/" not in contained(owner):
            shutil.rmtree(self.path / f"{UNFINISHED}{owner}", ignore_errors=True)

    def _try(self, do: Callable[[], T]) -> T:
        def mapped() -> T:
            with remote_errors(self.place):
                return do()

        return retrying(do if self.path is not None else mapped, self.retries)

    def _url(self, name: str) -> str:
        return f"{self._root}/{contained(name)}" if name else self._root

    def _stamp(self, name: str) -> str:
        try:
            if self.path is not None:
                return str((self.path / contained(name)).stat().st_mtime_ns)
            self._fs.invalidate_cache()
            return stamp_of(self._fs.info(self._url(name)))
        except FileNotFoundError:
            return ""

    def _size(self, name: str) -> int | None:
        try:
            if self.path is not None:
                return (self.path / contained(name)).stat().st_size
            return self._fs.info(self._url(name))["size"] or 0
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _entries(self) -> list[str]:
        try:
            if self.path is not None:
                return sorted(entry.name for entry in os.scandir(self.path))
            self._fs.invalidate_cache()
            return sorted(place.rstrip("/").rpartition("/")[2] for place in self._fs.ls(self._root, detail=False))
        except FileNotFoundError:
            return []

    def _names(self, folder: str) -> dict[str, int]:
        start = f"{folder}/" if folder else ""
        if self.path is not None:
            here = self.path / contained(folder) if folder else self.path
            if not here.is_dir():
                return {}
            there = {}
            for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
                with suppress(FileNotFoundError):  # another run has just removed it
                    if not entry.name.startswith(".") and entry.is_file():
                        there[start + entry.name] = entry.stat().st_size
            return there
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
            return [(self.path / contained(name)).read_bytes() for name in names]
        found = self._fs.cat_ranges([self._url(name) for name in names], None, None)  # unlike cat(), it knows no globs
        for data in found:
            if isinstance(data, Exception):
                raise data
        return found

    def _write(self, name: str, data: bytes) -> None:
        if self.path is None:
            self._put(name, lambda: self._fs.pipe_file(self._url(name), data))
        elif not self.owner:
            write_whole(self.path / contained(name), data)
        else:
            self._rename(self._flushed(data), name)

    def _create(self, name: str, data: bytes) -> bool:
        try:
            if self.path is None:
                with remote_errors(self.place):  # "precondition failed" is a file that exists
                    self._put(name, lambda: self._fs.pipe_file(self._url(name), data, mode="create"))
            else:
                target = self.path / contained(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = self._flushed(data)
                try:
                    name_new(part, target)
                finally:
                    part.unlink(missing_ok=True)
                sync_folder(target.parent)
        except FileExistsError:
            return False
        return True

    def _publish(self, file: Path, name: str) -> None:
        if self.path is None:
            self._put(name, lambda: self._fs.put_file(str(file), self._url(name)))
            file.unlink()
        else:
            try:
                self._rename(file, name)
            except OSError as error:
                if error.errno != errno.EXDEV:  # the scratch folder is on another disk
                    raise
                with file.open("rb") as source:
                    self._rename(self._flushed(source), name)
                file.unlink()

    def _put(self, name: str, do: Callable[[], None]) -> None:
        """Do it, making the folder first where the file system has real ones (an object store has none)."""
        try:
            do()
        except FileNotFoundError:
            self._fs.makedirs(self._url(name).rpartition("/")[0], exist_ok=True)
            do()

    def _flushed(self, data: bytes | BinaryIO) -> Path:
        """A file of these bytes among the run's parts."""
        assert self.path is not None
        folder = self.path / f"{UNFINISHED}{self.owner}"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / secrets.token_hex(8)
        try:
            with part.open("xb") as file:
                shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else data, file, 1 << 22)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _rename(self, file: Path, name: str) -> None:
        assert self.path is not None
        target = self.path / contained(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        sync_folder(target.parent)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            if self.path is not None:
                (self.path / contained(name)).unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    self._fs.rm_file(self._url(name))


def remove_folder(folder: Path) -> None:
    """Delete a folder with what is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
