"""Tensors of files that a test writes over: they must not be mapped, as ``load_file`` maps them.

A mapped file that is written over ends the process with a bus error.
"""

from pathlib import Path

import safetensors.torch
from torch import Tensor


def tensors_of(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own."""
    return safetensors.torch.load(file.read_bytes())
