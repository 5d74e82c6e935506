"""Weights that name the image model whose inner layers they share."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from jdap.models.image.outer import is_outer
from jdap.models.loading import WeightsError
from jdap.pipelines.outer_weights import OUTER_FILE
from jdap.pipelines.pack import pack
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture
def image(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "image")
    return tmp_path / "image"


def trained(image, out, *, outer: bool):
    """One-step weights whose outer layers, or all, are not those of the image model."""
    made = PortraitPipeline.from_pretrained(image)
    made.one_step_start = "head"
    with torch.no_grad():
        for name, value in made.unet.named_parameters():
            if is_outer(name, made.unet) or not outer:
                value += 0.01
    made.save_pretrained(out)
    return out


def depth(folder):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return PortraitPipeline.from_pretrained(folder).image_to_depth(x, head=x[:, :1]).depth


def test_the_packed_folder_is_small_and_answers_the_same(image, tmp_path):
    whole = trained(image, tmp_path / "whole", outer=True)
    pack(whole, tmp_path / "packed", image=str(image))
    assert {p.name for p in (tmp_path / "packed").iterdir() if p.is_dir()} == {"unet"}
    torch.testing.assert_close(depth(tmp_path / "packed"), depth(whole), rtol=0, atol=0)
    pack(whole, tmp_path / "half", image=str(image), half=True)
    assert {x.dtype for x in load_file(tmp_path / "half" / OUTER_FILE).values()} == {torch.float16}
    torch.testing.assert_close(depth(tmp_path / "half"), depth(whole), rtol=0, atol=0.02)


def test_other_inner_layers_are_refused(image, tmp_path):
    with pytest.raises(WeightsError, match="its unet is not that of"):
        pack(trained(image, tmp_path / "whole", outer=False), tmp_path / "packed", image=str(image))
    assert not (tmp_path / "packed").exists()


def test_what_is_wrong_with_a_folder_is_said(image, tmp_path):
    pack(trained(image, tmp_path / "whole", outer=True), tmp_path / "packed", image=str(image))
    file = tmp_path / "packed" / OUTER_FILE
    layers = load_file(file)
    name = next(iter(layers))
    save_file(layers | {"unet.mid_block.x": layers[name].clone()}, file)
    with pytest.raises(WeightsError, match="mid_block"):
        PortraitPipeline.from_pretrained(tmp_path / "packed")
    save_file({k: v for k, v in layers.items() if k != name}, file)
    with pytest.raises(WeightsError, match=name):
        PortraitPipeline.from_pretrained(tmp_path / "packed")
    save_file(layers, file)
    index = tmp_path / "packed" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_image": str(tmp_path / "none")}))
    with pytest.raises(WeightsError, match="names the image model"):
        PortraitPipeline.from_pretrained(tmp_path / "packed")


def test_an_image_model_that_names_another_is_refused(image, tmp_path):
    pack(trained(image, tmp_path / "whole", outer=True), tmp_path / "packed", image=str(image))
    index = tmp_path / "packed" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_image": str(tmp_path / "packed")}))
    with pytest.raises(WeightsError, match="it names another image model itself"):
        PortraitPipeline.from_pretrained(tmp_path / "packed")
