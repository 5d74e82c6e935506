"""Weights that are split into several safetensors files, and pointers of Git LFS in the place of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stable_diffusion import small_unet, write_folder
from tensor_files import tensors_of
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from jdap.models.image.image_tokens import load_image_encoder
from jdap.models.image.stable_diffusion import load_unet, load_vae
from jdap.models.loading import WeightsError, index_of, read_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"
FAMILY = "1.x"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 3438167540\n"


def split(file: Path, parts: int = 3) -> Path:
    """The tensors of a file in several, as save_pretrained splits them; returns the index."""
    tensors = tensors_of(file)
    stem, places = file.name.removesuffix(".safetensors"), {}
    for k in range(parts):
        name = f"{stem}-{k + 1:05d}-of-{parts:05d}.safetensors"
        part = dict(list(tensors.items())[k::parts])
        save_file(part, file.with_name(name), {"format": "pt"})
        places |= dict.fromkeys(part, name)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index_of(file).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}))
    file.unlink()
    return index_of(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path, FAMILY)


def test_split_weights_are_those_of_one_file(folder: Path) -> None:
    vae = load_vae(folder).state_dict()
    split(folder / "unet" / WEIGHTS)
    split(folder / "vae" / WEIGHTS, 2)
    loaded = load_unet(folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in small_unet(FAMILY).state_dict().items())
    assert all(torch.equal(value, vae[name]) for name, value in load_vae(folder).state_dict().items())


def test_split_weights_as_diffusers_writes_them(tmp_path: Path) -> None:
    unet = small_unet(FAMILY)
    unet.save_pretrained(tmp_path / "unet", max_shard_size="200KB")
    assert index_of(tmp_path / "unet" / WEIGHTS).is_file()
    loaded = load_unet(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in unet.state_dict().items())


def test_split_weights_of_variant_fp16(folder: Path) -> None:
    whole = folder / "unet" / WEIGHTS
    half = whole.with_name("diffusion_pytorch_model.fp16.safetensors")
    save_file({name: value.half() for name, value in tensors_of(whole).items()}, half, {"format": "pt"})
    whole.unlink()
    # The variant's own way to name the parts and their index.
    tensors = tensors_of(half)
    names = [f"diffusion_pytorch_model.fp16-{k:05d}-of-00002.safetensors" for k in (1, 2)]
    for k, name in enumerate(names):
        save_file(dict(list(tensors.items())[k::2]), half.with_name(name), {"format": "pt"})
    places = {key: names[k % 2] for k, key in enumerate(tensors)}
    assert index_of(half).name == "diffusion_pytorch_model.safetensors.index.fp16.json"
    index_of(half).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    half.unlink()
    unet = load_unet(folder)
    assert unet.dtype == torch.float32
    wanted = small_unet(FAMILY).state_dict()
    assert all(torch.equal(value, wanted[name].half().float()) for name, value in unet.state_dict().items())


def test_split_weights_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=16))
    encoder.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    loaded = load_image_encoder(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in encoder.state_dict().items())


def test_a_part_that_is_missing_or_elsewhere_is_named(folder: Path) -> None:
    index = split(folder / "unet" / WEIGHTS)
    part = sorted(index.parent.glob("*-00002-*"))[0]
    kept = part.read_bytes()
    part.unlink()
    with pytest.raises(WeightsError, match=rf"{part.name} is missing"):
        load_unet(folder)
    part.write_bytes(kept[:1000])
    with pytest.raises(WeightsError, match=rf"{part.name}: cannot be read"):
        load_unet(folder)
    part.write_bytes(kept)
    data = json.loads(index.read_text())
    for wrong in ("../other.safetensors", "/etc/passwd", "", ".."):
        index.write_text(json.dumps(data | {"weight_map": dict.fromkeys(data["weight_map"], wrong)}))
        with pytest.raises(WeightsError, match="file of this folder"):
            load_unet(folder)


def test_parts_that_do_not_hold_all_tensors_are_told(folder: Path) -> None:
    index = split(folder / "unet" / WEIGHTS)
    part = sorted(index.parent.glob("*-00001-*"))[0]
    tensors = tensors_of(part)
    gone = next(iter(tensors))
    del tensors[gone]
    save_file(tensors, part, {"format": "pt"})
    with pytest.raises(WeightsError, match=rf"{part.name}: .* 1 missing_keys \({gone}\)"):
        load_unet(folder)


@pytest.mark.parametrize("place", ["unet", "part", "file"])
def test_a_pointer_of_git_lfs_is_named(folder: Path, tmp_path: Path, place: str) -> None:
    file = folder / "unet" / WEIGHTS
    if place == "part":
        file = sorted(split(file).parent.glob("*-00002-*"))[0]
    if place == "file":
        file = tmp_path / "sd.safetensors"
    file.write_text(LFS)
    with pytest.raises(WeightsError, match=rf"{file.name}: .*git lfs pull") as caught:
        read_tensors(file) if place == "file" else load_unet(folder)
    assert "\n" not in str(caught.value)
