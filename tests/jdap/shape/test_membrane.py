"""The membrane between what is known."""

import pytest
import torch

from jdap.shape.membrane import membrane, relaxed


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


@pytest.mark.parametrize("size", [(33, 21), (1, 7)])
def test_compiled_loops_give_the_same_bits(size):
    """Also where what is not known reaches the picture's edge."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(0)
    values, known = torch.rand(2, *size, generator=generator), torch.rand(size, generator=generator) > 0.8
    plain, fast = (relaxed(values, known, 25, by_numba=by_numba) for by_numba in (False, True))
    assert torch.equal(plain, fast)
    assert not torch.equal(plain, values)


def test_gradients_pass_a_membrane():
    values = torch.rand(1, 12, 12, requires_grad=True)
    known = torch.zeros(12, 12, dtype=torch.bool)
    known[3, 4] = True
    membrane(values * known, known).sum().backward()
    assert values.grad is not None
    assert values.grad[0, 3, 4] > 1
