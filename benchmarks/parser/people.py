"""Pictures of the studio's people with what each of their pixels shows: what a parser learns from.

Shapes: N pictures, S x S pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.choices import SPLIT_START
from data_prep.studio.people import PersonJob, plan
from data_prep.studio.photograph import Studio
from jdap.io.files import write_whole

#: People of a file of drawn pictures.
PEOPLE_A_FILE = 50
#: People of other seeds are in the shards that ship and in what their models are measured on.
SEED = 16


@dataclass(frozen=True, eq=False)
class Labelled:
    """``rgb_NSS3`` uint8 and ``label_NSS`` uint8, index into :data:`jdap.choices.PARSED`."""

    rgb_NSS3: np.ndarray
    label_NSS: np.ndarray

    def __len__(self) -> int:
        return len(self.rgb_NSS3)


def photograph(studio: Studio, split: str, first: int, people: int, frames: int, size: int) -> Labelled:
    """Independent stills of people ``first`` … of a split, ``frames`` of each."""
    job = PersonJob(SEED, frames, size)
    start = SPLIT_START[split] + first
    shoots = [plan(studio, job, index)[0] for index in range(start, start + people)]
    shots = studio.photograph(shoots, size, truth=True)
    truths = [shot.truth for shot in shots if shot.truth is not None]
    labels = np.concatenate([truth.label_FSS.numpy() for truth in truths])
    return Labelled(np.concatenate([shot.rgb_FSS3 for shot in shots]), labels)


def files(folder: Path, people: int, frames: int) -> list[tuple[Path, int, int]]:
    """The files that hold ``people``: their names, which tell what is in them, first person and how many."""
    parts = [(first, min(PEOPLE_A_FILE, people - first)) for first in range(0, people, PEOPLE_A_FILE)]
    return [(folder / f"people-{first:05d}-{count}x{frames}.npz", first, count) for first, count in parts]


def draw_missing(folder: Path, split: str, people: int, frames: int, size: int) -> Iterator[int]:
    """Draw the files that are not there, each whole or not at all; gives how many people are there after each."""
    folder.mkdir(parents=True, exist_ok=True)
    studio = None
    for path, first, count in files(folder, people, frames):
        if not path.is_file():
            studio = studio or Studio()
            drawn = photograph(studio, split, first, count, frames, size)
            packed = io.BytesIO()
            np.savez_compressed(packed, rgb=drawn.rgb_NSS3, label=drawn.label_NSS)
            write_whole(path, packed.getvalue())
        yield first + count


def read(folder: Path, people: int, frames: int) -> Labelled:
    """What :func:`draw_missing` drew."""
    parts = [np.load(path) for path, _, _ in files(folder, people, frames)]
    return Labelled(np.concatenate([p["rgb"] for p in parts]), np.concatenate([p["label"] for p in parts]))
