import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from networks import SHAPE, latents, networks

from jdap.models.image.build import BUILDERS, build, unet
from jdap.models.image.joint_unet import JointUNet, zero_depth_timestep


@torch.no_grad()
def test_without_a_reference_it_is_diffusers_own_network():
    joint, _ = networks()
    rgb, depth, _ = latents()
    t = torch.tensor([3, 700])
    plain = UNet2DConditionModel.from_config(joint.unet.config)
    plain.load_state_dict(joint.unet.state_dict())

    def theirs(tokens):
        condition = plain.time_proj(t.flip(0))
        return plain(torch.cat([rgb, depth], 1), t, tokens, timestep_cond=condition).sample

    ours = torch.cat(joint(rgb, depth, t, t.flip(0)), dim=1)
    torch.testing.assert_close(ours, theirs(torch.zeros(2, 1, 64)), atol=1e-5, rtol=1e-5)
    tokens = torch.randn(2, 5, 64)
    told = torch.cat(joint(rgb, depth, t, t.flip(0), tokens_BLD=tokens), dim=1)
    torch.testing.assert_close(told, theirs(tokens), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(told, ours, atol=1e-3)


@torch.no_grad()
def test_a_fresh_network_ignores_the_depth_timestep_and_a_trained_one_does_not():
    joint, _ = networks()
    rgb, depth, _ = latents()
    t, other = torch.tensor([3, 700]), torch.tensor([500, 0])
    assert not torch.allclose(joint(rgb, depth, t, t)[0], joint(rgb, depth, t, other)[0], atol=1e-4)
    zero_depth_timestep(joint.unet)
    assert torch.equal(joint(rgb, depth, t, t)[0], joint(rgb, depth, t, other)[0])


def test_a_unet_of_another_form_is_refused():
    with pytest.raises(ValueError, match="2·C channels in"):
        JointUNet(unet(3, depth_timestep=True, **SHAPE))
    with pytest.raises(ValueError, match="time_cond_proj_dim"):
        JointUNet(unet(6, depth_timestep=False, **SHAPE))


def test_builders_go_by_name_and_take_c_from_the_codec():
    for name in BUILDERS:
        joint, reference = build(name, 3, (64, 64))
        assert joint.latent_channels == 3
        assert reference.unet.config["in_channels"] == 3
        assert joint.unet.config["in_channels"] == 9
        assert joint.sees_reference
        assert joint.rotary == reference.rotary == (name != "sd15")
    with pytest.raises(ValueError, match="there are: tiny"):
        build("huge", 3)
