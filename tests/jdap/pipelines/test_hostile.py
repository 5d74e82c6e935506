"""Weights folders that are broken or meant to do harm: each is one clear line, and no code of theirs runs."""

import json
import pickle
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stable_diffusion import small_image_encoder, small_vae
from tensor_files import refused, tensors_of

from jdap.models.codec import load_codec
from jdap.models.image.image_tokens import ImageTokens, TokenProjection
from jdap.models.loading import WeightsError, read_tensors
from jdap.pipelines.portrait import PortraitPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = {name: WEIGHTS for name in ("unet", "reference", "codec", "image_tokens/projection")} | {
    "image_tokens/encoder": "model.safetensors"
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Where the sound folder is kept, once it is written."""
    return tmp_path_factory.mktemp("whole") / "weights"


@pytest.fixture
def folder(pipeline, whole, tmp_path):
    """A weights folder with every component there is."""
    if not whole.exists():
        encoder = small_image_encoder()
        pipeline.image_tokens = ImageTokens(encoder, TokenProjection(encoder.config.hidden_size, 64))
        pipeline.save_pretrained(whole)
        assert PortraitPipeline.from_pretrained(whole).image_tokens is not None
    shutil.copytree(whole, tmp_path / "weights")
    return tmp_path / "weights"


refusal = partial(refused, PortraitPipeline.from_pretrained)


def change(file: Path, **settings) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


@pytest.mark.parametrize("part", FILES)
def test_every_component_is_read_strictly(folder, part):
    file = folder / part / FILES[part]
    whole = tensors_of(file)
    name = min(whole, key=lambda k: (whole[k].ndim < 2, k))
    for tensors, says in (
        ({k: v for k, v in whole.items() if k != name}, f"1 missing_keys ({name})"),
        ({**whole, "stranger": torch.zeros(2)}, "1 unexpected_keys (stranger)"),
        ({**whole, name: torch.zeros(7, 7)}, "1 mismatched_keys"),
        ({**whole, name: torch.full_like(whole[name], float("nan"))}, f"1 tensors hold NaN or infinity ({name})"),
        ({**whole, name: torch.full_like(whole[name], -float("inf"))}, f"1 tensors hold NaN or infinity ({name})"),
    ):
        save_file(tensors, file)
        assert says in refusal(folder)


@pytest.mark.parametrize("part", FILES)
def test_truncated_and_empty_files_are_told(folder, part):
    file = folder / part / FILES[part]
    data = file.read_bytes()
    for piece in (data[: len(data) // 2], data[:20], b"", b"\xff" * 100):
        file.write_bytes(piece)
        assert f"/{part}" in refusal(folder)
    file.unlink()
    file.mkdir()
    assert f"{file.name} is missing" in refusal(folder)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_begins_like_a_pickle_is_none(tmp_path, length):
    file = tmp_path / "weights.safetensors"
    save_file({"x": torch.ones(3)}, file)
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].ljust(length)  # spaces are allowed at its end
    file.write_bytes(length.to_bytes(8, "little") + header + data[8 + size :])
    assert file.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    assert torch.equal(read_tensors(file)["x"], torch.ones(3))


class Harm:
    """What a pickle can be: its mere loading would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.slow
@pytest.mark.parametrize("part", FILES)
def test_pickles_are_refused_under_any_name_and_never_run(folder, part, tmp_path):
    file, harm = folder / part / FILES[part], Harm(tmp_path / "harm")
    for protocol in (2, 3, 4, 5):
        file.write_bytes(pickle.dumps(harm, protocol))
        assert "a pickle, which can run code and is never read" in refusal(folder)
    torch.save({"weight": harm}, file)
    assert "a pickle, which can run code and is never read" in refusal(folder)
    file.rename(file.with_suffix(".bin"))
    assert f"(found {file.with_suffix('.bin').name}: pickles can run code and are never read)" in refusal(folder)
    assert not harm.file.exists()
    pickle.loads(pickle.dumps(harm))
    assert harm.file.exists()  # as it would have


CONFIGS = {
    "unet": "config.json",
    "reference": "config.json",
    "codec": "config.json",
    "image_tokens/projection": "config.json",
    "image_tokens/encoder": "config.json",
    "scheduler": "scheduler_config.json",
    ".": "model_index.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("part", CONFIGS)
def test_garbage_for_a_config_is_told(folder, part):
    for text in ("", "{", "[1]", "null", "\x00\x01", "[" * 100_000, '{"a": 1}'):
        (folder / part / CONFIGS[part]).write_text(text)
        message = refusal(folder)
        assert CONFIGS[part] in message or f"/{part}" in message


@pytest.mark.parametrize(
    ("part", "settings", "says"),
    [
        ("unet", {"_class_name": "AutoencoderKL"}, "_class_name is 'AutoencoderKL', expected 'UNet2DConditionModel'"),
        ("codec", {"_class_name": "Harm"}, "_class_name is 'Harm', expected 'ImageCodec'"),
        ("unet", {"block_out_channels": "wide"}, "/unet: cannot be read as UNet2DConditionModel"),
        ("unet", {"block_out_channels": [32, 64, 128]}, "/unet: cannot be read as UNet2DConditionModel"),
        ("unet", {"block_out_channels": [32_000, 64_000]}, "config.json asks for"),
        ("unet", {"attention_head_dim": 0}, "/unet: cannot be read"),
        ("unet", {"norm_num_groups": 0}, "/unet: cannot be read"),
        ("unet", {"layers_per_block": 3}, "missing_keys"),
        ("unet", {"act_fn": "os.system"}, "/unet: cannot be read"),
        ("codec", {"latent_channels": -1}, "/codec: cannot be read"),
        ("codec", {"factor": 3}, "/codec: cannot be read"),
        ("image_tokens/encoder", {"architectures": ["CLIPModel"]}, "_class_name is 'CLIPModel'"),
        ("scheduler", {"num_train_timesteps": "many"}, "num_train_timesteps is 'many'"),
        ("scheduler", {"num_train_timesteps": 10**12}, "num_train_timesteps is 1000000000000"),
        ("scheduler", {"beta_end": float("nan")}, "/scheduler"),
        ("scheduler", {"beta_end": -3.0}, "/scheduler"),
        ("scheduler", {"prediction_type": "epsilon"}, "not JDAP's noise schedule: prediction_type='epsilon'"),
        (".", {"_class_name": "StableDiffusionPipeline"}, "_class_name is 'StableDiffusionPipeline'"),
        ("unet", {"_rotary": None}, "_rotary must be true or false, got None"),
        (".", {"size_px": "large"}, "size_px must be int, and given, got 'large'"),
        (".", {"size_px": 33}, "size_px 33 is no multiple of the codec's factor 8"),
        (".", {"preset": None}, "preset must be str, and given, got None"),
        (".", {"reference": "no"}, "reference is 'no', expected ReferenceNet"),
        (".", {"unet": [None, None]}, "unet is [None, None], expected JointUNet or SeparateUNets"),
        (".", {"unet": ["os", "system"]}, "unet is ['os', 'system'], expected JointUNet or SeparateUNets"),
        (".", {"unet": ["jdap.models.image.separate", "SeparateUNets"]}, "/unet/rgb"),
        (".", {"one_step_start": "ones"}, "one_step_start must be"),
    ],
)
def test_settings_that_cannot_be_are_told(folder, part, settings, says):
    change(folder / part / CONFIGS[part], **settings)
    assert says in refusal(folder)


def test_a_component_that_is_not_there_is_named(folder):
    for part in ("image_tokens", "scheduler", "reference", "unet", "codec"):
        shutil.move(folder / part, folder.parent / part)
        assert f"/{part}" in refusal(folder)
        shutil.move(folder.parent / part, folder / part)
    PortraitPipeline.from_pretrained(folder)


def test_sound_components_of_different_models_are_told(folder):
    index = json.loads((folder / "model_index.json").read_text())
    kept = folder.parent / "kept"
    folder.rename(kept)

    def mixed(part: str, other: Path, codec: str = "ImageCodec") -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        shutil.rmtree(folder / part)
        shutil.copytree(other, folder / part)
        change(folder / "model_index.json", codec=["jdap.models.codec", codec])
        return refusal(folder)

    vae, tokens = folder.parent / "vae", folder.parent / "tokens"
    small_vae().save_pretrained(vae)
    assert "latent channels differ: codec 4, unet 3, reference 3" in mixed(
        "codec", folder.parent / "vae", "DiffusersCodec"
    )
    assert "a joint UNet has 2·C channels in" in mixed("unet", kept / "reference")
    assert "latent channels differ: codec 3, unet 3, reference 6" in mixed("reference", kept / "unet")
    TokenProjection(16, 48).save_pretrained(tokens)
    assert "tokens of 48 channels, which unet does not take" in mixed(
        "image_tokens/projection", folder.parent / "tokens"
    )
    assert index["image_tokens"] == ["jdap.models.image.image_tokens", "ImageTokens"]


@pytest.mark.parametrize("text", ["{", '{"_class_name": "AutoencoderKL", "block_out_channels": []}'])
def test_a_codec_folder_alone_is_as_strict(folder, text):
    (folder / "codec" / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="codec"):
        load_codec(folder / "codec")
