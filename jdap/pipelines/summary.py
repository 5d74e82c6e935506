"""What a weights folder holds, read from its JSON and the heads of its safetensors: no network is built."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

INDEX, TRAINING_FILE = "model_index.json", "training.json"
#: Bytes before a safetensors file's JSON head, which say how long that is.
_LENGTH = 8
#: The largest head that is read, as safetensors' own limit.
_MOST = 100_000_000


class SummaryError(ValueError):
    """A file of a weights folder that cannot be read; the message names it."""


def is_weights(folder: Path) -> bool:
    """Whether a folder is one of a pipeline, or of a codec alone."""
    return (folder / INDEX).is_file() or bool(list(folder.glob("*.safetensors")) and (folder / "config.json").is_file())


def weights_summary(folder: Path) -> dict[str, Any]:
    """Preset, size, components with their parameters and bytes, and how it was trained.

    Raises :class:`SummaryError` for a file that cannot be read.
    """
    index = _object(folder / INDEX) if (folder / INDEX).is_file() else _object(folder / "config.json")
    homes = {path.parent for path in folder.rglob("*.safetensors") if path.parent != folder} or {folder}
    parts = {"." if home == folder else home.relative_to(folder).as_posix(): _part(home) for home in sorted(homes)}
    training = _object(folder / TRAINING_FILE) if (folder / TRAINING_FILE).is_file() else {}
    plain = {name: value for name, value in index.items() if isinstance(value, bool | int | float | str | None)}
    return {
        "kind": _last(index.get("_class_name", "weights")),
        **{name: value for name, value in plain.items() if not name.startswith("_")},
        "components": parts,
        "parameters": sum(part["parameters"] for part in parts.values()),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "jdap_version": index.get("_jdap_version", training.get("jdap_version")),
        "training": {name: value for name, value in training.items() if name != "jdap_version"},
    }


def _last(name: object) -> object:
    """A pipeline's class: its name, or diffusers' [module, name]."""
    return name[-1] if isinstance(name, list) and name else name


def _part(folder: Path) -> dict[str, Any]:
    """Class, parameters, bytes and types of one component."""
    config = _object(folder / "config.json") if (folder / "config.json").is_file() else {}
    counts, kinds = 0, set()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        for name, tensor in read_head(file).items():
            if name != "__metadata__":
                counts += math.prod(tensor["shape"])
                kinds.add(tensor["dtype"])
    return {
        "class": config.get("_class_name"),
        "parameters": counts,
        "bytes": sum(file.stat().st_size for file in files),
        "types": sorted(kinds),
    }


def read_head(file: Path) -> dict[str, Any]:
    """The head of a safetensors file: name → dtype, shape and place. Raises SummaryError where it is none."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH), "little")
        try:
            head = json.loads(stream.read(length)) if length <= _MOST else None
            whole = isinstance(head, dict) and all(
                {"dtype", "shape"} <= set(tensor) for name, tensor in head.items() if name != "__metadata__"
            )
        except (ValueError, TypeError):
            whole = False
    if not isinstance(head, dict) or not whole:
        raise SummaryError(f"{file}: no safetensors file; copy it again")
    return head


def _object(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SummaryError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise SummaryError(f"{file}: must hold a JSON object")
    return data
