"""What a parser takes out of the skin: a parser in ONNX that knows red for skin, and photos of the assets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_convolution
from PIL import Image, ImageDraw

from data_prep.__main__ import main
from data_prep.clips.steps.bare import keep_bare
from jdap.choices import BACKGROUND, HAIR, SKIN
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker
from jdap.faces.parser import load_parser
from jdap.shards.reader import read_samples


def test_covered_pixels_leave_the_mask_and_doubt_weighs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    weight = np.array([[0, 0, 0], [4, 0, 0], [-9, 0, 0]], np.float32)
    (tmp_path / "red.json").write_text(json.dumps({"classes": [BACKGROUND, SKIN, HAIR]}))
    parser = load_parser(str(write_convolution(tmp_path / "red.onnx", weight, np.array([0, -2, 0], np.float32))))
    assert parser is not None
    rgb = np.zeros((1, 16, 16, 3), np.uint8)
    rgb[0, :, 4:, 0] = 160  # skin, of which it is not sure
    rgb[0, :, 10:, 0] = 255
    skin = np.zeros((1, 16, 16), bool)
    skin[0, 2:14] = True
    confidence = np.full((1, 16, 16), 0.5, np.float32)
    bare, weighed = keep_bare(parser, rgb, skin, confidence)
    assert weighed is not None
    assert not bare[0, :, :4].any()
    np.testing.assert_array_equal(bare[0, :, 4:], skin[0, :, 4:])
    assert (weighed[~bare] == 0).all()
    # Shares by hand: exp(4 red − 2) beside 1 and exp(−9 red).
    for column, red in ((6, 160 / 255), (12, 1.0)):
        share = np.exp(4 * red - 2) / (1 + np.exp(4 * red - 2) + np.exp(-9 * red))
        assert weighed[0, 8, column] == pytest.approx(0.5 * share, rel=1e-4)
    assert keep_bare(parser, rgb, skin, None)[1] is None


@pytest.fixture(scope="module")
def covered(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person as it is, and with a black bar over the eyes."""
    folder = tmp_path_factory.mktemp("covered") / "somebody"
    folder.mkdir()
    photos = sorted((assets / "lfw" / "Abdullah_Gul").iterdir())[:2]
    shutil.copy(photos[0], folder / "bare.jpg")
    image = Image.open(photos[1]).convert("RGB")
    with Landmarker() as landmarker:
        points = landmarker.find(np.asarray(image))[0].landmarks_px_N3[:FACE_LANDMARKS, :2]
    (left, _), (right, _) = points.min(0), points.max(0)
    eyes = float(points[[33, 263], 1].mean())
    ImageDraw.Draw(image).rectangle((left - 5, eyes - 11, right + 5, eyes + 11), fill=(12, 12, 14))
    image.save(folder / "covered.png")
    return folder.parent


def depth_masks(out: Path) -> dict[str, np.ndarray]:
    samples = [s for shard in sorted(out.rglob("*.tar")) for s in read_samples(shard)]
    return {f"{s.record.clip_id}-{i}": skin for s in samples for i, skin in enumerate(s.skin_FHW)}


@pytest.mark.slow
def test_photos_lose_the_skin_that_is_hidden_and_any_worker_writes_the_same(covered: Path, tmp_path: Path) -> None:
    made = {}
    for name, options in (
        ("none", []),
        ("shipped", ["--parser", "shipped", "--workers", "0"]),
        ("two", ["--parser", "shipped", "--workers", "2"]),
    ):
        out = tmp_path / name
        assert main(["photos", str(covered), "--out", str(out), "--size", "64", *options]) == 0
        made[name] = {p.name: p.read_bytes() for p in sorted(out.rglob("*.tar"))}
    assert made["shipped"] == made["two"] != made["none"]
    before, after = depth_masks(tmp_path / "none"), depth_masks(tmp_path / "shipped")
    assert before.keys() == after.keys()
    lost = sorted(1 - (after[k] & before[k]).sum() / before[k].sum() for k in before)
    assert all((after[k] <= before[k]).all() for k in before)
    assert lost[0] < 0.1  # the bare face stays
    assert lost[-1] > 0.12  # the bar is a fifth of the other


@pytest.mark.slow
def test_ray_writes_the_same_bytes(covered: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    made = []
    for name, engine in (("local", []), ("ray", ["--engine", "ray"])):
        how = ["photos", str(covered), "--out", str(tmp_path / name), "--size", "64", "--parser", "shipped"]
        assert main([*how, *engine, "--workers", "1"]) == 0
        made.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).rglob("*.tar"))})
    assert made[0] == made[1] != {}


@pytest.mark.slow
def test_other_parsers_are_other_settings(covered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    how = ["photos", str(covered), "--out", str(out), "--size", "64"]
    assert main([*how, "--parser", "shipped"]) == 0
    assert main(how) == 2
    assert "parser" in capsys.readouterr().err
    assert main([*how, "--parser", str(tmp_path / "no.onnx")]) == 2
    assert "no.onnx" in capsys.readouterr().err
