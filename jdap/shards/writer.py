"""Shards: samples that are written whole or not at all, and their sidecars.

A shard ``PREFIX-000000.tar`` is written as ``….tar.part``, flushed to disk and renamed; its sidecar
``PREFIX-000000.json`` follows in the same way. So a ``.tar`` is never half a file, and a ``.tar`` without its sidecar
belongs to a run that was interrupted: it counts as incomplete. The bytes of a shard depend on its samples alone.

``python -m data_prep verify DIR`` checks a folder against all of this.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from jdap.io.files import sync_folder, write_whole
from jdap.shards import schema
from jdap.shards.schema import Record, SchemaError

MAX_SAMPLES, MAX_BYTES = 1000, 1 << 30


class Encodes(Protocol):
    """What is written: a sample, or one that is encoded already."""

    @property
    def key(self) -> str:
        """The WebDataset key."""

    @property
    def record(self) -> Record:
        """What the sample is."""

    def members(self) -> dict[str, bytes]:
        """Name → bytes, in the order in which they are stored."""


class _Tar:
    """A tar that is being written beside its place: ``PATH.part`` until it is finished."""

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        sidecar_path(path).unlink(missing_ok=True)  # of a shard that someone deleted
        self._file = self.part.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """Add a sample."""
        for name, data in members.items():
            # TarInfo's defaults are mtime, uid and gid 0 and no names: the same bytes each time.
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size, info.mode = len(data), 0o644
            self._tar.addfile(info, io.BytesIO(data))

    def finish(self, sidecar: dict[str, Any]) -> None:
        """Flush, rename, and write the sidecar; to it go the shard's name, its bytes and their SHA-256."""
        try:
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with self.part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = self.part.stat().st_size
            os.replace(self.part, self.path)
        except BaseException:
            self.abort()
            raise
        sync_folder(self.path.parent)
        more = {"shard": self.path.name, "bytes": size, "sha256": digest}
        write_whole(sidecar_path(self.path), json.dumps(sidecar | more, indent=1).encode())

    def abort(self) -> None:
        """Throw away what has been written."""
        with suppress(OSError):  # on a full disk what is still buffered cannot be written either
            self._file.close()
        self.part.unlink(missing_ok=True)


def write_tar(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]], sidecar: dict[str, Any]) -> None:
    """Write a shard of (key, members), whole or not at all, then ``sidecar`` beside it.

    To the sidecar are added the shard's name, its bytes and their SHA-256.
    """
    tar = _Tar(path)
    try:
        for key, members in samples:
            tar.add(key, members)
    except BaseException:
        tar.abort()
        raise
    tar.finish(sidecar)


@dataclass
class _Tally:
    """What a sidecar says of one shard."""

    samples: int = 0
    frames: int = 0
    bytes: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class ShardWriter:
    """Writes samples into ``folder/prefix-000000.tar`` …, at most ``max_samples`` and about ``max_bytes`` each.

    A context manager. A shard is finished when the next sample does not fit, or at the end; when the block is left by
    an exception, the open shard is thrown away and the finished ones stay. One prefix belongs to one writer at a time.

    With ``resume`` writing goes on after the last complete shard of the prefix; without it a folder that holds
    shards of this prefix is refused with FileExistsError, so that running a command twice never doubles a data set.

    ``shards`` holds the paths of the finished shards.
    """

    def __init__(
        self,
        folder: str | Path,
        prefix: str,
        max_samples: int = MAX_SAMPLES,
        max_bytes: int = MAX_BYTES,
        resume: bool = False,
    ) -> None:
        if max_samples < 1 or max_bytes < 1:
            raise ValueError(f"max_samples and max_bytes must be positive, got {max_samples} and {max_bytes}")
        self.folder, self.prefix = Path(folder), prefix
        self.max_samples, self.max_bytes = max_samples, max_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        complete = [p for p in self.folder.glob(f"{prefix}-[0-9]*.tar") if sidecar_path(p).exists()]
        if complete and not resume:
            raise FileExistsError(
                f"{self.folder} already holds shards {prefix}-*.tar: name another folder or delete them"
            )
        self.shards: list[Path] = []
        self._index = max((int(p.stem.removeprefix(f"{prefix}-")) + 1 for p in complete), default=0)
        self._tally = _Tally()
        self._keys: set[str] = set()
        self._tar: _Tar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, sample: Encodes) -> None:
        """Add a sample; raises :class:`SchemaError` for a key that this writer has written already."""
        if sample.key in self._keys:
            raise SchemaError(f"{sample.key}: written twice; clip_id and first_frame must name a sample")
        members = sample.members()  # encoded before the shard is touched: a bad sample leaves no trace
        size = sum(map(len, members.values()))
        if self._tar and (self._tally.samples == self.max_samples or self._tally.bytes + size > self.max_bytes):
            self.close()
        if self._tar is None:
            self._tar = _Tar(self.folder / f"{self.name(self._index)}.tar")
        try:
            self._tar.add(sample.key, members)
        except BaseException:  # a full disk, an interrupt: the shard now ends in half a sample
            self.abort()
            raise
        self._keys.add(sample.key)
        self._tally.samples += 1
        self._tally.frames += sample.record.frames
        self._tally.bytes += size

    def reject(self, reason: str, count: int = 1) -> None:
        """Count something that was left out, for the sidecar of the shard that is open or opened next."""
        self._tally.rejected[reason] += count

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time that a stage took, for the sidecar of the shard that is open or opened next."""
        self._tally.seconds[stage] += seconds

    def close(self) -> None:
        """Finish the open shard, if any: flush, rename, write the sidecar."""
        if self._tar is None:
            return
        tar, self._tar = self._tar, None
        tar.finish(
            {
                "schema_version": schema.VERSION,
                "samples": self._tally.samples,
                "frames": self._tally.frames,
                "rejected": dict(sorted(self._tally.rejected.items())),
                "seconds": {k: round(v, 3) for k, v in sorted(self._tally.seconds.items())},
            }
        )
        self.shards.append(tar.path)
        self._index += 1
        self._tally = _Tally()

    def abort(self) -> None:
        """Throw the open shard away."""
        tar, self._tar = self._tar, None
        if tar is not None:
            tar.abort()

    def name(self, index: int) -> str:
        """What the shard of this number is called, without suffix."""
        return f"{self.prefix}-{index:06d}"


def sidecar_path(shard: Path) -> Path:
    """Where a shard's sidecar lies."""
    return shard.with_suffix(".json")
