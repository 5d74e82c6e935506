"""Shards: samples that are written whole or not at all, their sidecars, reading them back and verifying a folder.

A shard ``PREFIX-000000.tar`` is written as ``….tar.part``, flushed to disk and renamed; its sidecar
``PREFIX-000000.json`` follows in the same way. So a ``.tar`` is never half a file, and a ``.tar`` without its sidecar
belongs to a run that was interrupted: it counts as incomplete. The bytes of a shard depend on its samples alone.

:func:`verify` and ``python -m data_prep verify DIR`` check a folder against all of this.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.sample import Sample, read_members, read_samples
from jdap import schema
from jdap.files import sync_folder, write_whole
from jdap.latents import decode_members, latents_member
from jdap.schema import Record, SchemaError

__all__ = ["Problem", "Sample", "ShardWriter", "read_samples", "sidecar_path", "verify"]

MAX_SAMPLES, MAX_BYTES = 1000, 1 << 30
SPLITS = ("train", "val", "test")


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
        self._tar: tarfile.TarFile | None = None
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, sample: Sample) -> None:
        """Add a sample; raises :class:`SchemaError` for a key that this writer has written already."""
        if sample.key in self._keys:
            raise SchemaError(f"{sample.key}: written twice; clip_id and first_frame must name a sample")
        members = sample.members()  # encoded before the shard is touched: a bad sample leaves no trace
        size = sum(map(len, members.values()))
        if self._tar and (self._tally.samples == self.max_samples or self._tally.bytes + size > self.max_bytes):
            self.close()
        tar = self._tar or self._open()
        try:
            for name, data in members.items():
                # TarInfo's defaults are mtime, uid and gid 0 and no names: the same bytes each time.
                info = tarfile.TarInfo(f"{sample.key}.{name}")
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
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
        if self._tar is None or self._file is None:
            return
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._tar = self._file = None
        part, path = self._part, self._part.with_suffix("")
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
        os.replace(part, path)
        sync_folder(self.folder)
        write_whole(
            sidecar_path(path),
            json.dumps(
                {
                    "schema_version": schema.VERSION,
                    "shard": path.name,
                    "samples": self._tally.samples,
                    "frames": self._tally.frames,
                    "bytes": size,
                    "sha256": digest,
                    "rejected": dict(sorted(self._tally.rejected.items())),
                    "seconds": {k: round(v, 3) for k, v in sorted(self._tally.seconds.items())},
                },
                indent=1,
            ).encode(),
        )
        self.shards.append(path)
        self._index += 1
        self._tally = _Tally()

    def abort(self) -> None:
        """Throw the open shard away."""
        file, self._tar, self._file = self._file, None, None
        if file is not None:
            with suppress(OSError):  # on a full disk what is still buffered cannot be written either
                file.close()
            self._part.unlink(missing_ok=True)

    def name(self, index: int) -> str:
        """What the shard of this number is called, without suffix."""
        return f"{self.prefix}-{index:06d}"

    @property
    def _part(self) -> Path:
        return self.folder / f"{self.name(self._index)}.tar.part"

    def _open(self) -> tarfile.TarFile:
        sidecar_path(self._part.with_suffix("")).unlink(missing_ok=True)  # of a shard that someone deleted
        self._file = self._part.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        return self._tar


def sidecar_path(shard: Path) -> Path:
    """Where a shard's sidecar lies."""
    return shard.with_suffix(".json")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file of a shard folder."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def verify(folder: str | Path, progress: Progress | None = None) -> list[Problem]:
    """Everything that is wrong with the shards below ``folder``; an empty list is a clean bill.

    Checks that nothing half-written lies there, that every shard has its sidecar and the size, SHA-256 and counts
    that it names, that every sample decodes in full and keeps the schema, that no key occurs twice, and that no person
    is in two of the splits ``train``, ``val``, ``test``. Raises FileNotFoundError where there is no shard at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder of shards")
    shards = sorted(folder.rglob("*.tar"))
    problems = [
        Problem(p, "half-written, left by an interrupted run: delete it") for p in sorted(folder.rglob("*.part"))
    ]
    if not shards and not problems:
        raise FileNotFoundError(
            f"no shard (*.tar) below {folder}: make some with `python -m data_prep prepare` or studio"
        )
    keys: dict[str, Path] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    task = progress.add_task("verifying", total=len(shards)) if progress else None
    for shard in shards:
        problems += [Problem(shard, what) for what in _verify_shard(shard, keys, splits)]
        if progress and task is not None:
            progress.advance(task)
    for person, where in sorted(splits.items()):
        if len(where) > 1:
            problems.append(Problem(folder, f"{person} is in more than one split: {', '.join(sorted(where))}"))
    return problems


def _verify_shard(shard: Path, keys: dict[str, Path], splits: dict[str, set[str]]) -> Iterator[str]:
    sidecar = _read_sidecar(shard)
    if isinstance(sidecar, str):
        yield sidecar
        sidecar = {}
    with shard.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sidecar and sidecar["bytes"] != shard.stat().st_size:
        yield f"{shard.stat().st_size} bytes, the sidecar says {sidecar['bytes']}: cut short or overwritten"
    elif sidecar and sidecar["sha256"] != digest:
        yield "SHA-256 differs from the sidecar's: the file was changed"
    samples = frames = 0
    try:
        for key, members in read_members(shard):
            samples += 1
            try:
                record = _decode(members)
            except SchemaError as error:
                yield f"sample {key}: {error}"
                continue
            frames += record.frames
            if record.key != key:
                yield f"sample {key}: its record belongs to {record.key}"
            if key in keys:
                yield f"sample {key} is in {keys[key]} too"
            keys[key] = shard
            if shard.parent.name in SPLITS:
                splits[record.person_id].add(shard.parent.name)
    except SchemaError as error:
        yield str(error)
        return
    if sidecar and (samples, frames) != (sidecar["samples"], sidecar["frames"]):
        yield f"{samples} samples, {frames} frames; sidecar: {sidecar['samples']}, {sidecar['frames']}"


def _decode(members: dict[str, bytes]) -> Record:
    """The record of a sample of pictures or of latents, after everything in it was decoded and checked."""
    if latents_member(0) in members:
        return decode_members(members)[0]
    return Sample.from_members(members).record


def _read_sidecar(shard: Path) -> dict[str, Any] | str:
    """The sidecar, or what is wrong with it."""
    path = sidecar_path(shard)
    try:
        sidecar = json.loads(path.read_bytes())
    except FileNotFoundError:
        return f"has no sidecar {path.name}: incomplete, prepare it again"
    except ValueError as error:
        return f"sidecar {path.name} cannot be read ({error})"
    if not isinstance(sidecar, dict) or sidecar.get("schema_version") not in schema.VERSIONS:
        return f"sidecar {path.name} is not of schema version {' or '.join(map(str, schema.VERSIONS))}"
    missing = {"samples", "frames", "bytes", "sha256"} - set(sidecar)
    return f"sidecar {path.name} lacks {sorted(missing)}" if missing else sidecar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep verify``."""
    parser.description = "Check the checksums of a folder of shards and decode every sample."
    parser.add_argument("folder", type=Path, help="folder with shards, searched with its subfolders")


def run(args: argparse.Namespace) -> int:
    """Print every problem, one a line; 0 where there is none, else 1."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Console(stderr=True)
    with Progress(*columns, console=bar, disable=not bar.is_terminal) as progress:
        problems = verify(args.folder, progress)
    for problem in problems:
        console.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
    shards = len(list(args.folder.rglob("*.tar")))
    console.print(f"{shards} shards, {len(problems)} problems")
    return 1 if problems else 0
