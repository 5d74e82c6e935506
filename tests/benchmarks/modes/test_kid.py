"""Sets of portraits beside sets of true pictures, by a network of one's own."""

import csv
import json
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from networks import small_pipeline
from onnx_files import write_convolution

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.modes.kid import FLOOR, TRUE_BLURRED, kid_rows
from benchmarks.modes.trunk import AlexTrunk, OnnxTrunk
from jdap.pipelines.pictures import sized

PEOPLE, SIDE = 5, 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    small_pipeline(SIDE, SIDE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    fakes.write_fakes(folder, people=PEOPLE, frames=2, size_px=SIDE, seed=9)
    return folder


@pytest.fixture
def trunk(tmp_path) -> Path:
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    return write_convolution(tmp_path / "trunk.onnx", weight, np.ones(4, np.float32), side=16)


def test_the_command_writes_its_table_and_the_page_shows_it(weights, shards, trunk, tmp_path, capsys):
    out = tmp_path / "kid"
    words = ["--weights", f"mine={weights}", "--shards", shards, "--trunk", trunk, "--steps", 2, "--out", out]
    assert main(["kid", *map(str, words), "--device", "cpu"]) == 0
    result = json.loads((out / "kid.json").read_text())
    found = {row["answer"]: row for row in result["rows"]}
    own = ["mine, joint", "mine, depth given", "codec", TRUE_BLURRED, FLOOR]
    assert list(found) == own + [f"mine, joint − {other}" for other in own[1:]]
    assert result["stamp"]["trunk"] == "trunk.onnx"
    for row in found.values():
        assert row["n"] == PEOPLE
        assert row["mean_ci"][0] <= row["mean_ci"][1]
    for other in own[1:]:
        difference = found["mine, joint"]["mean"] - found[other]["mean"]
        assert found[f"mine, joint − {other}"]["mean"] == pytest.approx(difference)
    assert found["mine, joint"]["mean"] > found["codec"]["mean"]  # noise, by a network without training
    with (out / "kid.csv").open() as file:
        assert [row["answer"] for row in csv.DictReader(file)] == list(found)
    assert "trunk.onnx" in capsys.readouterr().out
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "mine, depth given" in (tmp_path / "page.html").read_text()


def test_a_trunk_is_the_network_at_its_side_averaged_over_places(trunk):
    rgb = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    small = torch.stack([sized(one, "pictures", 16) for one in rgb]).mean((2, 3)).numpy()
    np.testing.assert_allclose(OnnxTrunk(trunk)(rgb).numpy(), small @ weight.T + 1, rtol=1e-4, atol=1e-5)


def test_networks_that_take_one_picture_take_all_in_turn(tmp_path):
    weight, bias = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    rgb = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = OnnxTrunk(write_convolution(tmp_path / "one.onnx", weight, bias, batch=1))(rgb)
    torch.testing.assert_close(found, rgb.mean((2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_text("no network"), "cannot be read as ONNX"),
        (lambda path: write_convolution(path, np.eye(2, dtype=np.float32), np.zeros(2, np.float32)), r"\(N, 3, S, S\)"),
    ],
)
def test_what_is_no_trunk_is_one_line(write, says, tmp_path):
    write(tmp_path / "t.onnx")
    with pytest.raises(BenchmarkError, match=f"t.onnx.*{says}") as error:
        OnnxTrunk(tmp_path / "t.onnx")
    assert "\n" not in str(error.value)


def test_the_trunk_by_default_is_no_linear_one():
    """Features are long enough for the kernel's third power to matter."""
    pytest.importorskip("stlpips_pytorch", reason="the extra jdap[perceptual]")
    rgb = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = AlexTrunk()(rgb)
    assert features.shape == (4, 256)
    assert 0.1 < float((features.square().sum(1) / 256).min()) <= 1


def test_one_set_twice_is_not_told_apart_and_another_is():
    rng = torch.Generator().manual_seed(0)
    true, other = torch.randn(2, 80, 6, generator=rng)
    rows = {row["answer"]: row for row in kid_rows({"off": other + 0.5, "same": other}, true, seed=0)}
    assert rows["off"]["mean_ci"][0] > 0
    assert rows["same"]["mean_ci"][0] < 0 < rows["same"]["mean_ci"][1]
    assert rows["off − same"]["mean_ci"][0] > 0


def test_what_cannot_be_compared_is_one_line(weights, shards, trunk, tmp_path, capsys):
    rest = ["--shards", shards, "--trunk", trunk, "--steps", 1, "--out", tmp_path / "out", "--device", "cpu"]
    for words, says in (
        (["--weights", f"a={weights}", "--weights", f"a={weights}"], "names must differ"),
        (["--weights", f"a={weights}", "--limit", 2], "three people or more"),
    ):
        assert main(["kid", *map(str, [*words, *rest])]) == 2
        assert says in capsys.readouterr().err
