"""Segments of long videos in the store, until all of a video are there: what workers and runs make of one unit.

A unit is divided when a worker finds that a video of it is long. From then on ``segments/UNIT-HASH.json`` says so
(video → how many segments), runs claim these one by one, and what comes of one is one file beside it: a tar of the
folder that the worker has prepared it in. When all are there, whoever claims the unit makes its shard of them, and they
go. So does what is taken over from an earlier run: it lies here while the unit is written anew. The hash is the unit's:
what was made of another file, or with other settings, is never taken.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.engines.plan import Unit
from data_prep.store import Store

SEGMENTS_FOLDER = "segments"
#: Of a unit's hash.
_DIGITS = 16
#: Video (its index in the unit) → how many segments it is divided into.
Parts = Mapping[int, int]


@dataclass(frozen=True)
class Piece:
    """What is claimed at once: a unit as a whole (of a divided one what is left when all segments are there), or
    ``segment`` of its video ``index``; ``parts``: how the unit is divided, as far as it is known to be."""

    unit: Unit
    parts: Parts = field(default_factory=dict)
    index: int = 0
    segment: int | None = None

    @property
    def name(self) -> str:
        """By which it is claimed."""
        return self.unit.name if self.segment is None else f"{self.unit.name}.{self.index}.{self.segment:05d}"


class Staging:
    """The files of divided units in a store; ``digest(unit)`` is the unit's hash. Methods raise OSError."""

    def __init__(self, store: Store, settings: dict[str, object]):
        self.store, self.settings = store, settings

    def parts(self, unit: Unit) -> dict[int, int]:
        """How a unit is divided; empty where it is not."""
        name = f"{self._stem(unit)}.json"
        if not self.store.sizes([name]):
            return {}
        return {int(index): int(count) for index, count in json.loads(self.store.read(name)).items()}

    def divide(self, unit: Unit, parts: Parts) -> list[Piece]:
        """Write down how a unit is divided, and give its pieces: the segments, and itself."""
        self.store.write(f"{self._stem(unit)}.json", json.dumps(dict(parts)).encode())
        return pieces_of(unit, parts)

    def name(self, unit: Unit, index: int, segment: int) -> str:
        """The file of a segment."""
        return f"{self._stem(unit)}-{index}-{segment:05d}.segment"

    def earlier(self, unit: Unit) -> str:
        """The file of what an earlier run made, and this one could not, while the unit is written anew."""
        return f"{self._stem(unit)}-earlier.tar"

    def names(self, unit: Unit, parts: Parts) -> list[str]:
        """The files of all segments."""
        return [self.name(unit, index, k) for index, count in sorted(parts.items()) for k in range(count)]

    def has(self, piece: Piece) -> bool:
        """Whether a segment is there."""
        return piece.segment is not None and bool(self.store.sizes([self.name(piece.unit, piece.index, piece.segment)]))

    def ready(self, piece: Piece) -> bool:
        """Whether all segments of the piece's unit are there."""
        there = self.store.names(SEGMENTS_FOLDER)
        return all(name in there for name in self.names(piece.unit, piece.parts))

    def remove(self, unit: Unit, parts: Parts) -> None:
        """Delete what a unit had, the word that it is divided last."""
        self.store.remove([*self.names(unit, parts), f"{self._stem(unit)}.json"])

    def tidy(self, units: Iterable[Unit]) -> None:
        """Delete what belongs to none of ``units``: those that are to be made."""
        there = self.store.names(SEGMENTS_FOLDER)
        wanted = {self._stem(unit) for unit in units} if there else set[str]()
        self.store.remove([name for name in there if "-".join(name.split(".")[0].split("-")[:2]) not in wanted])

    def _stem(self, unit: Unit) -> str:
        return f"{SEGMENTS_FOLDER}/{unit.name}-{unit.sha256(self.settings)[:_DIGITS]}"


def pieces_of(unit: Unit, parts: Parts) -> list[Piece]:
    """The segments of a divided unit, in order, and itself."""
    segments = [Piece(unit, parts, index, k) for index, count in sorted(parts.items()) for k in range(count)]
    return [*segments, Piece(unit, parts)]


def pack(folder: Path, file: Path) -> None:
    """A folder's files as one."""
    with tarfile.open(file, "w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False)


def unpack(file: Path, folder: Path) -> None:
    """The inverse. Raises tarfile.TarError for what is no such file, or leads out of the folder."""
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="data")
