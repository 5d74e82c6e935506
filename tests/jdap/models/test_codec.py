"""The codec's contract, for our autoencoder and for those of diffusers, and strict loading."""

import json

import pytest
import safetensors.torch
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DModel
from networks import small_codec
from tensor_files import tensors_of

from jdap.models.codec import DiffusersCodec, load_codec
from jdap.models.loading import WeightsError


def own(**changes):
    return small_codec(**{"decoder_blocks": (1, 2)} | changes)


def kl(**changes):
    parameters = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 8, 16),
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    return DiffusersCodec(AutoencoderKL(**parameters | changes))


def tiny(**changes):
    parameters = {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "num_encoder_blocks": (1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1),
        "latent_channels": 5,
    }
    return DiffusersCodec(AutoencoderTiny(**parameters | changes))


KINDS = {"own": (own, 3, 8), "kl": (kl, 4, 4), "tiny": (tiny, 5, 8)}


@pytest.fixture(params=KINDS)
def kind(request):
    torch.manual_seed(0)
    make, channels, factor = KINDS[request.param]
    return make().eval(), channels, factor


@pytest.fixture
def picture():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_shapes_determinism_and_batch_independence(kind, picture):
    codec, channels, factor = kind
    assert (codec.latent_channels, codec.factor) == (channels, factor)
    latents = codec.encode(picture)
    assert latents.shape == (2, channels, 32 // factor, 48 // factor)
    assert codec.decode(latents).shape == picture.shape
    assert torch.equal(latents, codec.encode(picture))
    # What else is in the batch must not change a picture's latents, in training mode either.
    assert torch.allclose(codec.train().encode(picture[:1]), latents[:1], atol=1e-5)


@torch.no_grad()
def test_round_trip_of_a_folder(kind, picture, tmp_path):
    codec, channels, factor = kind
    codec.save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.bin")) == []
    loaded = load_codec(tmp_path)
    assert type(loaded) is type(codec)
    assert (loaded.latent_channels, loaded.factor) == (channels, factor)
    assert not loaded.training
    latents = codec.encode(picture)
    assert torch.equal(loaded.encode(picture), latents)
    assert torch.equal(loaded.decode(latents), codec.decode(latents))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    codec = own(encoder_blocks=(2, 2), decoder_blocks=(2, 2))
    for parameter in codec.parameters():  # the zero-initialised ends of the residual branches would stop gradients
        torch.nn.init.normal_(parameter, std=0.1)
    codec(torch.rand(1, 3, 16, 16) * 2 - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in codec.parameters())


@pytest.mark.parametrize(("factor", "channels"), [(4, 3), (8, 4), (16, 2)])
@pytest.mark.parametrize("levels", [(1, 1), (1, 3), (2, 1)])
@torch.no_grad()
def test_other_factors_channels_and_resolutions(factor, channels, levels):
    """The encoder and the decoder may each work at other resolutions, those finest first."""
    shape = {"encoder_widths": (8, 12, 16)[-levels[0] :], "decoder_widths": (10, 14, 18)[-levels[1] :]}
    shape |= {"encoder_blocks": (1,) * levels[0], "decoder_blocks": (0,) * levels[1]}
    codec = own(factor=factor, latent_channels=channels, **shape)
    latents = codec.encode(torch.zeros(1, 3, 64, 64))
    assert latents.shape == (1, channels, 64 // factor, 64 // factor)
    assert codec.decode(latents).shape == (1, 3, 64, 64)
    convolutions = {n: m for n, m in codec.named_modules() if isinstance(m, torch.nn.Conv2d)}
    first, last = convolutions["encoder.1"], list(convolutions.values())[-1]
    assert first.in_channels == 3 * (factor // 2 ** (levels[0] - 1)) ** 2
    assert first.out_channels == shape["encoder_widths"][0]
    assert last.in_channels == shape["decoder_widths"][0]
    assert convolutions["decoder.0"].out_channels == shape["decoder_widths"][-1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder_widths": ()}, "encoder: a width"),
        ({"decoder_widths": (16, 31)}, "decoder: a width"),
        ({"decoder_blocks": (1,)}, "decoder: a width"),
        ({"encoder_blocks": (-1, 1)}, "encoder: a width"),
        ({"factor": 3}, "encoder: 2 resolutions need a factor"),
        ({"factor": 1}, "encoder: 2 resolutions need a factor"),
        ({"decoder_widths": (8, 8, 8, 8, 8), "decoder_blocks": (1,) * 5}, "decoder: 5 resolutions need a factor"),
    ],
)
def test_shapes_that_cannot_be(changes, says):
    with pytest.raises(ValueError, match=says):
        own(**changes)


@torch.no_grad()
def test_one_width_is_no_other_than_written_by_hand():
    """The published shape: blocks at the latents' own resolution, between a first and a last convolution."""
    torch.manual_seed(0)
    codec = own(factor=4, encoder_widths=(8,), encoder_blocks=(2,), decoder_widths=(12,), decoder_blocks=(1,))
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    kinds = [type(m).__name__ for m in codec.encoder], [type(m).__name__ for m in codec.decoder]
    assert kinds[0] == ["PixelUnshuffle", "Conv2d", "ResidualBlock", "ResidualBlock", "Conv2d"]
    assert kinds[1] == ["Conv2d", "ResidualBlock", "SiLU", "Conv2d", "PixelShuffle"]
    # colours reach the latents along a path that is linear: with the blocks silent, a sum is the sum of its parts
    for block in (m for m in codec.encoder if type(m).__name__ == "ResidualBlock"):
        for parameter in block.parameters():
            parameter.zero_()
    origin = codec.encode_raw(torch.zeros_like(x))
    torch.testing.assert_close(
        codec.encode_raw(2 * x) - origin, 2 * (codec.encode_raw(x) - origin), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_larger_codec_starts_where_a_smaller_one_is(picture):
    torch.manual_seed(0)
    small, large = own(), own(latent_channels=5, encoder_blocks=(2, 1), decoder_blocks=(2, 4))
    for parameter in small.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.1)
    small.latent_mean.fill_(0.5)
    small.latent_std.fill_(2.0)
    large.start_from(small)
    torch.testing.assert_close(large(picture), small(picture))
    torch.testing.assert_close(large.encode(picture)[:, :3], small.encode(picture))
    same = own()
    same.start_from(small)
    assert all(torch.equal(same.state_dict()[name], value) for name, value in small.state_dict().items())


def test_what_is_new_in_a_larger_codec_learns(picture):
    torch.manual_seed(0)
    large = own(latent_channels=4, decoder_blocks=(1, 3))
    large.start_from(own())
    (large(picture) - picture).square().mean().backward()
    assert large.decoder[0].weight.grad[:, 3].abs().sum() > 0
    assert large.decoder[3].expand.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"factor": 4},
        {"encoder_widths": (16, 64)},
        {"decoder_widths": (32, 32)},
        {"encoder_widths": (32,), "encoder_blocks": (1,)},
        {"latent_channels": 2},
        {"decoder_blocks": (2, 1)},
        {"encoder_blocks": (0, 2)},
    ],
)
def test_codecs_that_do_not_fit(changes):
    with pytest.raises(ValueError, match=r"factor 8, .* cannot go into"):
        own(**changes).start_from(own())


@torch.no_grad()
def test_statistics_normalise_the_raw_latents(picture):
    torch.manual_seed(0)
    codec = own()
    raw = codec.encode_raw(picture)
    codec.latent_mean.copy_(raw.mean((0, 2, 3)))
    codec.latent_std.copy_(raw.std((0, 2, 3), unbiased=False))
    latents = codec.encode(picture)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.var((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0)


@torch.no_grad()
def test_diffusers_scaling_is_the_pipelines(picture):
    """StableDiffusion3Pipeline: (mode - shift) * scale; with statistics: (mode - mean) * scale / std."""
    torch.manual_seed(0)
    codec = kl(scaling_factor=0.5, shift_factor=0.25).eval()
    mode = codec.autoencoder.encode(picture).latent_dist.mode()
    torch.testing.assert_close(codec.encode(picture), (mode - 0.25) * 0.5)
    torch.testing.assert_close(codec.decode(codec.encode(picture)), codec.autoencoder.decode(mode).sample)
    codec = kl(scaling_factor=0.5, latents_mean=[1.0, 2, 3, 4], latents_std=[1.0, 2, 4, 8]).eval()
    mode = codec.autoencoder.encode(picture).latent_dist.mode()
    expected = torch.stack([(mode[:, i] - (i + 1)) * 0.5 / 2**i for i in range(4)], 1)
    torch.testing.assert_close(codec.encode(picture), expected)
    torch.testing.assert_close(codec.decode(expected), codec.autoencoder.decode(mode).sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [kl, tiny])
@torch.no_grad()
def test_measured_statistics_are_saved(make, picture, tmp_path):
    torch.manual_seed(0)
    codec = make().eval()
    before = codec.decode(codec.encode(picture))
    codec.measure(picture)
    codec.save_pretrained(tmp_path)
    loaded = load_codec(tmp_path)
    latents = loaded.encode(picture)
    assert abs(latents.mean().item()) < 1e-3
    assert abs(latents.std().item() - 1) < 1e-3
    torch.testing.assert_close(loaded.decode(latents), before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 36)])
def test_wrong_pictures_are_refused(kind, shape):
    codec, _, factor = kind
    if shape[-1] % factor == 0 and len(shape) == 4 and shape[1] == 3:
        pytest.skip("this size suits the factor")
    with pytest.raises(ValueError, match="multiples of"):
        codec.encode(torch.zeros(shape))


def weights_of(folder):
    return folder / "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("make", [own, kl, tiny])
@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape", "truncated", "absent"])
def test_weights_that_do_not_fit_are_refused(make, damage, tmp_path):
    make().save_pretrained(tmp_path)
    weights = tensors_of(weights_of(tmp_path))
    key = next(k for k in weights if k.endswith("weight") and "decoder" in k)
    named = key
    if damage == "missing":
        del weights[key]
    elif damage == "unexpected":
        weights["decoder.surplus"] = torch.zeros(1)
        named = "decoder.surplus"
    elif damage == "shape":
        weights[key] = torch.zeros(1)
    safetensors.torch.save_file(weights, weights_of(tmp_path))
    if damage == "truncated":
        weights_of(tmp_path).write_bytes(weights_of(tmp_path).read_bytes()[:1000])
        named = ""
    elif damage == "absent":
        weights_of(tmp_path).unlink()
        named = "safetensors"
    with pytest.raises(WeightsError, match=str(tmp_path)) as raised:
        load_codec(tmp_path)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_folders_that_are_no_codec_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere.*missing"):
        load_codec(tmp_path / "nowhere")
    UNet2DModel(
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), norm_num_groups=4
    ).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="UNet2DModel"):
        load_codec(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="JSON object"):
        load_codec(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "ImageCodec", "encoder_widths": [17]}))
    (tmp_path / "diffusion_pytorch_model.safetensors").touch()
    with pytest.raises(WeightsError, match=r"encoder: .*even"):
        load_codec(tmp_path)
