"""Drawn shots: cuts are found where they are, and moving things are no cuts."""

import numpy as np

from data_prep.video.shots import ShotFrame, find_cuts


def shot(seed: int, frames: int, speed: float = 1.0) -> list[np.ndarray]:
    """A coloured pattern that glides past."""
    rng = np.random.default_rng(seed)
    phases, colour = rng.uniform(0, 6, 3), rng.uniform(40, 200, 3)
    v, u = np.mgrid[:90, :160] / 20
    pattern = [np.sin(u + speed * k / 10 + phases[0]) * np.cos(v + phases[1]) for k in range(frames)]
    return [(colour + 40 * p[..., None]).clip(0, 255).astype(np.uint8) for p in pattern]


def test_cuts_are_where_shots_begin_and_nowhere_else() -> None:
    shots = [shot(1, 12), shot(2, 9), shot(3, 20, speed=4)]
    frames = [frame for one in shots for frame in one]
    found: list[ShotFrame] = list(find_cuts(frames))
    assert [k for k, one in enumerate(found) if one.cut] == [12, 21]
    assert len(found) == len(frames)
    assert all(one.rgb_HW3 is frame for one, frame in zip(found, frames, strict=True))
    assert all(one.margin <= 0 for one in found if one.cut)
    assert min(one.margin for one in found if not one.cut) > 0.3


def test_cuts_at_the_ends_are_found() -> None:
    frames = [*shot(1, 1), *shot(2, 10), *shot(5, 1)]
    assert [k for k, one in enumerate(find_cuts(frames)) if one.cut] == [1, 11]


def test_frames_are_not_held() -> None:
    given = 0

    def frames():
        nonlocal given
        for frame in shot(1, 30):
            given += 1
            yield frame

    for k, _ in enumerate(find_cuts(frames())):
        assert given - k <= 3
    assert given == 30
    assert list(find_cuts([])) == []
    assert [one.cut for one in find_cuts(shot(1, 1))] == [False]
