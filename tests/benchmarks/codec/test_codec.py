"""The grid of codecs: equal terms for all, errors against plain loops, files, and bad input in one line."""

import csv
import itertools
import json
import types

import fakes
import numpy as np
import pytest
import torch
import yaml
from networks import small_codec
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.codec import codec
from benchmarks.codec.codec import Run, costs, errors, read_photos, read_recipe, shaped
from benchmarks.cost.timing import best_seconds
from jdap.configs import CONFIGS

NETWORK = {"factor": 8, "encoder_widths": [8, 16], "encoder_blocks": [1, 1]}
NETWORK |= {"decoder_widths": [8, 16], "decoder_blocks": [1, 1]}
MODEL = {"network": NETWORK, "optimizer": {"learning_rate": 5e-3, "warmup_steps": 2}}
DATA = {"batch_size": 2, "size_px": 32, "jitter": 0.1, "workers": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec")
    fakes.write_fakes(folder / "train", people=3, frames=2, size_px=32, seed=0)
    fakes.write_fakes(folder / "test", people=2, frames=2, size_px=32, seed=1)
    (folder / "photos").mkdir()
    Image.effect_noise((60, 40), 50).save(folder / "photos/a.png")
    settings = {"model": MODEL, "data": DATA | {"train": "x", "val": "y"}, "trainer": {"gradient_clip_val": 1.0}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture
def clock(monkeypatch):
    """A processor clock that ticks a second a look, so that what was trained is the same each time."""
    ticks = itertools.count()
    monkeypatch.setattr(codec, "time", types.SimpleNamespace(process_time=lambda: float(next(ticks))))


def made(folder, last=20.0, **network) -> Run:
    recipe = {"model": MODEL | {"network": NETWORK | network}, "data": DATA, "clip": 1.0}
    return Run(recipe, str(folder / "train"), last, seed=0)


def test_runs_that_take_turns_do_not_meet(folder, clock):
    alone, first, second = made(folder), made(folder), made(folder, latent_channels=4)
    assert sum(alone.train(20)) == alone.steps == 20
    for mark in (5, 10, 20):
        for one in (first, second):
            list(one.train(mark))
            assert (one.steps, one.seconds) == (mark, mark)
    for a, b in zip(alone.codec.state_dict().values(), first.codec.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_rate_rises_and_falls_to_nothing_at_the_last_mark(folder, clock):
    one, rates = made(folder), []
    for _ in one.train(20):
        rates.append(one.optimizer.param_groups[0]["lr"])
    expected = [5e-3 * min(1, (i + 1) / 2) * (1 - i / 20) for i in range(20)]
    assert rates == pytest.approx(expected)


def test_training_learns(folder, clock):
    one = made(folder, last=60.0)
    batches = [next(one.batches)]
    before = errors(one.codec, batches, None)
    list(one.train(60))
    after = errors(one.codec, batches, None)
    assert after["psnr_db"] > before["psnr_db"] + 0.5
    assert after["rmse_depth"] < before["rmse_depth"]
    assert after["photos_db"] is None


def test_errors_are_those_of_the_pictures(fake_batch):
    torch.manual_seed(0)
    small = small_codec().eval()
    batches = [fake_batch(people=3), fake_batch(people=2, first=3)]
    photos = torch.rand(2, 3, 16, 16) * 2 - 1
    found = errors(small, batches, photos)
    psnr, rmse, clamped = [], [], lambda x: small(x[None])[0].detach().clamp(-1, 1)
    for batch in batches:
        for i in range(len(batch)):
            psnr.append(peak_signal_noise_ratio(batch.rgb[i].numpy(), clamped(batch.rgb[i]).numpy(), data_range=2))
            depth = small(batch.depth[i : i + 1].repeat(1, 3, 1, 1))[0].detach().mean(0).clamp(-1, 1)
            wrong = (depth - batch.depth[i, 0])[batch.skin[i, 0]] * 0.9 / 2
            rmse.append(wrong.square().mean().sqrt().item())
    of_photos = [peak_signal_noise_ratio(p.numpy(), clamped(p).numpy(), data_range=2) for p in photos]
    assert found["psnr_db"] == pytest.approx(np.mean(psnr), rel=1e-4)
    assert found["rmse_depth"] == pytest.approx(np.mean(rmse), rel=1e-4)
    assert found["photos_db"] == pytest.approx(np.mean(of_photos), rel=1e-4)


def test_costs_and_their_clock():
    calls = iter([0.0, 3.0, 10.0, 12.0, 20.0, 25.0])
    assert best_seconds(lambda: None, 3, lambda: next(calls)) == 2.0
    found = costs(small_codec(latent_channels=4), size_px=64, repeats=1)
    assert set(found) == {"encode_s", "decode_s", "unet_step_s", "unet_sample_s"}
    assert all(value > 0 for value in found.values())


def test_widths_go_into_both_halves_and_finer_resolutions_get_a_block():
    network = {"encoder_widths": [96], "encoder_blocks": [2], "decoder_widths": [128], "decoder_blocks": [6]}
    recipe = {"network": network, "momentum": 0.1}
    assert shaped(recipe, None) == recipe
    found = shaped(recipe, (32, 64))["network"]
    assert (found["encoder_widths"], found["encoder_blocks"]) == ([32, 64], [1, 2])
    assert (found["decoder_widths"], found["decoder_blocks"]) == ([32, 64], [1, 6])
    two = {"network": network | {"encoder_blocks": [1, 2], "decoder_blocks": [3, 6]}}
    assert shaped(two, (64,))["network"]["decoder_blocks"] == [6]


def test_photos_are_centre_squares(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 10:50] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (tmp_path / "notes.txt").write_text("no picture")
    photos = read_photos(tmp_path, 16)
    assert photos.shape == (1, 3, 16, 16)
    assert torch.equal(photos[0, :, 3, 3], torch.tensor([1.0, -1.0, -1.0]))
    # the filter reaches over the border by a pixel
    assert (photos[0, 0] > 0.8).all()


@pytest.mark.slow
def test_the_command_writes_its_results(folder, tmp_path):
    shards = ["--train", str(folder / "train"), "--test", str(folder / "test"), "--config", str(folder / "recipe.yaml")]
    grid = ["--factors", "4", "8", "--channels", "3", "--widths", "8", "4,8", "--seconds", "0.2", "0.1"]
    grid += ["--repeats", "1"]
    out = tmp_path / "out"
    assert main(["codec", *shards, *grid, "--photos", str(folder / "photos"), "--out", str(out)]) == 0
    result = json.loads((out / "codec.json").read_text())
    shapes = [(row["factor"], row["channels"], row["widths"], row["seconds"]) for row in result["rows"]]
    kinds = [(4, 3, "8 8"), (4, 3, "4,8 4,8"), (8, 3, "8 8"), (8, 3, "4,8 4,8")]
    assert shapes == [(*kind, mark) for mark in (0.1, 0.2) for kind in kinds]
    assert [row["latents"] for row in result["rows"][::2]][:2] == [3 * 64, 3 * 16]
    sizes = [row["parameters"] for row in result["rows"][:4]]
    assert len(set(sizes)) == 4
    assert [row["encode_s"] for row in result["rows"][:4]] == [row["encode_s"] for row in result["rows"][4:]]
    assert all(row["steps"] > 0 and row["photos_db"] > 0 and row["unet_step_s"] > 0 for row in result["rows"])
    assert result["stamp"]["pictures"] == 4
    with (out / "codec.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8
    lines = (out / "codec.md").read_text().splitlines()
    assert len(lines) == 2 + 8
    assert {line.count("|") for line in lines} == {15}
    with Image.open(out / "codec.png") as picture:
        assert min(picture.size) > 400


def test_bad_input_is_one_line(folder, tmp_path, capsys):
    (tmp_path / "image.yaml").write_text("model: {}\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_bytes(b"no")
    (tmp_path / "empty").mkdir()
    base = ["codec", "--out", str(tmp_path / "out"), "--test", str(folder / "test")]
    for more, word in (
        (["--config", str(tmp_path / "image.yaml")], "image.yaml"),
        (["--photos", str(tmp_path / "broken")], "a.jpg"),
        (["--photos", str(tmp_path / "empty")], "holds no pictures"),
        (["--seconds", "0"], "positive"),
        (["--widths", "9", "--config", str(folder / "recipe.yaml")], "widths (9,): encoder: a width (even)"),
        (["--train", str(tmp_path / "nowhere"), "--seconds", "0.1"], "nowhere"),
    ):
        assert main([*base, *more]) == 2
        error = capsys.readouterr().err
        assert word in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_recipe_is_that_of_the_command():
    recipe = read_recipe(CONFIGS / "codec-tiny.yaml")
    assert recipe["clip"] == 1.0
    assert recipe["data"]["size_px"] == 128
    assert "train" not in recipe["data"]
    assert {"encoder_widths", "decoder_widths"} <= set(recipe["model"]["network"])
    assert "learning_rate" in recipe["model"]["optimizer"]
    with pytest.raises(BenchmarkError, match=r"nowhere\.yaml"):
        read_recipe(CONFIGS / "nowhere.yaml")
