"""Weights that name the image model whose networks they share, rather than hold a copy: what all such have in common.

The index of such a folder says ``"_image"``: a folder, or ``shipped:NAME``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import find_folder
from jdap.models.loading import WeightsError, read_json
from jdap.pipelines.base import JointPipeline
from jdap.pipelines.weights import INDEX

#: The entry of an index that names the image model.
IMAGE = "_image"
Named = TypeVar("Named", bound=JointPipeline)


def name_image(folder: Path, image: str, parts: Iterable[str]) -> None:
    """Let a written folder name an image model in the place of these components, in place."""
    for part in parts:
        shutil.rmtree(folder / part, ignore_errors=True)
    index = read_json(folder / INDEX) | {IMAGE: image}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read_image(folder: Path, image: object, kind: type[Named]) -> Named:
    """The image model, a pipeline of this ``kind``, that the index of ``folder`` names.

    Raises :class:`WeightsError` where there is none, or one that names another.
    """
    try:
        found = find_folder(str(image), "name the folder of an image model")
        if read_json(found / INDEX).get(IMAGE) is not None:
            raise WeightsError("it names another image model itself; name that one")
        return kind.from_pretrained(str(image))
    except (WeightsError, FileNotFoundError) as error:
        raise WeightsError(f"{folder / INDEX} names the image model {image!r}: {error}") from error


def check_shared(
    folder: Path,
    image: str,
    theirs: JointPipeline,
    mine: Mapping[str, nn.Module | None],
    schedule: NoiseSchedule,
    size_px: object,
) -> None:
    """Raises :class:`WeightsError` unless the image model ``theirs`` has the networks, schedule and size of ``folder``.

    ``mine``: networks by component.
    """
    for name, network in mine.items():
        if not _equal(network, getattr(theirs, name)):
            raise WeightsError(f"{image}: its {name} is not that of {folder}, which was trained on another image model")
    if schedule != theirs.schedule or size_px != theirs.settings()["size_px"]:
        raise WeightsError(f"{image}: another schedule or size than {folder}")


def _equal(mine: nn.Module | None, theirs: nn.Module | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    one, other = mine.state_dict(), theirs.state_dict()
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())
