"""Muon against torch's, which takes matrices alone; AdamW for what is none."""

import pytest
import torch

from jdap.stages.parts.muon import Muon, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (12, 300), (300, 12), (40, 60)])
def test_it_is_u_vt_within_the_quintics_bounds(shape: tuple[int, int]) -> None:
    u, _, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    x = u @ torch.diag(torch.linspace(1, 3, min(shape))) @ vh
    found = u.mT @ orthogonal(x) @ vh.mT
    assert (found.diagonal() > 0.5).all()
    assert (found.diagonal() < 1.25).all()
    assert (found - found.diagonal().diag()).abs().max() < 1e-4


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
@pytest.mark.parametrize("shape", [(24, 20), (12, 128)])
def test_torchs_steps(shape: tuple[int, int]) -> None:
    """Theirs orthogonalises in bfloat16."""
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    first = Muon([ours], lr=1e-2, weight_decay=0.1)
    second = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
    moved = (theirs - 1).norm()
    assert (ours - theirs).norm() < 0.03 * moved


def test_a_convolution_is_the_matrix_of_its_output_channels() -> None:
    kernel, matrix = torch.nn.Parameter(torch.ones(10, 4, 3, 3)), torch.nn.Parameter(torch.ones(10, 36))
    kernel.grad = torch.randn(10, 4, 3, 3)
    matrix.grad = kernel.grad.reshape(10, 36).clone()
    for p in (kernel, matrix):
        Muon([p]).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_what_is_no_hidden_matrix_gets_adamw() -> None:
    shapes = [(7,), (3, 50), (50, 8), (3, 16, 3, 3)]
    ours = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    rates = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}
    first, second = Muon(ours, **rates), torch.optim.AdamW(theirs, **rates)
    assert not any(is_matrix(p) for p in ours)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        first.step()
        second.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_it_goes_on_from_its_state() -> None:
    def steps(count: int, p: torch.nn.Parameter, made: Muon, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        for _ in range(count):
            p.grad = torch.randn(p.shape, generator=draws)
            made.step()

    whole, part = (torch.nn.Parameter(torch.ones(16, 12)) for _ in range(2))
    first, second = Muon([whole]), Muon([part])
    steps(3, whole, first, 1)
    steps(3, part, second, 1)
    again = torch.nn.Parameter(part.detach().clone())
    third = Muon([again])
    third.load_state_dict(second.state_dict())
    steps(3, whole, first, 2)
    steps(3, again, third, 2)
    assert torch.equal(whole, again)
