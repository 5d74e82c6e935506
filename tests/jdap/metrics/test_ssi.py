"""The scale-and-shift-invariant loss, against NumPy's least squares, loops over pairs, and finite differences."""

import numpy as np
import pytest
import torch

from jdap.metrics import ssi
from jdap.metrics.ssi import ssi_loss


def pictures(batch=3, size=12, seed=0):
    rng = np.random.default_rng(seed)
    p, d = rng.normal(size=(2, batch, 1, size, size))
    return (torch.from_numpy(x) for x in (p, d, rng.random((batch, 1, size, size)) < 0.8, rng.random(p.shape)))


def reference(p, d, mask, c, power, gradient, scales):
    """The formula of the docstring, a picture and a pair at a time."""
    losses = []
    for p1, d1, m1, c1 in zip(*(x[:, 0].numpy() for x in (p, d, mask, c)), strict=True):
        root = np.sqrt(c1[m1])
        a = np.stack([p1[m1], np.ones(m1.sum())], 1) * root[:, None]
        (s, t), *_ = np.linalg.lstsq(a, d1[m1] * root, rcond=None)
        r = s * p1 + t - d1
        loss = (c1 * np.abs(r) ** power)[m1].sum() / m1.sum()
        for k in range(scales):
            rk, ck, mk = (x[:: 2**k, :: 2**k] for x in (r, c1, m1))
            terms = []
            for i, j in np.ndindex(rk.shape):
                for i2, j2 in ((i + 1, j), (i, j + 1)):
                    if i2 < len(rk) and j2 < rk.shape[1] and mk[i, j] and mk[i2, j2]:
                        terms.append(min(ck[i, j], ck[i2, j2]) * abs(rk[i, j] - rk[i2, j2]))
            loss += gradient * np.mean(terms)
        losses.append(loss)
    return losses


@pytest.mark.parametrize(("power", "gradient", "scales"), [(1, 0.5, 3), (2, 0.25, 1), (2, 0.0, 4)])
def test_it_is_what_least_squares_and_loops_give(power, gradient, scales):
    p, d, mask, c = pictures()
    loss_B, has_B = ssi_loss(p, d, mask, c, power=power, gradient=gradient, scales=scales)
    assert has_B.all()
    assert loss_B.tolist() == pytest.approx(reference(p, d, mask, c, power, gradient, scales), rel=1e-9)


def test_without_confidence_every_pixel_is_trusted():
    p, d, mask, _ = pictures()
    ones = torch.ones_like(p)
    assert torch.equal(ssi_loss(p, d, mask)[0], ssi_loss(p, d, mask, ones)[0])
    half = ssi_loss(p, d, mask, 0.5 * ones)[0]
    assert torch.allclose(half, 0.5 * ssi_loss(p, d, mask)[0])  # confidence is not divided out


@pytest.mark.parametrize("power", [1, 2])
def test_its_gradient_is_that_of_finite_differences(power):
    p, d, mask, c = pictures(batch=2, size=8)
    assert torch.autograd.gradcheck(
        lambda x: ssi_loss(x, d, mask, c, power=power)[0], (p.requires_grad_(),), eps=1e-7, atol=1e-5
    )


def test_scale_and_shift_of_the_prediction_do_not_matter():
    p, d, mask, c = pictures()
    loss_B = ssi_loss(p, d, mask, c)[0]
    assert torch.allclose(ssi_loss(0.01 * p - 7, d, mask, c)[0], loss_B)
    assert ssi_loss(3 * d + 1, d, mask, c)[0].tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_what_lies_outside_of_the_mask_has_no_influence():
    p, d, mask, c = pictures()
    loss_B = ssi_loss(p, d, mask, c)[0]
    torn, spoilt = (torch.where(mask, x, float("nan")) for x in (p, d))
    torn.requires_grad_()
    again = ssi_loss(torn, spoilt, mask, c)[0]
    assert torch.equal(again.detach(), loss_B)
    again.sum().backward()
    assert torn.grad.isfinite().all()
    assert (torn.grad[~mask] == 0).all()
    assert torn.grad[mask].abs().min() > 0


def test_pictures_that_cannot_teach_leave_the_others_alone():
    """Too few pixels, none at all, no trust, a constant prediction: no NaN in the loss or in any gradient."""
    p, d, mask, c = pictures(batch=5)
    mask[0].flatten()[:] = torch.arange(144) < ssi.MIN_PIXELS - 1
    mask[1] = False
    c[2] = 0
    p[3] = 0.25
    p.requires_grad_()
    loss_B, has_B = ssi_loss(p, d, mask, c)
    assert has_B.tolist() == [False, False, True, True, True]
    assert loss_B[:3].tolist() == [0, 0, 0]
    loss_B.sum().backward()
    assert p.grad.isfinite().all()
    assert (p.grad[:3] == 0).all()
    # a constant is aligned to the mean: what is left is the target's own spread
    constant = reference(torch.zeros_like(d[3:4]), d[3:4], mask[3:4], c[3:4], 1, 0.5, 4)
    assert loss_B[3].item() == pytest.approx(constant[0])
    alone = ssi_loss(p[4:].detach(), d[4:], mask[4:], c[4:])[0]
    assert torch.equal(loss_B[4:].detach(), alone)


def test_half_precision_is_computed_in_double():
    p, d, mask, c = pictures()
    low = p.bfloat16()
    assert torch.equal(ssi_loss(low, d, mask, c)[0], ssi_loss(low.double(), d, mask, c)[0])


def test_what_cannot_be_a_loss_is_refused():
    p, d, mask, _ = pictures()
    with pytest.raises(ValueError, match="power must be 1 or 2"):
        ssi_loss(p, d, mask, power=3)
    with pytest.raises(ValueError, match="one shape"):
        ssi_loss(p, d, mask[:, :, 1:])
