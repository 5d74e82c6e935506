"""The benchmark of relighting on drawn pairs: true depth and true lights must win, and the numbers must be right."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import networks, small_codec
from PIL import Image
from shapes import CAMERA, sphere
from skimage.metrics import peak_signal_noise_ratio

from benchmarks.__main__ import main
from benchmarks.relight.fits import with_heads
from benchmarks.relight.pairs import read_pairs
from benchmarks.relight.relight import scores
from jdap.diffusion.schedule import NoiseSchedule
from jdap.faces.landmarker import Landmarker
from jdap.light.colour import from_light
from jdap.light.lights import Light
from jdap.light.ratio import Shape, shading
from jdap.light.sources import from_direction
from jdap.pipelines.portrait import PortraitPipeline
from jdap.shards.sample import Sample
from jdap.shards.schema import STUDIO, Record
from jdap.shards.writer import ShardWriter

SIZE = 32


def arrays(light: Light, name: str, gain: str) -> dict[str, np.ndarray]:
    lamps = torch.nn.functional.pad(light.lamps_BD3, (0, 0, 0, 2))
    power = torch.nn.functional.pad(light.power_BD3, (0, 0, 0, 2))
    found = {f"{name}_ambient": light.ambient_B93, f"{name}_lamps": lamps, f"{name}_power": power, gain: torch.ones(1)}
    return {key: value.numpy() for key, value in found.items()}


def pair(index: int, relit: bool = True) -> Sample:
    """A ball in two lights."""
    depth_mm, normals = sphere(SIZE)
    shape = Shape(normals, depth_mm, CAMERA * SIZE / 64)
    lights = [from_direction(40 - 30 * index, 10, 0.6, 0.3), from_direction(-50, 20 + index, 0.6, 0.3)]
    albedo = torch.tensor([0.55, 0.42, 0.33])[:, None, None]
    pictures = []
    for light in lights:
        lit = torch.where(shape.known, from_light(albedo * shading(light, shape)), torch.full((1, 3, SIZE, SIZE), 0.4))
        pictures.append((lit * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy())
    nothing = np.zeros((1, 3), np.float32)
    known = {
        "camera_px": shape.camera_px_B3.numpy(),
        "rotation": nothing,
        "translation_mm": nothing,
        "identity": nothing,
        "expression": nothing,
        **arrays(lights[0], "light", "exposure_gain"),
        **(arrays(lights[1], "relit", "relit_gain") if relit else {}),
    }
    person = f"ball-{index}"
    return Sample(
        Record(person, person, STUDIO, 1, SIZE, 0.0),
        pictures[0],
        depth_mm[0].numpy(),
        shape.known[0].numpy(),
        known,
        maps={"relit": pictures[1]} if relit else {},
    )


def write(folder: Path, samples: list[Sample]) -> Path:
    folder.mkdir()
    with ShardWriter(folder, "pairs") as writer:
        for sample in samples:
            writer.write(sample)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    PortraitPipeline(small_codec(), *networks(), NoiseSchedule(), preset="tiny", size_px=SIZE).save_pretrained(folder)
    return folder


def test_the_table(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards, out = write(tmp_path / "pairs", [pair(i) for i in range(3)]), tmp_path / "out"
    asked = ["relight", "--shards", str(shards), "--weights", str(weights), "--out", str(out), "--device", "cpu"]
    assert main([*asked, "--steps", "4", "--no-fit"]) == 0
    result = json.loads((out / "relight.json").read_text())
    mean = {(row["answer"], row["measure"]): row["mean"] for row in result["rows"]}
    nothing, best = mean["nothing", "psnr"], mean["true depth, both lights told", "psnr"]
    assert best > nothing + 10
    assert nothing + 3 < mean["true depth, light told", "psnr"] <= best + 0.5
    assert mean["true depth, light told", "old_light_deg"] < 20
    assert mean["true depth, light seen", "new_light_deg"] < 20
    assert ("drawn depth, light told, redrawn", "psnr") in mean
    told = {(row["first"], row["other"], row["measure"]): row for row in result["differences"]}
    of = told["true depth, light told", "drawn depth, light told", "psnr"]
    assert of["difference"] == pytest.approx(
        mean["true depth, light told", "psnr"] - mean["drawn depth, light told", "psnr"]
    )
    assert of["difference_ci"][0] <= of["difference"] <= of["difference_ci"][1]
    with (out / "relight.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"])
    assert (out / "relight.png").is_file()
    # The perceptual distance, or why it cannot be had.
    left_out = result["stamp"]["left_out"]
    assert ("st_lpips" in left_out) != (("nothing", "st_lpips") in mean)
    assert all("jdap[perceptual]" in why for why in left_out.values())
    assert "nothing" in capsys.readouterr().out


def test_measures_against_another_implementation(tmp_path: Path) -> None:
    (pairs,) = read_pairs(str(write(tmp_path / "pairs", [pair(0)])), 4)
    found = scores(pairs.old_B3SS, pairs)
    a, b = (x[0].permute(1, 2, 0).numpy() for x in (pairs.old_B3SS, pairs.new_B3SS))
    assert found["psnr"][0] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-3)
    person = pairs.person_B1SS[0, 0].numpy()
    assert found["psnr_person"][0] == pytest.approx(
        peak_signal_noise_ratio(b[person], a[person], data_range=1), abs=1e-3
    )
    assert math.isnan(found["old_light_deg"][0])
    turned = scores(pairs.old_B3SS, pairs, old=from_direction(60, 10, 0.6, 0.3))
    assert turned["old_light_deg"][0] == pytest.approx(20, abs=1)


def test_heads_are_fitted_where_a_face_is_found(assets: Path, tmp_path: Path) -> None:
    ball, face = pair(0), pair(1)
    photo = Image.open(assets / "portraits" / "000055.jpg").convert("RGB").resize((SIZE * 4, SIZE * 4))
    (pairs,) = read_pairs(str(write(tmp_path / "pairs", [ball, face])), 4)
    small = torch.nn.functional.interpolate(pairs.old_B3SS, SIZE * 4)
    small[1] = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1) / 255
    lost: list[str] = []
    with Landmarker() as landmarker:
        ((kept, shape),) = with_heads([replace(pairs, old_B3SS=small)], landmarker, lost)
    assert (lost, kept.key, len(kept.new_light)) == ([ball.key], (face.key,), 1)
    torch.testing.assert_close(kept.new_light.lamps_BD3, pairs.new_light.lamps_BD3[1:])
    depth_mm = shape.depth_mm_B1HW[0, 0]
    nose, cheek = depth_mm[70:90, 60:70], depth_mm[70:90, 30:40]
    assert 0 < nose[nose > 0].min() < cheek[cheek > 0].min() - 15


def test_shards_without_a_second_light_are_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = write(tmp_path / "pairs", [pair(0, relit=False)])
    assert main(["relight", "--shards", str(shards), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 2
    assert "--relight" in capsys.readouterr().err
