"""Weights of pipelines by name: a folder, ``shipped:NAME``, or a repository of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from jdap.io.assets import resolve
from jdap.models.hub import find_folder


def find_weights(name: str, remedy: str = "make train-image") -> Path:
    """The local folder of weights: a folder's path, ``shipped:NAME``, or ``OWNER/NAME[@REVISION]`` of the hub.

    Raises FileNotFoundError for a name that does not ship, and :class:`jdap.models.loading.WeightsError` for what is
    neither here nor there; ``remedy`` is the command that trains such weights.
    """
    return find_folder(resolve(name), f"train one with `{remedy}`")
