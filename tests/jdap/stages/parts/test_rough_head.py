"""Rough heads are between the mean head and the truth, and lean."""

import torch

from jdap.depth import NO_DEPTH
from jdap.stages.parts import rough_head
from jdap.stages.parts.rough_head import rough_heads

S = 48


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def faces(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A nose on a slope, the same head with a flat nose, and where skin is: a disc inside of both."""
    at = torch.linspace(-1, 1, S)
    v, u = at[:, None], at[None]
    head = (u**2 + v**2) < 0.8
    slope = 900 + 60 * (u**2 + v**2)
    nose = 25 * torch.exp(-(u**2 + v**2) / 0.04)
    truth, mean = slope - nose, slope - 0.2 * nose
    skin = (u**2 + v**2) < 0.5
    every = [(x * head)[None, None].expand(count, 1, S, S).clone() for x in (truth, mean)]
    return every[0], every[1], skin[None, None].expand(count, 1, S, S).clone()


def test_they_lie_between_the_mean_head_and_the_truth(monkeypatch):
    monkeypatch.setattr(rough_head, "TILT_UP", 0.0)
    monkeypatch.setattr(rough_head, "TILT_ACROSS", 0.0)
    truth, mean, skin = faces(40)
    made = rough_heads(truth, mean, skin, generators(40))
    there = made[(made < NO_DEPTH).flatten(1).any(1)]
    # how far the tip of the nose stands out of the face beside it, in one frame
    middle, beside = S // 2, S // 2 + 9
    out = (there[:, 0, middle, beside] - there[:, 0, middle, middle]).sort().values
    flat = rough_heads(mean, mean, skin, generators(1, 1))[0, 0]
    sharp = rough_heads(truth, truth, skin, generators(1, 1))[0, 0]
    least, most = (float(x[middle, beside] - x[middle, middle]) for x in (flat, sharp))
    assert least < out[0] < least + 0.6 * (most - least)
    assert most + 0.02 > out[-1] > least + 0.8 * (most - least)


def test_a_picture_without_skin_has_none_and_others_have():
    truth, mean, skin = faces(20)
    skin[3] = False
    made = rough_heads(truth, mean, skin, generators(20))
    none = (made == NO_DEPTH).flatten(1).all(1)
    assert none.nonzero()[:, 0].tolist() == [3]
    assert made.min() >= -1
    assert made.max() <= 1


def test_what_is_drawn_is_the_generators():
    truth, mean, skin = faces(6)
    one, two, other = (rough_heads(truth, mean, skin, generators(6, first)) for first in (0, 0, 100))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    alone = rough_heads(truth[2:3], mean[2:3], skin[2:3], generators(6)[2:3])
    torch.testing.assert_close(alone, one[2:3])


def test_they_lean(monkeypatch):
    truth, mean, skin = faces(60)
    made = rough_heads(truth, mean, skin, generators(60))[:, 0]
    lean = made[:, S // 2 - 14, S // 2] - made[:, S // 2 + 14, S // 2]
    assert abs(float(lean.mean())) < 0.2  # either way
    assert 0.1 < float(lean.std()) < 0.6
