"""How many pictures or clips there are to measure, so that a benchmark can say how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jdap.data.draw import fixed_pairs
from jdap.io.assets import resolve
from jdap.shards.schema import Record, SchemaError
from jdap.shards.summary import records
from jdap.shards.urls import resolve_shards


def count_pictures(spec: str, limit: int | None = None, targets: int | None = None) -> int | None:
    """Pictures that an evaluation of the shards takes, with so many ``targets`` of each sample; see :func:`_count`."""
    return _count(spec, lambda record: len(fixed_pairs(record, targets)), limit)


def count_clips(spec: str, limit: int | None = None) -> int | None:
    """Samples of the shards; see :func:`_count`."""
    return _count(spec, lambda record: 1, limit)


def _count(spec: str, of: Callable[[Record], int], limit: int | None) -> int | None:
    """The sum over all records, ``limit`` at most. Of shards that are not local files, which would be loaded twice, and
    of such as cannot be read, which those tell who read them, ``limit`` alone."""
    try:
        urls = resolve_shards(resolve(spec))
        if not all(Path(url).is_file() for url in urls):
            return limit
        total = sum(of(record) for url in urls for record in records(url))
    except (OSError, SchemaError, ValueError):
        return limit
    return total if limit is None else min(total, limit)
