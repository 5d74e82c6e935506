"""``python -m benchmarks depth`` from the command line on, with drawn people and real (untrained) networks."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from networks import small_pipeline
from PIL import Image
from safetensors.torch import save_file

from benchmarks.__main__ import main
from jdap.pipelines.portrait import PortraitPipeline

ROOT = Path(__file__).resolve().parents[3]
SIZE = 32


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    fakes.write_fakes(folder, people=3, frames=2, size_px=SIZE, seed=9)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "weights"
    small_pipeline(32, 32).save_pretrained(folder)
    mean = fakes.sample(seed=1, frames=1, size_px=SIZE).depth_mm_FHW
    save_file({"mean_depth": torch.from_numpy(mean) / 500 - 1}, folder / "mean_depth.safetensors")
    return folder


def depth(*args: object) -> int:
    return main(["depth", *(str(a) for a in args)])


def test_writes_what_the_interface_promises(
    shards: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--weights", weights, "--shards", shards, "--out", tmp_path, "--device", "cpu", "--no-regions"]
    assert depth(*asked) == 0
    result = json.loads((tmp_path / "depth.json").read_text())
    assert set(result) == {"rows", "groups", "paired", "stamp"}
    named = {(row["method"], row["frame"]) for row in result["rows"]}
    frames = ("normalised", "paper", "metric")
    assert named == {(m, f) for m in ("jdap", "flat", "mean", "posed_mean_head") for f in frames}
    for row in result["rows"]:
        assert {"alignment", "n", "absrel", "delta1", "rmse", "rmse_ci"} <= set(row)
        assert row["n"] == 6
        assert row["rmse_ci"][0] <= row["rmse"] <= row["rmse_ci"][1]
        assert 0 <= row["delta1"] <= 1
    stamp = result["stamp"]
    assert (stamp["pictures"], stamp["people"], stamp["device"]) == (6, 3, "cpu")
    assert stamp["left_out"] == {"jdap_head": "the weights have no layers that better a fitted head"}
    assert stamp["shards"] == str(shards)
    assert set(stamp["seconds_per_picture"]) == {"jdap", "flat", "mean", "posed_mean_head"}
    with (tmp_path / "depth.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(r["rmse_lo"]) for r in table] == [row["rmse_ci"][0] for row in result["rows"]]
    picture = np.asarray(Image.open(tmp_path / "depth.png").convert("RGB"))
    assert picture.std() > 10
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("depth.csv", "depth.json", "depth.png", "groups.csv", "paired.csv", "pictures.csv")
    ]
    assert {row["of"] for row in result["groups"] if row["group"] == "source"} == {"studio"}
    assert {row["group"] for row in result["groups"]} >= {"yaw", "region"}
    printed = capsys.readouterr().out
    assert "posed_mean_head" in printed
    assert "not comparable" in printed


def test_figures_are_those_of_the_shards(shards: Path, tmp_path: Path) -> None:
    # Read again without jdap.data and without torch: the flat plane's RMSE in mm is the spread of depth over skin.
    spread = []
    for index in range(3):
        sample = fakes.sample(seed=9, index=index, frames=2, size_px=SIZE)
        spread += [z[m].std() for z, m in zip(sample.depth_mm_FHW, sample.skin_FHW, strict=True)]
    assert depth("--shards", shards, "--out", tmp_path, "--methods", "flat", "--size", SIZE) == 0
    rows = json.loads((tmp_path / "depth.json").read_text())["rows"]
    (row,) = [r for r in rows if (r["frame"], r["alignment"]) == ("metric", "scale_shift")]
    assert row["rmse"] == pytest.approx(np.mean(spread), rel=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(shards: Path, weights: Path, tmp_path: Path) -> None:
    def rmse(name: str, *more: object) -> float:
        out = tmp_path / name
        assert depth("--weights", weights, "--shards", shards, "--out", out, "--methods", "jdap", *more) == 0
        return json.loads((out / "depth.json").read_text())["rows"][0]["rmse"]

    first = rmse("a", "--batch-size", 4)
    assert rmse("b", "--batch-size", 4) == first
    assert rmse("c", "--batch-size", 4, "--seed", 1) != first
    assert rmse("d", "--batch-size", 4, "--steps", 2, "--ensemble", 2) != first


def test_limit(shards: Path, tmp_path: Path) -> None:
    assert depth("--shards", shards, "--out", tmp_path, "--methods", "flat", "--limit", 3, "--batch-size", 2) == 0
    assert json.loads((tmp_path / "depth.json").read_text())["stamp"]["pictures"] == 3


@pytest.mark.slow
def test_shards_without_mean_heads(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "bare"
    fakes.write_fakes(bare, people=1, frames=2, size_px=SIZE, mean_head=False, depth_source="fitted")
    asked = ["--shards", bare, "--out", tmp_path / "out", "--weights", weights]
    assert depth(*asked) == 0
    result = json.loads((tmp_path / "out" / "depth.json").read_text())
    assert {row["method"] for row in result["rows"]} == {"jdap", "mean", "flat"}
    assert "no depth of the posed mean head" in result["stamp"]["left_out"]["posed_mean_head"]
    # One person: an interval would be a lie, and NaN is not JSON.
    assert result["rows"][0]["rmse_ci"] == [None, None]
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out: posed_mean_head" in printed
    assert "one person only" in printed
    assert "fitted face model, not ground truth" in printed
    assert depth(*asked, "--methods", "flat,posed_mean_head") == 2
    assert "method posed_mean_head" in capsys.readouterr().err


@pytest.mark.slow
def test_baselines_import_no_network(shards: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from benchmarks.__main__ import main; "
        f"status = main(['depth', '--shards', {str(shards)!r}, '--out', {str(tmp_path)!r}, '--methods', 'flat']); "
        "bad = [m for m in sys.modules if m.startswith(('diffusers', 'jdap.pipelines', 'jdap.models'))]; "
        "assert status == 0 and not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--methods", "mean"], "method mean needs --weights"),
        (["--methods", "jdap"], "method jdap needs --weights"),
        (["--methods", "mean", "--weights", "nowhere"], "nowhere: no such weights folder"),
        (["--methods", "flat", "--device", "abacus"], "--device abacus: not available here"),
        (["--methods", "jdap", "--weights", "WEIGHTS", "--steps", "2000"], "--steps: steps must be within"),
        (["--methods", "flat", "--shards", "nowhere"], "nowhere"),
        (["--methods", "flat", "--function", "nothing"], "must be MODULE:FUNCTION"),
        (["--methods", "flat", "--function", "no_such_module:f"], "no_such_module"),
        (["--methods", "flat", "--function", "flat=math:sqrt"], "two methods are called flat"),
    ],
)
def test_user_errors_are_one_line_and_status_2(
    args: list[str], says: str, shards: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [str(weights) if a == "WEIGHTS" else a for a in args]
    assert depth("--shards", shards, "--out", tmp_path / "out", *args) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_missing_tensor_is_named(
    shards: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensor_files import tensors_of

    broken = tmp_path / "broken"
    PortraitPipeline.from_pretrained(weights).save_pretrained(broken)
    path = next((broken / "unet").glob("*.safetensors"))
    tensors = tensors_of(path)
    name = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != name}, path, metadata={"format": "pt"})
    asked = ["--weights", broken, "--shards", shards, "--out", tmp_path / "out", "--methods", "jdap"]
    assert depth(*asked) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--methods", "best"], ["--steps", "0"], ["--limit", "-1"]])
def test_misuse_of_options(args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        depth("--shards", tmp_path, "--out", tmp_path, *args)
    assert stop.value.code == 2
    assert args[0] in capsys.readouterr().err
