"""Where a reader is in its endless stream, in few numbers, so that another run can go on from there.

A reader walks through each source in turns, and mixes what it draws in blocks: ``shuffle`` pairs, or what is left of
the turn, in an order that (seed, reader, first pair of the block) decide. So its place is the first pair of the block,
and how many of the block were given out. To come back to it, it reads the block again and nothing before it but the
beginning of the block's shard, and decodes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, fields
from typing import Protocol, TypeVar


@dataclass
class StreamPosition:
    """A place in one source: the first pair of a block, and the pairs of it that were given out.

    ``turn``; ``shard`` of the reader's shards in that turn; ``sample`` of that shard, ``index`` of the turn; ``pair``
    of the sample; ``everything``: the turn reads all shards, be they other readers' or not.
    """

    turn: int = 0
    shard: int = 0
    sample: int = 0
    index: int = 0
    pair: int = 0
    everything: int = 0
    given: int = 0

    def before(self, turn: int, shard: int, sample: int) -> bool:
        """Whether this sample was left behind."""
        return (turn, shard, sample) < (self.turn, self.shard, self.sample)


@dataclass
class Progress:
    """Where a reader is in all of its sources; its processors keep it up to date.

    ``drawn`` counts the examples that were drawn of named sources. A source whose first example lies ready and was not
    drawn yet is ``held`` at its start.
    """

    drawn: int = 0
    places: dict[str, StreamPosition] = field(default_factory=dict)
    held: dict[str, StreamPosition] = field(default_factory=dict)

    def row(self) -> list[int]:
        """All of it as integers, in the order of the sources."""
        return [self.drawn, *(n for name, place in self.places.items() for n in astuple(self.held.get(name, place)))]

    @classmethod
    def of(cls, sources: Iterable[str], row: list[int] | None = None) -> Progress:
        """The inverse of :meth:`row`; without a row: the start."""
        sources, size = list(sources), len(fields(StreamPosition))
        row = row or [0] * (1 + size * len(sources))
        return cls(
            row[0], {name: StreamPosition(*row[1 + i * size : 1 + (i + 1) * size]) for i, name in enumerate(sources)}
        )


class Placed(Protocol):
    """What knows its place."""

    @property
    def place(self) -> StreamPosition:
        """Where it was read."""


T = TypeVar("T", bound=Placed)


def shuffled(drawn: Iterable[T], size: int, seed: str, place: StreamPosition) -> Iterator[T]:
    """The endless ``drawn`` in blocks of ``size`` at most, each of one turn; ``place`` is where it starts and then is.

    One more is read for each that is given out, so a block is ready when the one before it is used up.
    """
    reading, skip = _blocks(drawn, max(1, size)), place.given
    block = _next_block(reading)
    while block:
        first = block[0].place
        random.Random(f"{seed} {first.turn} {first.shard} {first.sample} {first.pair}").shuffle(block)
        for name, value in vars(first).items():
            setattr(place, name, value)
        ahead = None
        for given, one in enumerate(block, 1):
            place.given = given
            if given > skip:
                ahead = ahead or next(reading, None)
                yield one
        block, skip = ahead or _next_block(reading), 0


def _blocks(drawn: Iterable[T], size: int) -> Iterator[list[T] | None]:
    """A block when it is complete, and None for each that was read before that."""
    block: list[T] = []
    for one in drawn:
        if block and (len(block) == size or one.place.turn != block[0].place.turn):
            yield block
            block = []
        else:
            yield None
        block.append(one)
    yield block


def _next_block(reading: Iterator[list[T] | None]) -> list[T] | None:
    return next((block for block in reading if block is not None), None)
