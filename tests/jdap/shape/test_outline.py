"""Normals that are carried on to the outline, on a ball whose middle is known."""

import torch
from shapes import sphere

from jdap.shape.outline import carry_on


def test_the_rest_of_a_ball() -> None:
    depth_mm, normals = sphere()
    person = (depth_mm > 0).float()
    known = (normals[:, 2:] < -0.8) & (depth_mm > 0)
    made = carry_on(normals * known, known, person)
    assert torch.equal(made[:, :, known[0, 0]], normals[:, :, known[0, 0]])
    assert not made[:, :, person[0, 0] == 0].any()
    rest = (person > 0) & ~known
    off = torch.rad2deg((made * normals).sum(1, keepdim=True).clamp(-1, 1).acos())[rest]
    assert off.mean() < 8
    torch.testing.assert_close(made.norm(dim=1, keepdim=True)[rest], torch.ones(int(rest.sum())))


def test_where_the_picture_ends_is_no_outline() -> None:
    person = torch.zeros(1, 1, 32, 32)
    person[..., 10:] = 1  # it goes on to the right, above and below
    known = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    known[..., 16, 24] = True
    ahead = torch.tensor([0.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 32, 32)
    made = carry_on(ahead * known, known, person)
    assert (made[0, 0, :, 10] < -0.9).all()
    assert made[0, 2, 16, 31] < -0.5


def test_nothing_known_and_nobody_there_is_nothing() -> None:
    nobody = torch.zeros(2, 1, 16, 16)
    assert not carry_on(torch.zeros(2, 3, 16, 16), nobody > 0, nobody).any()
