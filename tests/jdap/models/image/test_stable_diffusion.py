"""Stable Diffusion as a start: both layouts, both families, and what is no start."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from stable_diffusion import FAMILIES, original_tensors, small_unet, small_vae, write_file, write_folder
from tensor_files import tensors_of

from jdap.models.image.build import build, sd15
from jdap.models.image.stable_diffusion import load_unet, load_vae
from jdap.models.image.widen import from_unet, narrow
from jdap.models.loading import WeightsError

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module", params=[(f, layout) for f in FAMILIES for layout in ("folder", "file")], ids="-".join)
def checkpoint(request, tmp_path_factory):
    """Its family, its path, and the two networks that start from it."""
    family, layout = request.param
    place = tmp_path_factory.mktemp("sd")
    source = write_folder(place, family) if layout == "folder" else write_file(place / "sd.safetensors", family)
    return family, source, *from_unet(load_unet(source))


def test_the_widened_network_answers_as_the_original_where_both_halves_are_the_same(checkpoint):
    family, _, joint, _ = checkpoint
    z, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    token = torch.zeros(2, 1, FAMILIES[family]["cross_attention_dim"])
    with torch.no_grad():
        original = small_unet(family)(z, t, encoder_hidden_states=token).sample
        for t_depth in (t, torch.tensor([999, 0])):
            rgb, depth = joint(z, z, t, t_depth)
            assert torch.allclose(rgb, original, atol=1e-5)
            assert torch.allclose(depth, original, atol=1e-5)
        # … and there only: the halves are added, and it is the RGB half's timestep that it knows
        assert not torch.allclose(joint(z, z + 1, t, t)[0], original, atol=1e-2)
        assert not torch.allclose(joint(z, z, t.flip(0), t)[0], original, atol=1e-2)


def test_the_reference_network_is_the_original_and_shares_nothing_with_the_joint_one(checkpoint):
    family, _, joint, reference = checkpoint
    for name, value in small_unet(family).state_dict().items():
        assert torch.equal(reference.unet.state_dict()[name], value)
    ours = {p.data_ptr() for p in joint.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in reference.parameters())
    features = reference(torch.randn(1, 4, 8, 8))
    assert set(features.layers) == {name for name in joint.unet.attn_processors if ".attn1." in name}


def test_the_rgb_half_of_a_widened_network_is_the_original_that_hears_half(checkpoint):
    family, _, joint, _ = checkpoint
    half, original = narrow(joint).state_dict(), small_unet(family).state_dict()
    assert torch.equal(half.pop("conv_in.weight"), original.pop("conv_in.weight") / 2)
    assert half.keys() == original.keys()
    assert all(torch.equal(half[name], value) for name, value in original.items())
    assert {v.data_ptr() for v in narrow(joint).state_dict().values()}.isdisjoint(
        p.data_ptr() for p in joint.parameters()
    )


def test_the_vae_is_the_codec(checkpoint):
    codec = load_vae(checkpoint[1])
    assert (codec.latent_channels, codec.factor) == (4, 8)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        original = small_vae()
        latents = original.encode(x).latent_dist.mode() * 0.18215
        assert torch.allclose(codec.encode(x), latents, atol=1e-5)
        assert torch.allclose(codec.decode(latents), original.decode(latents / 0.18215).sample, atol=1e-5)


def test_variant_fp16_is_read_where_it_is_the_only_one(tmp_path):
    small_unet().half().save_pretrained(tmp_path / "unet", variant="fp16")
    unet = load_unet(tmp_path)
    assert {p.dtype for p in unet.parameters()} == {torch.float32}
    assert torch.equal(unet.conv_in.weight, small_unet().conv_in.weight.half().float())


def test_a_half_precision_file_loads_as_float32(tmp_path):
    tensors = {name: value.half() for name, value in original_tensors().items()}
    unet = load_unet(write_file(tmp_path / "sd.safetensors", tensors=tensors))
    assert {p.dtype for p in unet.parameters()} == {torch.float32}


def test_preset_sd15_is_stable_diffusions_architecture_and_starts_duplicated():
    """By the names of its tensors, against diffusers' own default, which is Stable Diffusion 1.x."""
    with torch.device("meta"):
        original = UNet2DConditionModel(cross_attention_dim=768).state_dict()
    joint, reference = sd15(4, (32, 64, 96, 96))
    assert set(reference.unet.state_dict()) == set(original)
    assert set(joint.unet.state_dict()) == {*original, "time_embedding.cond_proj.weight"}
    weight = joint.unet.conv_in.weight
    assert torch.equal(weight[:, :4], weight[:, 4:8])
    assert weight.shape[1] == 12
    assert not weight[:, 8:].any()  # the reference's latents
    assert torch.equal(weight[:, :4], reference.unet.conv_in.weight / 2)


@pytest.mark.parametrize(("preset", "widths"), [("tiny", (32, 48)), ("small", (64, 100)), ("sd15", (32, 48))])
def test_widths_that_the_layers_cannot_have_are_refused(preset, widths):
    with pytest.raises(ValueError, match="multiples of"):
        build(preset, 4, widths)


def broken_file(tmp_path, change) -> str:
    tensors = original_tensors()
    change(tensors)
    file = write_file(tmp_path / "sd.safetensors", tensors=tensors)
    messages = []
    for load in (load_unet, load_vae):
        try:
            load(file)
        except WeightsError as error:
            messages.append(str(error))
    assert len(messages) == 1  # the other network is as it was
    assert messages[0].startswith(f"{file}: ")
    assert "\n" not in messages[0]
    return messages[0]


UNET, VAE = "model.diffusion_model.", "first_stage_model."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(f"{UNET}out.2.bias"), "1 missing_keys (conv_out.bias)"),
        (lambda t: t.pop(f"{UNET}output_blocks.2.1.conv.bias"), "output_blocks.2.1.conv.bias"),
        (lambda t: t.pop(f"{VAE}quant_conv.bias"), "1 missing_keys (quant_conv.bias)"),
        (lambda t: t.update({f"{UNET}label_emb.0.0.weight": torch.ones(2)}), "1 unexpected_keys"),
        (lambda t: t.update({f"{VAE}stranger": torch.ones(2)}), "1 unexpected_keys (first_stage_model.stranger)"),
        (lambda t: t.update({f"{UNET}time_embed.0.weight": torch.ones(2, 2)}), "mismatched_keys"),
        (lambda t: t[f"{UNET}time_embed.0.bias"].fill_(float("nan")), "NaN or infinity (time_embedding.linear_1.bias)"),
        (lambda t: t[f"{VAE}quant_conv.bias"].fill_(float("inf")), "NaN or infinity (quant_conv.bias)"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith(UNET)], "no tensor is named model.diffusion_model."),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith(VAE)], "no tensor is named first_stage_model."),
        (lambda t: t.pop(f"{UNET}middle_block.1.proj_in.weight"), "not as in Stable Diffusion"),
        (lambda t: t.update({f"{UNET}input_blocks.0.0.weight": torch.ones(32, 9, 3, 3)}), "9 channels in and 4 out"),
    ],
)
def test_a_file_that_is_not_whole_is_told_in_one_line(tmp_path, change, says):
    assert says in broken_file(tmp_path, change)


def test_every_single_tensor_is_needed(tmp_path):
    """Without any one of a sample of them, loading fails: nothing is filled with random numbers."""
    whole = original_tensors()
    for gone in [name for name in whole if name.startswith(UNET)][::40]:
        file = write_file(tmp_path / "sd.safetensors", tensors={k: v for k, v in whole.items() if k != gone})
        with pytest.raises(WeightsError, match=r"sd\.safetensors"):
            load_unet(file)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"in_channels": 9}, "9 channels in and 4 out"),
        ({"time_cond_proj_dim": 8}, "more inputs (time_cond_proj_dim 8)"),
        ({"num_class_embeds": 3}, "more inputs (num_class_embeds 3)"),
    ],
)
def test_networks_that_cannot_be_widened_are_named(tmp_path, changes, says):
    small_unet(**changes).save_pretrained(tmp_path / "unet")
    with pytest.raises(WeightsError) as caught:
        load_unet(tmp_path)
    assert says in str(caught.value)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(WeightsError, match="nothing is downloaded"):
        load_unet(tmp_path / "stable-diffusion-v1-5")
    with pytest.raises(WeightsError, match="missing"):
        load_unet(tmp_path)
    (tmp_path / "vae").mkdir()
    with pytest.raises(WeightsError, match="missing"):
        load_vae(tmp_path)


def test_pickles_are_refused_under_any_name(tmp_path):
    whole = original_tensors()
    for name in ("sd.ckpt", "sd.safetensors"):
        torch.save({"state_dict": whole}, tmp_path / name)
        with pytest.raises(WeightsError, match=rf"{name}: a pickle"):
            load_unet(tmp_path / name)
    write_file(tmp_path / "good.safetensors", tensors=whole).rename(tmp_path / "good.ckpt")
    with pytest.raises(WeightsError, match="only safetensors"):
        load_unet(tmp_path / "good.ckpt")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_told(tmp_path, length):
    file = write_file(tmp_path / "sd.safetensors")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2 if length < 0 else length])
    with pytest.raises(WeightsError, match=r"sd\.safetensors: cannot be read"):
        load_unet(file)


def test_a_folder_whose_tensors_are_not_its_configs_is_told(tmp_path):
    write_folder(tmp_path)
    file = tmp_path / "unet" / WEIGHTS
    tensors = tensors_of(file)
    for change, says in (
        ({"conv_in.weight": torch.zeros(32, 4, 5, 5)}, r"1 mismatched_keys"),
        ({"conv_in.bias": torch.full((32,), float("nan"))}, r"1 tensors hold NaN or infinity \(conv_in.bias\)"),
    ):
        save_file({**tensors, **change}, file)
        with pytest.raises(WeightsError, match=says):
            load_unet(tmp_path)
    config = tmp_path / "unet" / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"_class_name": "FluxTransformer2DModel"}))
    with pytest.raises(WeightsError, match="_class_name is 'FluxTransformer2DModel'"):
        load_unet(tmp_path)
