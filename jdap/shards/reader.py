"""Reading shards: the samples of a tar one after another, from a path or a URL, as bytes or decoded."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import fsspec

from jdap.io.remote import remote_errors
from jdap.shards.sample import Sample
from jdap.shards.schema import SchemaError
from jdap.shards.urls import SHARDS_REMEDY, ShardError


def read_tar(shard: str | Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, members) of each sample of a shard, in order and undecoded; nothing but the sample at hand is kept.

    Raises :class:`SchemaError` for a damaged tar, and OSError for one that cannot be opened or read on
    (:func:`jdap.io.remote.remote_errors`).
    """
    key, members = "", dict[str, bytes]()
    try:
        with ExitStack() as opened:
            with remote_errors(str(shard)):
                place = shard.open("rb") if isinstance(shard, Path) else fsspec.open(shard, "rb")
                tail = _Tail(opened.enter_context(place))
            with tarfile.open(fileobj=tail, mode="r|") as tar:  # type: ignore[call-overload]
                for info in tar:
                    owner, name = _split(info.name)
                    if info.isdir() or not owner:
                        continue
                    if owner != key and members:
                        yield key, members
                        members = {}
                    key = owner
                    content = tar.extractfile(info)
                    if content is None or name in members:
                        raise SchemaError(f"{info.name} is no plain file, or occurs twice")
                    members[name] = content.read()
            # tarfile takes a tar that was cut in or after a header for a whole one; that ends in blocks of zeros.
            if any(tail.last[-tarfile.BLOCKSIZE :]):
                raise SchemaError("not a whole tar (it has no end)")
    except (tarfile.TarError, EOFError) as error:
        raise SchemaError(f"not a whole tar ({error})") from error
    if members:
        yield key, members


def read_samples(shard: str | Path) -> Iterator[Sample]:
    """Every sample of a shard, fully decoded. Raises :class:`SchemaError` that names the shard."""
    try:
        for key, members in read_tar(shard):
            try:
                yield Sample.from_members(members)
            except SchemaError as error:
                raise SchemaError(f"sample {key}: {error}") from error
    except SchemaError as error:
        raise SchemaError(f"{shard}: {error}") from error


def check_filled(shards: Sequence[str]) -> None:
    """Raises :class:`jdap.shards.urls.ShardError` where none of the shards holds a sample; reads no more than one."""
    wrong = ""
    for shard in shards:
        try:
            if next(read_tar(shard), None) is not None:
                return
        except (OSError, ImportError, ValueError) as error:
            wrong = wrong or f" ({' '.join(str(error).split())})"
    raise ShardError(f"none of {len(shards)} shards holds a usable sample, {shards[0]} first{wrong}; {SHARDS_REMEDY}")


def _split(path: str) -> tuple[str, str]:
    """Key and member of a file of a tar: a key ends at the first dot of the file's name. Without a dot: no key."""
    folder, slash, name = path.rpartition("/")
    stem, dot, member = name.partition(".")
    return (f"{folder}{slash}{stem}", member) if dot and stem else ("", "")


class _Tail:
    """A stream that remembers the last bytes that were read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.last = file, b"\1"

    def read(self, size: int = -1) -> bytes:
        with remote_errors():
            data = self.file.read(size)
        self.last = data or self.last
        return data
