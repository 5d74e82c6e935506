"""Presets small and sd15: their shipped YAMLs, end to end on drawn people at a reduced size."""

import json

import pytest
import torch
from diffusers import AutoencoderTiny
from stable_diffusion import small_vae, write_file, write_folder
from training import write_stills

from jdap.__main__ import main
from jdap.configs import CONFIGS
from jdap.models.codec import DiffusersCodec, ImageCodec
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    folder = write_stills(tmp_path_factory.mktemp("presets"), 64)
    torch.manual_seed(0)
    AutoencoderTiny(
        *(3, 3, (16, 16, 16, 16), (16, 16, 16, 16)),
        latent_channels=5,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).save_pretrained(folder / "taesd")
    small_vae().save_pretrained(folder / "vae")
    write_folder(folder / "sd")
    write_file(folder / "sd.safetensors", "2.x")
    return folder


def arguments(fakes, out, preset) -> list[str]:
    return [
        *("train-image", "--config", str(CONFIGS / f"image-{preset}.yaml"), "--out", str(out)),
        *("--data.train", str(fakes / "train"), "--data.val", str(fakes / "val"), "--data.workers", "0"),
        *("--data.size_px", "64", "--model.size_px", "64", "--data.batch_size", "2", "--trainer.accelerator", "cpu"),
        *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2"),
    ]


def answer(folder) -> torch.Tensor:
    pipeline = PortraitPipeline.from_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    depth = pipeline.image_to_depth(torch.zeros(1, 3, 64, 64), generator=generator).depth
    assert depth.shape == (1, 1, 64, 64)
    assert depth.isfinite().all()
    return depth


@pytest.mark.parametrize(
    ("codec", "kind", "channels"),
    [("codec", ImageCodec, 3), ("taesd", DiffusersCodec, 5)],
)
@pytest.mark.slow
def test_small_trains_on_any_codec(fakes, tmp_path, codec, kind, channels):
    narrow = ["--model.networks.widths", "[64,64]", "--model.codec", str(fakes / codec)]
    assert main([*arguments(fakes, tmp_path, "small"), *narrow]) == 0
    pipeline = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert (pipeline.preset, pipeline.unet.latent_channels) == ("small", channels)
    assert pipeline.unet.unet.config["block_out_channels"] == [64, 64]
    assert isinstance(pipeline.codec, kind)
    answer(tmp_path / "weights")


@pytest.mark.parametrize("source", ["sd", "sd.safetensors"])
@pytest.mark.slow
def test_sd15_trains_from_stable_diffusion_and_goes_on_from_its_weights(fakes, tmp_path, source):
    run = [*arguments(fakes, tmp_path / "run", "sd15"), "--trainer.accumulate_grad_batches", "1"]
    if source == "sd":
        run += ["--model.networks.image_encoder", str(fakes / "sd" / "image_encoder")]
    assert main([*run, "--model.sd", str(fakes / source)]) == 0
    weights = tmp_path / "run" / "weights"
    settings = json.loads((weights / "training.json").read_text())["hyper_parameters"]
    assert (settings["sd"], settings["codec"], settings["gradient_checkpointing"]) == (str(fakes / source), None, True)
    pipeline = PortraitPipeline.from_pretrained(weights)
    assert isinstance(pipeline.codec, DiffusersCodec)
    for name, value in small_vae().state_dict().items():
        assert torch.equal(pipeline.codec.autoencoder.state_dict()[name], value)  # frozen, and not averaged
    answer(weights)
    if source == "sd.safetensors":
        assert pipeline.image_tokens is None
        return  # how a run goes on does not depend on where the first one came from
    assert pipeline.image_tokens.projection.norm_out.weight.abs().max() > 0  # zero before the first step
    further = [*arguments(fakes, tmp_path / "further", "sd15"), "--trainer.accumulate_grad_batches", "1"]
    assert main([*further, "--model.init", str(weights)]) == 0  # the codec is that of the weights folder
    answer(tmp_path / "further" / "weights")
    assert PortraitPipeline.from_pretrained(tmp_path / "further" / "weights").image_tokens is not None


@pytest.mark.parametrize(
    ("preset", "extra", "says"),
    [
        ("sd15", [], "model.codec is null"),
        ("sd15", ["--model.sd", "nowhere"], "nowhere: no such folder or file of Stable Diffusion weights"),
        ("sd15", ["--model.sd", "{fakes}/sd", "--model.init", "nowhere"], "give one"),
        (
            "sd15",
            ["--model.sd", "{fakes}/sd", "--model.networks.widths", "[32,64]"],
            "model.networks.widths is for networks from scratch",
        ),
        ("sd15", ["--model.sd", "{fakes}/sd", "--model.codec", "{fakes}/taesd"], "4 latent channels"),
        ("small", ["--model.sd", "{fakes}/sd"], "preset sd15, but model.preset is small"),
        ("small", ["--model.networks.widths", "[64,65]"], "multiples of 64"),
        ("small", ["--model.codec", "{fakes}/sd/unet"], "_class_name is 'UNet2DConditionModel'"),
    ],
)
def test_mistakes_are_told_in_one_line(fakes, tmp_path, capsys, preset, extra, says):
    extra = [word.format(fakes=fakes) for word in extra]
    assert main([*arguments(fakes, tmp_path, preset), *extra]) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]
