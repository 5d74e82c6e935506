"""Strict loading of diffusers components: safetensors only, every key in its place, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME, logging
from safetensors import SafetensorError


class WeightsError(ValueError):
    """A folder of weights that cannot be used; the message names it and says what to do."""


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises :class:`WeightsError` where there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: missing; is {file.parent} a folder that save_pretrained wrote?") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise WeightsError(f"{file}: must hold a JSON object")
    return data


def load_strict(kind: Any, folder: str | Path) -> Any:
    """The ``kind`` that ``save_pretrained`` wrote to ``folder``: float32, in evaluation mode.

    diffusers fills what it misses with random numbers and a warning; here a missing, unexpected or misshapen tensor is
    a :class:`WeightsError` that names the folder and the keys.
    """
    folder = Path(folder)
    name = read_json(folder / "config.json").get("_class_name")
    if name != kind.__name__:
        raise WeightsError(f"{folder}/config.json: _class_name is {name!r}, expected {kind.__name__!r}")
    if not (folder / SAFETENSORS_WEIGHTS_NAME).is_file():
        raise WeightsError(f"{folder}: {SAFETENSORS_WEIGHTS_NAME} is missing; only safetensors weights are read")
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would warn of is the error below
    try:
        model, info = kind.from_pretrained(
            str(folder),
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
        )
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{folder}: the weights cannot be read: {' '.join(str(error).split())}") from error
    finally:
        logging.set_verbosity(level)
    wrong = [
        f"{len(info[kind])} {kind} ({_few(info[kind])})"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info[kind]
    ]
    if wrong:
        raise WeightsError(f"{folder}: weights and config.json do not fit: {', '.join(wrong)}; export the folder again")
    return model.eval()


def _few(keys: Any, count: int = 3) -> str:
    names = sorted(map(str, keys))
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
