import pytest
import torch

from jdap.models.attend import FEW_KEYS, attend


def written_out(q, k, v, mask=None):
    """Attention as the equation has it, in double precision."""
    score = torch.einsum("bhnd,bhmd->bhnm", q.double(), k.double()) / q.shape[-1] ** 0.5
    if mask is not None:
        score = torch.where(mask, score, -torch.inf)
    return torch.einsum("bhnm,bhmd->bhnd", torch.softmax(score, -1), v.double())


@pytest.mark.parametrize("keys", [1, FEW_KEYS, FEW_KEYS + 1, 100])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_is_attention_however_many_keys(keys, masked, dtype, tolerance):
    draw = torch.Generator().manual_seed(keys)
    shapes = (2, 3, 5, 8), (2, 3, keys, 8), (2, 3, keys, 8)
    q, k, v = (torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes)
    mask = None
    if masked:
        mask = torch.rand(2, 1, 1, keys, generator=draw) < 0.5
        mask[..., 0] = True
    found = attend(q, k, v, mask)
    assert found.dtype == dtype
    wanted = written_out(q, k, v, mask)
    assert torch.allclose(found.double(), wanted, atol=tolerance)
    pull = torch.randn(found.shape, generator=draw, dtype=torch.float64)
    ours = torch.autograd.grad((found.double() * pull).sum(), (q, k, v))
    theirs = torch.autograd.grad((wanted * pull).sum(), (q, k, v))
    for x, y in zip(ours, theirs, strict=True):
        assert torch.allclose(x.double(), y.double(), atol=5 * tolerance, rtol=5 * tolerance)


@pytest.mark.parametrize("keys", [FEW_KEYS, FEW_KEYS + 1])
def test_mixed_precision_keeps_its_type_and_many_keys_are_seen_in_float32(keys):
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8, generator=draw).bfloat16() for n in (4, keys, keys))
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(q, k, v)
    assert found.dtype == torch.bfloat16
    error = (found.double() - written_out(q, k, v)).abs().max()
    assert error < (2**-8 if keys > FEW_KEYS else 2**-5)
