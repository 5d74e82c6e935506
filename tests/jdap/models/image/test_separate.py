import pytest
import torch

from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.separate import SeparateUNets, separated
from jdap.stages.parts.networks import freeze_unasked

SHAPE = {"widths": (32, 64), "layers": 1, "head_dim": 16}
T = torch.tensor([0, 700])


@pytest.fixture
def joint():
    return JointUNet(unet(6, depth_timestep=True, **SHAPE))


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_each_network_has_the_shape_of_the_joint_one(joint):
    networks = separated(joint)
    assert networks.latent_channels == joint.latent_channels == 3

    def count(module, without=("conv_in", "conv_out", "cond_proj")):
        return sum(p.numel() for name, p in module.named_parameters() if not any(x in name for x in without))

    assert count(networks.rgb) == count(networks.depth) == count(joint.unet)
    shared = {id(p) for p in networks.rgb.parameters()} & {id(p) for p in networks.depth.parameters()}
    assert not shared


def test_rgb_knows_no_depth_and_depth_sees_clean_rgb(joint):
    networks = separated(joint).eval()
    z_rgb, z_depth, clean = latents(0), latents(1), latents(2)
    with torch.no_grad():
        rgb, depth = networks(z_rgb, z_depth, T, T, clean_rgb_BChw=clean)
        other_rgb, other_depth = networks(z_rgb, latents(3), T, T.flip(0), clean_rgb_BChw=clean)
        noisy_rgb, same_depth = networks(latents(4), z_depth, T.flip(0), T, clean_rgb_BChw=clean)
        _, given_depth = networks(clean, z_depth, T, T)
    assert rgb.shape == depth.shape == (2, 3, 4, 4)
    assert torch.equal(other_rgb, rgb)
    assert not torch.allclose(other_depth, depth, atol=1e-4)
    assert not torch.allclose(noisy_rgb, rgb, atol=1e-4)
    assert torch.equal(same_depth, depth)
    assert torch.equal(given_depth, depth)


def test_the_reference_leads_rgb_alone(joint):
    networks = separated(joint).eval()
    features = ReferenceNet(unet(3, depth_timestep=False, **SHAPE))(latents(5))
    with torch.no_grad():
        free = networks(latents(0), latents(1), T, T)
        led = networks(latents(0), latents(1), T, T, reference=networks.project_reference(features))
        dropped = networks(
            latents(0),
            latents(1),
            T,
            T,
            reference=networks.project_reference(features),
            keep_reference_R=torch.tensor([False, True]),
        )
    assert not torch.allclose(led[0], free[0], atol=1e-4)
    assert torch.equal(led[1], free[1])
    assert torch.allclose(dropped[0][0], free[0][0], atol=1e-5)
    assert torch.allclose(dropped[0][1], led[0][1], atol=1e-5)


def test_every_parameter_gets_a_gradient(joint):
    networks = separated(joint)
    freeze_unasked(networks)
    sum(x.square().sum() for x in networks(latents(0), latents(1), T, T)).backward()
    assert [name for name, p in networks.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [name for name, p in networks.named_parameters() if not p.requires_grad and p.grad is not None] == []


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="C → C"):
        SeparateUNets(unet(3, depth_timestep=False, **SHAPE), unet(3, depth_timestep=False, **SHAPE))
