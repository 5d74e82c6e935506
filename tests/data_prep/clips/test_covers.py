"""What lies before a face for some of the time is seen, whatever its colour."""

import numpy as np
import pytest

from data_prep.clips.covers import SIDE, covered, face_look, head_turns

FRAMES = 80


def looks(rng: np.random.Generator, faces: int = 1) -> np.ndarray:
    """(FRAMES, S, S) uint8: faces of coarse noise, one after the other, with fine noise and changing light."""
    kinds = [np.kron(rng.uniform(60, 200, (16, 16)), np.ones((4, 4))) for _ in range(faces)]
    shown = np.stack([kinds[k * faces // FRAMES] for k in range(FRAMES)])
    light = 1 + 0.2 * np.sin(np.arange(FRAMES) / 7)[:, None, None]
    return (shown * light + rng.normal(0, 3, shown.shape)).clip(0, 255).astype(np.uint8)


def points(yaw: np.ndarray) -> np.ndarray:
    """(FRAMES, 478, 3): cheeks, forehead and chin of a head turned so."""
    found = np.zeros((FRAMES, 478, 3), np.float32)
    found[:, 454] = 50 * np.stack([np.cos(yaw), 0 * yaw, np.sin(yaw)], 1)
    found[:, 234] = -found[:, 454]
    found[:, 152, 1], found[:, 10, 1] = 60, -60
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("grey", [90, 130])
def test_a_flat_hand_is_seen_while_it_is_there(rng: np.random.Generator, grey: int) -> None:
    shown = looks(rng)
    shown[30:50, 16:56, 8:56] = grey + rng.normal(0, 2, (20, 40, 48))
    score = covered(shown, points(np.zeros(FRAMES)), np.ones(FRAMES))
    there = np.zeros(FRAMES, bool)
    there[30:50] = True
    assert score[there].min() > 0.5
    assert score[~there].max() < 0.05


def test_other_light_is_no_cover(rng: np.random.Generator) -> None:
    assert covered(looks(rng), points(np.zeros(FRAMES)), np.ones(FRAMES)).max() < 0.05


def test_a_head_that_turns_is_compared_with_itself_turned_so(rng: np.random.Generator) -> None:
    shown = looks(rng, faces=4)
    turning = points(np.repeat([-0.5, -0.2, 0.2, 0.5], FRAMES // 4))
    assert covered(shown, turning, np.ones(FRAMES)).max() < 0.05
    assert np.nanmax(covered(shown, points(np.zeros(FRAMES)), np.ones(FRAMES))) > 0.5
    assert np.allclose(head_turns(turning)[:, 0], np.sin(np.repeat([-0.5, -0.2, 0.2, 0.5], FRAMES // 4)), atol=1e-6)


def test_where_no_face_was_found_nothing_is_said(rng: np.random.Generator) -> None:
    found = np.ones(FRAMES)
    found[10:12] = 0
    score = covered(looks(rng), points(np.zeros(FRAMES)), found)
    assert np.isnan(score[10:12]).all()
    assert np.isfinite(np.delete(score, [10, 11])).all()
    one = covered(looks(rng)[:1], points(np.zeros(FRAMES))[:1], np.ones(1))
    assert one.tolist() == [0]


def test_a_look_is_upright_and_fills_the_picture() -> None:
    v, u = np.mgrid[:200, :200]
    picture = np.repeat(v[..., None], 3, 2).astype(np.uint8)
    face = np.zeros((478, 2))
    face[33], face[263] = (70, 100), (130, 100)
    look = face_look(picture, face)
    assert look.shape == (SIDE, SIDE)
    assert look[0, 0] == pytest.approx(100 - 0.7 * 60, abs=1)
    assert look[-1, 0] == pytest.approx(100 + 1.3 * 60, abs=1)
    face[33], face[263] = (100, 70), (100, 130)  # lies on its side
    assert face_look(u.astype(np.uint8)[..., None].repeat(3, 2), face)[-1, 0] == pytest.approx(100 - 1.3 * 60, abs=1)
