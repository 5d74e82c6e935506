"""Drawn speakers, heard and not seen: sound and what the mouth does, by the studio's own rules, without a picture.

Shapes: N speakers, F frames at 25 fps, S audio samples at 16 kHz, E expressions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_prep.choices import SPLIT_START
from data_prep.head.model import MorphableModel, load_ict
from data_prep.head.mouth import measure_mouth
from data_prep.studio.people import draw_person
from data_prep.studio.speech.talk import draw_talk
from jdap.io.files import write_whole

#: Seconds of a speaker.
_FRAMES = 100
#: Speakers of a file.
_SPEAKERS_A_FILE = 100
#: People of other seeds are in the shards that ship and in what their models are measured on.
_SEED = 15
#: What speech does to a face, by ARKit's names without sides; the studio closes lips by what these leave open.
SPOKEN = (
    *("jawOpen", "mouthPucker", "mouthFunnel", "mouthStretch", "mouthLowerDown", "mouthUpperUp", "mouthRollLower"),
    *("mouthShrugLower", "mouthPress"),
)


@dataclass(frozen=True, eq=False)
class Spoken:
    """``audio_NS`` float32 in [-1, 1], ``expression_NFE`` of :data:`SPOKEN`, ``opening_mm_NF``, 0 where lips touch."""

    audio_NS: Tensor
    expression_NFE: Tensor
    opening_mm_NF: Tensor

    def __len__(self) -> int:
        return len(self.audio_NS)


def speak(model: MorphableModel, split: str, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sound (S,), expressions (F, E) and opening (F,) of a speaker of a split."""
    index = SPLIT_START[split] + number
    person = draw_person(_SEED, index, len(model.identity_KV3))
    rng = np.random.default_rng([_SEED, index])
    talk = draw_talk(rng, measure_mouth(model, person.identity_K), _FRAMES, 128, split)
    names = [name.removesuffix("_L").removesuffix("_R") for name in model.expression_names]
    columns = [[k for k, name in enumerate(names) if name == spoken] for spoken in SPOKEN]
    expression_FE = np.stack([talk.take.expression_FE[:, which].mean(1) for which in columns], 1)
    return talk.audio_N, expression_FE, talk.opening_mm_F.clip(0)


def files(folder: Path, split: str, speakers: int) -> list[tuple[Path, int, int]]:
    """The files that hold so many speakers, the first of each, and how many it has."""
    parts = [(first, min(_SPEAKERS_A_FILE, speakers - first)) for first in range(0, speakers, _SPEAKERS_A_FILE)]
    return [(folder / f"{split}-{first:05d}-{count}.npz", first, count) for first, count in parts]


def draw_missing(folder: Path, split: str, speakers: int) -> Iterator[int]:
    """Draw the files that are not there, each whole or not at all; gives how many speakers there are after each."""
    folder.mkdir(parents=True, exist_ok=True)
    model = None
    for path, first, count in files(folder, split, speakers):
        if not path.is_file():
            model = model or load_ict()
            audio, expression, opening = zip(*(speak(model, split, first + k) for k in range(count)), strict=True)
            packed = io.BytesIO()
            arrays = {"audio": np.stack(audio), "expression": np.stack(expression), "opening_mm": np.stack(opening)}
            np.savez(packed, **{name: array.astype(np.float16) for name, array in arrays.items()})  # type: ignore[arg-type]
            write_whole(path, packed.getvalue())
        yield first + count


def read(folder: Path, split: str, speakers: int) -> Spoken:
    """What :func:`draw_missing` drew."""
    parts = [np.load(path) for path, _, _ in files(folder, split, speakers)]
    names = ("audio", "expression", "opening_mm")
    return Spoken(*(torch.from_numpy(np.concatenate([p[n] for p in parts])).float() for n in names))
