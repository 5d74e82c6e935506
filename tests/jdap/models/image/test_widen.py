"""What a widened network answers before it has learnt anything: what the plain one did."""

import pytest
import torch
from networks import SHAPE, C, latents, timesteps

from jdap.models.image.build import unet
from jdap.models.image.widen import from_unet, narrow, widen


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return unet(C, **SHAPE).eval()


@torch.no_grad()
def test_the_references_latents_change_nothing_at_first(plain):
    """diffusers' own forward of both, with 3·C channels in; any reference, any timestep of depth."""
    rgb, _, ref = latents()
    t, t_depth = timesteps()
    wide, nothing = widen(plain), torch.zeros(2, 1, 64)
    assert wide.config["in_channels"] == 3 * C
    original = plain(rgb, t, nothing).sample
    for seen in (torch.zeros_like(ref), 5 * ref):
        condition = wide.time_proj(t_depth)
        answer = wide(torch.cat([rgb, rgb, seen], dim=1), t, nothing, timestep_cond=condition).sample
        for half in answer.chunk(2, dim=1):
            torch.testing.assert_close(half, original, atol=1e-5, rtol=1e-5)
    # … and they can learn to
    with torch.enable_grad():
        wide(torch.cat([rgb, rgb, ref], dim=1), t, nothing, timestep_cond=condition).sample.sum().backward()
    assert wide.conv_in.weight.grad[:, 2 * C :].abs().sum() > 0


@torch.no_grad()
def test_the_pair_without_a_reference_is_the_plain_network(plain):
    rgb, _, ref = latents()
    t, t_depth = timesteps()
    joint, reference = from_unet(plain)
    original = plain(rgb, t, torch.zeros(2, 1, 64)).sample
    known = joint.project_reference(reference(ref))
    for how in ({}, {"reference": known, "keep_reference_R": torch.tensor([False, False])}):
        for half in joint(rgb, rgb, t, t_depth, **how):
            torch.testing.assert_close(half, original, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(joint(rgb, rgb, t, t_depth, known)[0], original, atol=1e-3)


@torch.no_grad()
def test_networks_that_see_no_latents_of_references_have_two_halves(plain):
    joint, _ = from_unet(plain, sees_reference=False)
    assert joint.unet.config["in_channels"] == 2 * C
    assert not joint.sees_reference
    rgb, _, _ = latents()
    t, t_depth = timesteps()
    original = plain(rgb, t, torch.zeros(2, 1, 64)).sample
    torch.testing.assert_close(joint(rgb, rgb, t, t_depth)[1], original, atol=1e-5, rtol=1e-5)


def test_the_rgb_half_has_neither_the_depths_nor_the_references_channels(plain):
    half = narrow(from_unet(plain)[0])
    assert half.config["in_channels"] == half.config["out_channels"] == C
    assert torch.equal(half.conv_in.weight, plain.conv_in.weight / 2)
    assert torch.equal(half.conv_out.weight, plain.conv_out.weight)
