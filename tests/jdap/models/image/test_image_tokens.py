"""Image tokens: CLIP's view of the reference, from pictures to the cross-attention and to a weights folder and back."""

import json

import pytest
import torch
from networks import latents, networks, timesteps
from safetensors.torch import save_file
from stable_diffusion import small_image_encoder
from tensor_files import tensors_of
from transformers import CLIPImageProcessor

from jdap.models.image.image_tokens import ImageTokens, TokenProjection, new_image_tokens
from jdap.models.loading import WeightsError


@pytest.fixture
def encoder(tmp_path):
    small_image_encoder().save_pretrained(tmp_path / "image_encoder")
    return tmp_path / "image_encoder"


@pytest.fixture
def tokens(encoder):
    """As if trained: a projection that says something."""
    made = new_image_tokens(encoder, 64).eval()
    torch.nn.init.ones_(made.projection.norm_out.weight)
    return made


def pictures(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 64, 64) * 2 - 1


def test_clip_sees_the_picture_as_its_own_preprocessor_would_show_it(tokens):
    rgb = pictures(1)
    eight_bit = ((rgb[0] + 1) * 127.5).round().to(torch.uint8)
    theirs = CLIPImageProcessor(size=28, crop_size=28)(eight_bit.permute(1, 2, 0).numpy(), return_tensors="pt")
    ours = []
    tokens.encoder.register_forward_pre_hook(
        lambda encoder, _, given: ours.append(given["pixel_values"]), with_kwargs=True
    )
    tokens(rgb)
    assert torch.allclose(ours[0], theirs["pixel_values"], atol=0.03)  # theirs rounds to 8 bits on the way


def test_a_fresh_projection_answers_as_a_network_without_tokens(encoder):
    joint, reference = networks()
    fresh = new_image_tokens(encoder, joint.unet.config["cross_attention_dim"])
    rgb, depth, ref = latents()
    led = joint.project_reference(reference(ref))
    given = fresh(pictures())
    assert given.shape == (2, 1 + 4, 64)
    with_tokens, without = (joint(rgb, depth, *timesteps(), led, tokens_BLD=x) for x in (given, None))
    for a, b in zip(with_tokens, without, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    # … and yet it learns, and CLIP does not
    with_tokens[0].square().mean().backward()
    assert fresh.projection.norm_out.weight.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in fresh.encoder.parameters())


def test_what_is_seen_changes_what_is_drawn_and_a_dropped_picture_is_none(tokens):
    joint, _ = networks()
    rgb, depth, _ = latents()
    one, two = (tokens(pictures()) for _ in range(2))
    assert not torch.allclose(
        joint(rgb, depth, *timesteps(), tokens_BLD=one)[0],
        joint(rgb, depth, *timesteps(), tokens_BLD=two)[0],
        atol=1e-4,
    )
    dropped = tokens(pictures(), torch.tensor([True, False]))
    none = joint(rgb, depth, *timesteps())
    assert torch.allclose(joint(rgb, depth, *timesteps(), tokens_BLD=dropped)[1][1], none[1][1], atol=1e-5)


def test_several_pictures_of_a_person_give_the_tokens_of_each(tokens):
    each = pictures(6)
    together = tokens(each.unflatten(0, (2, 3)))
    assert torch.allclose(together, tokens(each).reshape(2, 15, 64), atol=1e-5)


def test_they_come_back_from_a_folder(tokens, tmp_path):
    tokens.save_pretrained(tmp_path / "weights")
    x = pictures()
    assert torch.equal(ImageTokens.read(tmp_path / "weights")(x), tokens(x))


def test_how_pictures_are_normalised_comes_from_the_preprocessor(encoder):
    settings = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.2, 0.3]}
    beside = encoder.parent / "feature_extractor"
    beside.mkdir()
    (beside / "preprocessor_config.json").write_text(json.dumps(settings))
    made = new_image_tokens(encoder, 32)
    assert dict(made.projection.config).items() >= settings.items()
    (encoder / "preprocessor_config.json").write_text(json.dumps({"image_mean": "red"}))
    with pytest.raises(WeightsError, match=r"image_mean of its preprocessor_config\.json"):
        new_image_tokens(encoder, 32)


def test_old_exports_with_position_ids_load(encoder):
    file = encoder / "model.safetensors"
    save_file({**tensors_of(file), "vision_model.embeddings.position_ids": torch.arange(5)[None]}, file)
    new_image_tokens(encoder, 32)


def test_an_encoder_and_a_projection_that_do_not_fit_are_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="16 channels, the projection 8"):
        ImageTokens(small_image_encoder(), TokenProjection(8, 32))
    encoder.rename(tmp_path / "encoder")
    TokenProjection(8, 32).save_pretrained(tmp_path / "projection")
    with pytest.raises(WeightsError, match="16 channels, the projection 8"):
        ImageTokens.read(tmp_path)


def missing(tensors):
    del tensors["visual_projection.weight"]


def unexpected(tensors):
    tensors["stranger"] = torch.zeros(1)


def shape(tensors):
    tensors["visual_projection.weight"] = torch.zeros(3, 3)


def infinite(tensors):
    tensors["visual_projection.weight"][0, 0] = float("inf")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (missing, r"1 missing_keys \(visual_projection.weight\)"),
        (unexpected, r"1 unexpected_keys \(stranger\)"),
        (shape, r"1 mismatched_keys \(visual_projection.weight \(3, 3\) for \(8, 16\)\)"),
        (infinite, r"1 tensors hold NaN or infinity \(visual_projection.weight\)"),
    ],
)
def test_an_encoder_that_is_not_whole_is_told(encoder, change, says):
    tensors = tensors_of(encoder / "model.safetensors")
    change(tensors)
    save_file(tensors, encoder / "model.safetensors")
    with pytest.raises(WeightsError, match=says):
        new_image_tokens(encoder, 32)


def test_other_networks_and_configs_are_told(encoder):
    config = encoder / "config.json"
    settings = json.loads(config.read_text())
    for change, says in (
        ({"architectures": ["CLIPModel"]}, "_class_name is 'CLIPModel', expected 'CLIPVisionModelWithProjection'"),
        ({"architectures": None}, "_class_name is None"),
        ({"hidden_size": "wide"}, "cannot be read as CLIPVisionModelWithProjection"),
        ({"num_attention_heads": 0}, "cannot be read as CLIPVisionModelWithProjection"),
        ({"hidden_size": 32}, "mismatched_keys"),
    ):
        config.write_text(json.dumps(settings | change))
        with pytest.raises(WeightsError, match=says):
            new_image_tokens(encoder, 32)
    (encoder / "model.safetensors").unlink()
    torch.save({}, encoder / "pytorch_model.bin")
    config.write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin: pickles"):
        new_image_tokens(encoder, 32)
