"""Reading tars of samples, what happens where one cannot be read, and writing them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from webdataset.tariterators import group_by_keys, tar_file_iterator

from jdap.data.position import Place
from jdap.data.sources import ShardError
from jdap.files import sync_folder, write_whole
from jdap.remote import remote_errors
from jdap.schema import SchemaError

Sample = dict[str, Any]
GIVE_UP_AFTER = 100
_log = logging.getLogger(__name__)


@dataclass
class Faults:
    """What happens to a bad shard or sample: an error when ``strict``, else one warning a shard, and counting."""

    strict: bool
    told: set[str] = field(default_factory=set)
    in_a_row: int = 0
    good: int = 0

    def pass_good(self) -> None:
        """Count something usable."""
        self.good += 1
        self.in_a_row = 0

    def bad(self, url: str, error: Exception, key: str = "") -> None:
        """Raise or log ``error``, met in the shard ``url`` and its sample ``key``."""
        # webdataset appends what it knows to an exception's args; the message is the first.
        what = str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])
        reason = f"{url}: {f'sample {key}: ' if key else ''}{' '.join(what.split()) or type(error).__name__}"
        if self.strict:
            raise ShardError(f"{reason}; `python -m data_prep verify` tells what else is wrong") from error
        if url not in self.told:
            self.told.add(url)
            _log.warning("skipped in training: %s", reason)
        self.in_a_row += 1
        if self.in_a_row >= GIVE_UP_AFTER:
            raise ShardError(f"{self.in_a_row} shards or samples in a row could not be read, the last: {reason}")


def read_tars(
    shards: Iterable[Sample], faults: Faults, keep_bytes: int = 0, start: Place | None = None
) -> Iterator[Sample]:
    """Samples of each shard: members' bytes by name, ``__key__``, ``__url__``, the shard's ``of``, and their ``place``.

    Samples before ``start`` are left out. Whole shards stay in memory up to ``keep_bytes`` and are not read again in
    later turns: to walk through a tar of small members costs more than to decode the few that are drawn.
    """
    kept: dict[str, list[Sample]] = {}
    # a copy: the place goes on while this reads ahead
    start, turn, index = replace(start or Place()), -1, 0
    for shard in shards:
        url, count, size, here = shard["url"], 0, 0, list[Sample]()
        place = Place(shard["turn"], shard["shard"], everything=shard["everything"])
        if place.turn != turn:
            index = start.index - start.sample if place.turn == start.turn else 0
            turn = place.turn
        try:
            for sample in kept.get(url) or read_tar(url):
                count, index = count + 1, index + 1
                size += sum(map(len, sample.values()))
                if url not in kept and size <= keep_bytes:
                    here.append(sample)
                if not start.before(place.turn, place.shard, count - 1):
                    yield sample | {"of": shard["of"], "place": replace(place, sample=count - 1, index=index - 1)}
            if not count:
                raise SchemaError("holds no sample")
            if url not in kept and size <= keep_bytes:
                kept[url] = here
                keep_bytes -= size
        except (OSError, EOFError, ImportError, ValueError, tarfile.TarError) as error:
            faults.bad(url, error)


def read_tar(url: str) -> Iterator[Sample]:
    """Samples of one tar, streamed. Raises OSError, what tarfile raises, and SchemaError for a tar without an end."""
    with ExitStack() as opened:
        with remote_errors(url):
            tail = _Tail(opened.enter_context(fsspec.open(url, "rb")))
        members = ({**member, "__url__": url} for member in tar_file_iterator(tail))
        yield from group_by_keys(members)
        # tarfile takes a tar that was cut between two members for a whole one; a whole one ends in blocks of zeros.
        if any(tail.last[-tarfile.BLOCKSIZE :]):
            raise SchemaError("cut short: the tar has no end")


def write_tar(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]], sidecar: dict[str, Any]) -> None:
    """Write a shard of (key, members) beside its place, rename it, then write ``sidecar`` beside it in the same way.

    Where there is a sidecar the shard is whole; to it are added the shard's name, its bytes and their SHA-256.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for key, members in samples:
                    for name, data in members.items():
                        info = tarfile.TarInfo(f"{key}.{name}")  # its defaults hold no time and no owner
                        info.size, info.mode = len(data), 0o644
                        tar.addfile(info, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
        os.replace(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
    more = {"shard": path.name, "bytes": size, "sha256": digest}
    write_whole(path.with_suffix(".json"), json.dumps(sidecar | more, indent=1).encode())


class _Tail:
    """A stream that remembers the last bytes that were read from it, and how many there were."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.last, self.count = file, b"\1", 0

    def __repr__(self) -> str:  # webdataset puts it into its messages
        return f"byte {self.count}"

    def read(self, size: int = -1) -> bytes:
        with remote_errors():
            data = self.file.read(size)
        self.last, self.count = data or self.last, self.count + len(data)
        return data
