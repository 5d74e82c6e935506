"""The membrane between what is known."""

import torch

from jdap.shape.membrane import membrane


def test_a_membrane_between_straight_edges_is_a_plane():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    plane = torch.stack([x, 2 * y - x])
    known = torch.ones(40, 40, dtype=torch.bool)
    known[8:32, 10:30] = False
    made = membrane(plane * known, known)
    torch.testing.assert_close(made, plane, atol=0.15, rtol=0)
    assert torch.equal(made[:, known], plane[:, known])


def test_a_membrane_stays_within_what_is_known():
    values = torch.rand(1, 33, 21)
    known = torch.rand(33, 21) > 0.9
    made = membrane(values * known, known)
    assert made.min() >= values[:, known].min() - 1e-6
    assert made.max() <= values[:, known].max() + 1e-6
