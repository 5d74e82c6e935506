"""Layers of their own for the step that betters a fitted face."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from jdap.models.image.build import unet as plain_unet
from jdap.models.image.face_layers import LAYERS_FILE, FaceLayers
from jdap.models.image.joint_unet import JointUNet
from jdap.models.loading import WeightsError
from jdap.stages.parts.networks import freeze_unasked


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return JointUNet(plain_unet(6, (32, 64), layers=1, head_dim=16, depth_timestep=True)).eval()


def inputs(seed: int = 1):
    z = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return *z, torch.tensor([0, 0]), torch.tensor([400, 400])


def test_a_copy_answers_as_the_unet_and_leaves_it_alone(unet):
    layers = FaceLayers.of(unet)
    with torch.no_grad():
        before = unet(*inputs())
        for mine, its in zip(layers.around(unet)(*inputs()), before, strict=True):
            torch.testing.assert_close(mine, its)
        for value in layers.parameters():
            value += 0.05
        changed = layers.around(unet)(*inputs())
        assert not torch.allclose(changed[1], before[1], atol=1e-2)
        assert torch.equal(unet(*inputs())[1], before[1])


def test_gradients_reach_them_through_the_shared_layers(unet):
    freeze_unasked(unet)
    layers = FaceLayers.of(unet)
    unet.requires_grad_(False)
    layers.around(unet)(*inputs())[1].square().sum().backward()
    grads = {name: value.grad for name, value in layers.layers.items() if value.requires_grad}
    assert all(grad is not None for grad in grads.values())
    assert grads["unet:conv_in:weight"].abs().sum() > 0
    assert grads["unet:conv_out:weight"].abs().sum() > 0
    assert all(value.grad is None for value in unet.parameters())


def test_they_are_those_at_full_resolution(unet):
    names = set(FaceLayers.of(unet).state())
    assert {name.split(".")[1] for name in names} == {
        *("conv_in", "conv_out", "conv_norm_out", "down_blocks", "up_blocks"),
    }
    assert not any(name.startswith(("unet.down_blocks.1", "unet.mid_block")) for name in names)
    assert sum(x.numel() for x in FaceLayers.of(unet).parameters()) < sum(x.numel() for x in unet.parameters()) / 2


def test_what_is_written_is_read(unet, tmp_path):
    layers = FaceLayers.of(unet)
    layers.half().save_pretrained(tmp_path)
    back = FaceLayers.from_pretrained(tmp_path)
    assert {x.dtype for x in back.parameters()} == {torch.float32}
    assert back.fits(unet)
    for name, value in back.state().items():
        torch.testing.assert_close(value, layers.state()[name].float(), rtol=0, atol=0)


def test_what_is_wrong_with_a_folder_is_said(unet, tmp_path):
    FaceLayers.of(unet).save_pretrained(tmp_path)
    stored = load_file(tmp_path / LAYERS_FILE)
    save_file({name: value * torch.nan for name, value in stored.items()}, tmp_path / LAYERS_FILE)
    with pytest.raises(WeightsError, match="NaN"):
        FaceLayers.from_pretrained(tmp_path)
    save_file(dict(list(stored.items())[1:]), tmp_path / LAYERS_FILE)
    assert not FaceLayers.from_pretrained(tmp_path).fits(unet)
    (tmp_path / "config.json").write_text('{"_class_name": "Other"}')
    with pytest.raises(WeightsError, match="expected 'FaceLayers'"):
        FaceLayers.from_pretrained(tmp_path)
