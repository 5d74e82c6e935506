"""What `jdap info` says of weights and shards, beside what they were made with."""

import json

import pytest
import safetensors.torch
from fakes import write_fakes
from networks import networks, small_codec

from jdap.__main__ import main
from jdap.diffusion.schedule import NoiseSchedule
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("info") / "weights"
    PortraitPipeline(small_codec(), *networks(), NoiseSchedule(), preset="tiny", size_px=32).save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps({"stage": "ImageStage", "steps": 7}))
    return folder


def found(folder, capsys) -> dict:
    assert main(["info", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_weights_are_counted_and_their_training_is_told(weights, capsys):
    told = found(weights, capsys)
    joint, reference = networks()
    counts = {"codec": small_codec(), "unet": joint, "reference": reference}
    for name, network in counts.items():
        stored = safetensors.torch.load_file(next((weights / name).glob("*.safetensors")))
        assert told["components"][name]["parameters"] == sum(x.numel() for x in stored.values())
        assert told["components"][name]["parameters"] >= sum(x.numel() for x in network.parameters())
        assert told["components"][name]["types"] == ["F32"]
    assert told["parameters"] == sum(part["parameters"] for part in told["components"].values())
    assert told["bytes"] == sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
    assert (told["preset"], told["size_px"], told["training"]) == ("tiny", 32, {"stage": "ImageStage", "steps": 7})


def test_weights_are_told_in_lines(weights, capsys):
    assert main(["info", str(weights)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(weights)
    assert {"  preset: tiny", "    unet:", "    steps: 7"} <= set(lines)


def test_a_codec_alone_is_told(weights, capsys):
    told = found(weights / "codec", capsys)
    assert told["kind"] == "ImageCodec"
    assert list(told["components"]) == ["."]


def test_shards_are_counted(tmp_path, capsys):
    write_fakes(tmp_path / "shards", people=3, frames=2, size_px=32, seed=0, per_shard=2)
    told = found(tmp_path / "shards", capsys)
    assert (told["shards"], told["samples"], told["people"], told["frames"]) == (2, 3, 3, 6)
    assert (told["sizes_px"], told["depth_sources"], told["kind"]) == ({"32": 3}, {"studio": 3}, "pictures")
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
    assert main(["info", str(tmp_path / "shards")]) == 0
    assert "  sizes px: 32 (3)" in capsys.readouterr().out.splitlines()


def test_what_is_neither_is_one_line(tmp_path, capsys):
    (tmp_path / "model_index.json").write_text("[")
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main(["info", str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(folder) in line
    (tmp_path / "model_index.json").unlink()
    assert main(["info", str(tmp_path)]) == 2
    assert "holds neither weights" in capsys.readouterr().err
