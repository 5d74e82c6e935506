"""Weights by name: a folder, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from jdap.models.loading import WeightsError

#: OWNER/NAME, with @REVISION to pin it.
_REPOSITORY = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")


def find_folder(name: str | Path, remedy: str) -> Path:
    """The local folder of weights: a folder's path, or ``OWNER/NAME[@REVISION]`` of the hub.

    Of a repository only JSON and safetensors are fetched, into the hub's own cache. Raises
    :class:`jdap.models.loading.WeightsError` for what is neither here nor there; ``remedy`` says what to do.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    repository = _REPOSITORY.fullmatch(str(name))
    if repository is None:
        raise WeightsError(f"{name}: no such weights folder; {remedy}")
    try:
        return Path(
            snapshot_download(
                repository["id"],
                revision=repository["revision"],
                # "*" matches across slashes here.
                allow_patterns=["*.json", "*.safetensors"],
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{name}: no such folder here, and the hub does not give it: {type(error).__name__}: {reason}"
        ) from error
