"""Finds clips that look and move alike among very many, without comparing each with each.

A clip's pictures are known by hashes of 64 bits. If two hashes differ in at most 7 bits, then one of their four parts
of 16 bits differs in at most one bit: it is enough to look where such a part lies. Of the three pictures of a clip the
one is taken whose parts are the rarest, for dark first frames are many.

Shapes: P = 3 pictures, M numbers of motion.
"""

from __future__ import annotations

from array import array

import numpy as np

#: Parts of a hash, each of 16 bits: what differs in fewer than two bits a part has one with at most one.
HASH_PARTS = 4
MOST_BITS = 2 * HASH_PARTS - 1
_NEAR = np.array([0, *(1 << bit for bit in range(16))], np.uint16)


class Alike:
    """Clips in the order in which they were added, by number; ``bits``, ``correlation``: what counts as alike.

    Raises ValueError where ``bits`` is more than :data:`MOST_BITS`, of which pairs would be missed.
    """

    def __init__(self, bits: int, correlation: float) -> None:
        if bits > MOST_BITS:
            raise ValueError(f"at most {MOST_BITS} bits may differ, got {bits}")
        self._bits, self._correlation = bits, correlation
        self._hashes, self._motions, self._count = np.zeros((0, 0), np.uint64), np.zeros((0, 0)), 0
        self._places: dict[tuple[int, int, int], array[int]] = {}
        #: How many clips were looked at, for tests.
        self.compared = 0

    def first(self, hashes_P: np.ndarray, motion_M: np.ndarray) -> int | None:
        """The first clip whose pictures (P,) uint64 all differ in few bits, and whose motion (M,) goes the same way."""
        if not self._count:
            return None
        near = min((self._near(k, part) for k, part in enumerate(_parts(hashes_P))), key=lambda found: found[0])
        some = np.unique(np.concatenate([np.frombuffer(place, np.uint32) for place in near[1]] or [np.zeros(0, int)]))
        self.compared += len(some)
        some = some[(np.bitwise_count(self._hashes[some] ^ hashes_P) <= self._bits).all(1)]
        some = some[self._motions[some] @ (motion_M / np.linalg.norm(motion_M)) >= self._correlation]
        return int(some[0]) if len(some) else None

    def add(self, hashes_P: np.ndarray, motion_M: np.ndarray) -> None:
        """Add a clip; its number is how many there were before."""
        if self._count == len(self._hashes):
            room = max(2 * self._count, 16)
            hashes, motions = np.zeros((room, len(hashes_P)), np.uint64), np.zeros((room, len(motion_M)))
            if self._count:
                hashes[: self._count], motions[: self._count] = self._hashes, self._motions
            self._hashes, self._motions = hashes, motions
        self._hashes[self._count] = hashes_P
        self._motions[self._count] = motion_M / np.linalg.norm(motion_M)
        for picture, parts in enumerate(_parts(hashes_P)):
            for part, value in enumerate(parts.tolist()):
                self._places.setdefault((picture, part, value), array("I")).append(self._count)
        self._count += 1

    def _near(self, picture: int, parts: np.ndarray) -> tuple[int, list[array[int]]]:
        """How many clips share almost a part of this picture, and where they stand."""
        found = [
            place
            for part, value in enumerate(parts)
            for near in (value ^ _NEAR).tolist()
            if (place := self._places.get((picture, part, near))) is not None
        ]
        return sum(map(len, found)), found


def _parts(hashes_P: np.ndarray) -> np.ndarray:
    """(P, PARTS) uint16."""
    return np.ascontiguousarray(hashes_P).view(np.uint16).reshape(len(hashes_P), HASH_PARTS)
