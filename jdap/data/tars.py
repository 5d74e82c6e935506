"""The samples of many shards, one after another, and what happens where one cannot be read."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from jdap.data.position import StreamPosition
from jdap.shards.reader import read_tar
from jdap.shards.schema import SchemaError
from jdap.shards.urls import ShardError

RawSample = dict[str, Any]
GIVE_UP_AFTER = 100
_log = logging.getLogger(__name__)


@dataclass
class BadSamplePolicy:
    """What happens to a bad shard or sample: an error when ``strict``, else one warning a shard, and counting."""

    strict: bool
    told: set[str] = field(default_factory=set)
    in_a_row: int = 0
    good: int = 0

    def pass_good(self) -> None:
        """Count something usable."""
        self.good += 1
        self.in_a_row = 0

    def bad(self, url: str, error: Exception, key: str = "") -> None:
        """Raise or log ``error``, met in the shard ``url`` and its sample ``key``."""
        # webdataset appends what it knows to an exception's args; the message is the first.
        what = str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])
        reason = f"{url}: {f'sample {key}: ' if key else ''}{' '.join(what.split()) or type(error).__name__}"
        if self.strict:
            raise ShardError(f"{reason}; `python -m data_prep verify` tells what else is wrong") from error
        if url not in self.told:
            self.told.add(url)
            _log.warning("skipped in training: %s", reason)
        self.in_a_row += 1
        if self.in_a_row >= GIVE_UP_AFTER:
            raise ShardError(f"{self.in_a_row} shards or samples in a row could not be read, the last: {reason}")


def read_tars(
    shards: Iterable[RawSample], faults: BadSamplePolicy, keep_bytes: int = 0, start: StreamPosition | None = None
) -> Iterator[RawSample]:
    """Samples of each shard: members' bytes by name, ``__key__``, ``__url__``, the shard's ``of``, and their ``place``.

    Samples before ``start`` are left out. Whole shards stay in memory up to ``keep_bytes`` and are not read again in
    later turns: to walk through a tar of small members costs more than to decode the few that are drawn.
    """
    kept: dict[str, list[RawSample]] = {}
    # a copy: the place goes on while this reads ahead
    start, turn, index = replace(start or StreamPosition()), -1, 0
    for shard in shards:
        url, count, size, here = shard["url"], 0, 0, list[RawSample]()
        place = StreamPosition(shard["turn"], shard["shard"], everything=shard["everything"])
        if place.turn != turn:
            index = start.index - start.sample if place.turn == start.turn else 0
            turn = place.turn
        try:
            for sample in kept.get(url) or samples_of(url):
                count, index = count + 1, index + 1
                size += sum(map(len, sample.values()))
                if url not in kept and size <= keep_bytes:
                    here.append(sample)
                if not start.before(place.turn, place.shard, count - 1):
                    yield sample | {"of": shard["of"], "place": replace(place, sample=count - 1, index=index - 1)}
            if not count:
                raise SchemaError("holds no sample")
            if url not in kept and size <= keep_bytes:
                kept[url] = here
                keep_bytes -= size
        except (OSError, EOFError, ImportError, ValueError, tarfile.TarError) as error:
            faults.bad(url, error)


def samples_of(url: str) -> Iterator[RawSample]:
    """The samples of one shard: members' bytes by name, ``__key__``, ``__url__``. Raises what :func:`read_tar` does."""
    for key, members in read_tar(url):
        yield {**members, "__key__": key, "__url__": url}
