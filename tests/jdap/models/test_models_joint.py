import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from jdap.models.build import BUILDERS, build, unet
from jdap.models.joint_unet import JointUNet
from jdap.models.reference import ReferenceNet

SHAPE = {"widths": (32, 64), "layers": 1, "head_dim": 16}


def networks(seed: int = 0) -> tuple[JointUNet, ReferenceNet]:
    torch.manual_seed(seed)
    return (
        JointUNet(unet(6, depth_timestep=True, **SHAPE)),
        ReferenceNet(unet(3, depth_timestep=False, **SHAPE)),
    )


def latents(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, 3, 8, 8) for _ in range(3)]


def test_without_a_reference_it_is_diffusers_own_network():
    joint, _ = networks()
    rgb, depth, _ = latents()
    t = torch.tensor([3, 700])
    ours = torch.cat(joint(rgb, depth, t, t), dim=1)
    plain = UNet2DConditionModel.from_config(joint.unet.config)
    plain.load_state_dict(joint.unet.state_dict())
    theirs = plain(torch.cat([rgb, depth], 1), t, torch.zeros(2, 1, 32), timestep_cond=torch.zeros(2, 32)).sample
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_fresh_network_ignores_the_depth_timestep_and_a_trained_one_does_not():
    joint, _ = networks()
    rgb, depth, _ = latents()
    t, other = torch.tensor([3, 700]), torch.tensor([500, 0])
    assert torch.equal(joint(rgb, depth, t, t)[0], joint(rgb, depth, t, other)[0])
    torch.nn.init.normal_(joint.unet.time_embedding.cond_proj.weight)
    assert not torch.allclose(joint(rgb, depth, t, t)[0], joint(rgb, depth, t, other)[0], atol=1e-4)


def test_the_reference_changes_what_is_drawn():
    joint, reference = networks()
    rgb, depth, ref = latents()
    t = torch.tensor([3, 700])
    one = joint(rgb, depth, t, t, reference(ref))[1]
    two = joint(rgb, depth, t, t, reference(ref.flip(0)))[1]
    assert not torch.allclose(one, two, atol=1e-4)


def test_a_dropped_sample_is_a_sample_without_a_reference():
    joint, reference = networks()
    rgb, depth, ref = latents()
    t = torch.tensor([3, 700])
    features = reference(ref)
    mixed = joint(rgb, depth, t, t, features, torch.tensor([False, True]))
    none, kept = joint(rgb, depth, t, t), joint(rgb, depth, t, t, features)
    for half in range(2):
        assert torch.allclose(mixed[half][0], none[half][0], atol=1e-5)
        assert torch.allclose(mixed[half][1], kept[half][1], atol=1e-5)


def test_every_spatial_self_attention_is_written_and_read():
    joint, reference = networks()
    written = reference(latents()[2])
    assert set(written) == {name for name in joint.unet.attn_processors if ".attn1." in name}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_trainable_parameter_gets_a_gradient(checkpointing):
    joint, reference = networks()
    joint.train(), reference.train()
    if checkpointing:
        joint.unet.enable_gradient_checkpointing()
        reference.unet.enable_gradient_checkpointing()
    rgb, depth, ref = latents()
    t = torch.tensor([3, 700])
    out = joint(rgb, depth, t, t, reference(ref), torch.tensor([True, True]))
    (out[0].square().mean() + out[1].square().mean()).backward()
    named = [*joint.named_parameters(), *reference.named_parameters()]
    assert [n for n, p in named if p.requires_grad and p.grad is None] == []
    # what is frozen is what would have got none
    assert all(p.grad is None for _, p in named if not p.requires_grad)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        joint, reference = networks()
        joint.train(), reference.train()
        if checkpointing:
            joint.unet.enable_gradient_checkpointing()
            reference.unet.enable_gradient_checkpointing()
        torch.manual_seed(1)
        rgb, depth, ref = latents()
        t = torch.tensor([3, 700])
        sum(x.square().mean() for x in joint(rgb, depth, t, t, reference(ref))).backward()
        gradients.append([p.grad for p in (*joint.parameters(), *reference.parameters()) if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_unet_of_another_form_is_refused():
    with pytest.raises(ValueError, match="2·C channels"):
        JointUNet(unet(3, depth_timestep=True, **SHAPE))
    with pytest.raises(ValueError, match="time_cond_proj_dim"):
        JointUNet(unet(6, depth_timestep=False, **SHAPE))


def test_builders_go_by_name_and_take_c_from_the_codec():
    for name in BUILDERS:
        joint, reference = build(name, 3)
        assert joint.latent_channels == 3
        assert reference.unet.config["in_channels"] == 3
        assert joint.unet.config["in_channels"] == 6
    with pytest.raises(ValueError, match="there are: tiny"):
        build("huge", 3)
