"""Tensors of files that a test writes over, and what is said of weights that are refused.

Such tensors must not be mapped, as ``load_file`` maps them: a mapped file that is written over ends the process with a
bus error.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from torch import Tensor

from jdap.models.loading import WeightsError


def tensors_of(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own."""
    return safetensors.torch.load(file.read_bytes())


def refused(read: Callable[[Path], object], folder: Path) -> str:
    """What is said of a weights folder that must not be read: a line that names the folder, here without its name."""
    with pytest.raises(WeightsError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert str(folder) in message
    return message.replace(str(folder), "")
