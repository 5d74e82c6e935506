"""Clips that are alike are found among many as they would be by comparing each with each, in far fewer looks."""

import numpy as np
import pytest

from data_prep.clips.alike import MOST_BITS, Alike
from data_prep.clips.quality import SAME_MOTION, SAME_PICTURE_BITS

MOTION = 64


def draw(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (N, 3) and motions (N, 64); the second half nearly repeats the first, by 0 to 9 bits a picture."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 64, (count, 3), np.uint64)
    motions = rng.normal(0, 1, (count, MOTION))
    half = count // 2
    for k in range(half, count):
        hashes[k] = hashes[k - half]
        for picture in range(3):
            for bit in rng.choice(64, rng.integers(0, 10), replace=False):
                hashes[k, picture] ^= np.uint64(1) << np.uint64(bit)
        motions[k] = motions[k - half] + rng.normal(0, rng.uniform(0, 1), MOTION)
    return hashes, motions


def test_the_same_are_found_as_by_comparing_each_with_each() -> None:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    hashes, motions = draw(400)
    alike, firsts, found = Alike(SAME_PICTURE_BITS, SAME_MOTION), list[int](), 0
    for k in range(len(hashes)):
        near = [
            j
            for j in firsts
            if max(int(a ^ b).bit_count() for a, b in zip(hashes[j], hashes[k], strict=True)) <= SAME_PICTURE_BITS
        ]
        expected = next((j for j in near if cosine(motions[j], motions[k]) >= SAME_MOTION), None)
        got = alike.first(hashes[k], motions[k])
        assert (None if got is None else firsts[got]) == expected
        if got is None:
            alike.add(hashes[k], motions[k])
            firsts.append(k)
        else:
            found += 1
    assert 20 < found < 180  # some of the repetitions are, some are not


def test_many_clips_take_few_looks() -> None:
    """Of clips of one length, as segments of long videos are; some begin with the same black picture."""
    counts = (2000, 8000)
    looks = []
    for count in counts:
        rng = np.random.default_rng(1)
        hashes = rng.integers(0, 1 << 64, (count, 3), np.uint64)
        hashes[: count // 4, 0] = 0
        motions = rng.normal(0, 1, (count, MOTION))
        alike = Alike(SAME_PICTURE_BITS, SAME_MOTION)
        for one, motion in zip(hashes, motions, strict=True):
            assert alike.first(one, motion) is None
            alike.add(one, motion)
        looks.append(alike.compared / (count * (count - 1) / 2))
    assert max(looks) < 0.002  # of all pairs


def test_what_cannot_be_found_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 7"):
        Alike(MOST_BITS + 1, 0.8)
