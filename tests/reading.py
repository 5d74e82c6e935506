"""What is read of shards, by the keys of the samples."""

from collections.abc import Iterable
from typing import Any

import webdataset as wds


def keys(steps: Iterable[Any], batches: int | None = None) -> list[str]:
    """The samples that a list of processing steps gives, in order; of so many batches."""
    found: list[str] = []
    for n, batch in enumerate(wds.DataPipeline(*steps)):
        if n == batches:
            break
        found += batch.key
    return found
