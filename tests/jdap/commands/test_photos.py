"""``jdap depth`` and ``jdap generate`` from the command line on, with real (untrained) networks."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import jdap, rows
from PIL import Image
from scipy.ndimage import map_coordinates

from jdap.__main__ import main
from jdap.depth import from_uint16
from jdap.faces.crop import crop_frame
from jdap.faces.landmarker import MODEL_FILE
from jdap.pipelines.portrait import PortraitPipeline

SIZE = 32


def draw(path: Path, width: int = 96, height: int = 80, seed: int = 0, **options: object) -> Path:
    """A photo of smooth random colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
    return path


def test_networks_may_be_of_half_precision(small_weights: Path, tmp_path: Path) -> None:
    warned: list[str] = []
    listening = logging.Handler()
    listening.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("diffusers").addHandler(listening)
    path, found = draw(tmp_path / "a.png"), {}
    for dtype in ("float32", "bfloat16"):
        out = tmp_path / dtype
        asked = ["--weights", small_weights, "--box", "10,12,48", "--device", "cpu", "--dtype", dtype]
        assert jdap("depth", path, "--out", out, *asked) == 0
        assert json.loads((out / "a.depth.json").read_text())["made_by"]["dtype"] == dtype
        found[dtype] = from_uint16(np.asarray(Image.open(out / "a.depth.png")))
    apart = np.abs(found["float32"] - found["bfloat16"])
    assert np.nanmax(apart) > 0
    assert np.nanmean(apart) < 0.05
    logging.getLogger("diffusers").removeHandler(listening)
    assert not warned


def test_depth_is_that_of_the_pipeline_in_its_place(small_weights: Path, tmp_path: Path) -> None:
    path, out = draw(tmp_path / "a.png"), tmp_path / "out"
    box, seed = (10.25, 12.5, 48.0), 3
    asked = ["--weights", small_weights, "--box", ",".join(map(str, box)), "--device", "cpu"]
    assert jdap("depth", path, "--out", out, *asked, "--steps", 2, "--ensemble", 2, "--seed", seed) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "a.depth.json",
        "a.depth.png",
        "a.depth.preview.png",
        "a.depth.uncertainty.png",
        "rows.depth.jsonl",
    ]

    pipeline = PortraitPipeline.from_pretrained(small_weights)
    rgb = torch.from_numpy(crop_frame(np.asarray(Image.open(path)), np.array(box), SIZE).copy())
    depth = pipeline.image_to_depth(
        rgb.permute(2, 0, 1)[None] / 127.5 - 1, steps=2, ensemble=2, generator=torch.Generator().manual_seed(seed)
    ).depth
    full = from_uint16(np.asarray(Image.open(out / "a.depth.png")))
    assert full.shape == (80, 96)
    assert np.isfinite(full).sum() == 47 * 47  # pixels that lie in the box whole
    # Bilinear interpolation is another way there: it finds place and order.
    v, u = np.nonzero(np.isfinite(full))
    at = [(t + 0.5 - corner) * SIZE / 48 - 0.5 for t, corner in ((v, box[1]), (u, box[0]))]
    near = map_coordinates(depth[0, 0].numpy(), at, order=1, mode="nearest")
    assert np.corrcoef(near, full[v, u])[0, 1] > 0.95
    assert np.corrcoef(near, full[v, u][::-1])[0, 1] < 0.5

    data = json.loads((out / "a.depth.json").read_text())
    assert data["photo"] == {"width": 96, "height": 80, "exif_orientation": 1}
    assert data["window_px"] == {"left": 10.25, "top": 12.5, "size": 48.0, "outside": 0.0}
    assert data["depth"]["files"] == ["a.depth.png"]
    assert data["depth"]["encoding"] == "uint16; 0 = no value; depth = 2 * (value - 1) / 65534 - 1"
    assert "scale" in data["depth"]["meaning"]
    made_by = data["made_by"]
    assert (made_by["steps"], made_by["ensemble"], made_by["seed"], made_by["size_px"]) == (2, 2, 3, SIZE)
    files = ["a.depth.png", "a.depth.preview.png", "a.depth.uncertainty.png", "a.depth.json"]
    assert rows(out) == [{"source": str(path), "status": "done", "message": "", "files": files}]


def test_what_a_photo_gets_depends_on_it_and_the_seed_alone(small_weights: Path, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a.png", 64, 64, seed=1), draw(tmp_path / "b.png", 64, 64, seed=2)

    def depth(out: str, *args: object) -> bytes:
        assert jdap("depth", *args, "--weights", small_weights, "--no-crop", "--out", tmp_path / out) == 0
        return (tmp_path / out / "b.depth.png").read_bytes()

    alone = depth("1", second)
    assert depth("2", first, second) == alone
    assert depth("3", second, "--seed", 1) != alone


def test_copies_of_other_kinds_give_the_same_depth(small_weights: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    upright = Image.open(draw(photos / "upright.png", 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    upright.convert("CMYK").save(photos / "cmyk.tif")
    upright.convert("RGBA").save(photos / "alpha.png")
    upright.convert("L").save(photos / "grey.png")
    (photos / "notes.txt").write_text("folders may hold other files")
    assert jdap("depth", photos, "--weights", small_weights, "--no-crop", "--out", tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 5

    def depth(name: str) -> np.ndarray:
        return from_uint16(np.asarray(Image.open(tmp_path / "out" / f"{name}.depth.png")))

    for same in ("turned", "alpha"):
        np.testing.assert_array_equal(depth(same), depth("upright"))
    assert np.abs(depth("cmyk") - depth("upright")).mean() < 0.02
    assert np.isfinite(depth("grey")).all()
    assert json.loads((tmp_path / "out" / "turned.depth.json").read_text())["photo"]["exif_orientation"] == 6


def test_photos_that_fail_are_rows_and_the_others_go_on(
    small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, cut = draw(tmp_path / "good.png", 64, 64), draw(tmp_path / "cut.png", 64, 64)
    cut.write_bytes(cut.read_bytes()[:200])
    oblong = draw(tmp_path / "oblong.png", 64, 60)
    again = draw(tmp_path / "other" / "good.png", 64, 64, seed=5)
    out = tmp_path / "out"
    photos = [cut, good, tmp_path / "nowhere.jpg", oblong, again]
    assert jdap("depth", *photos, "--weights", small_weights, "--no-crop", "--out", out) == 1
    found = rows(out)
    assert [row["status"] for row in found] == ["failed", "done", "failed", "failed", "done"]
    assert [row["source"] for row in found] == [str(p) for p in photos]
    assert str(found[0]["message"]).startswith("damaged, cannot be read")
    assert found[2]["message"] == "no such file"
    assert "is no square" in str(found[3]["message"])
    # Two photos of one name are two results.
    assert (out / "good.depth.png").read_bytes() != (out / "good-2.depth.png").read_bytes()
    printed = capsys.readouterr().out
    assert f"failed  {cut}: damaged" in printed
    assert "3 of 5 photos failed" in printed


def test_generate_is_what_the_pipeline_generates(small_weights: Path, tmp_path: Path) -> None:
    path, out = draw(tmp_path / "me.png", 64, 64), tmp_path / "out"
    asked = ["--weights", small_weights, "--no-crop", "--steps", 2, "--guidance", 1.5, "--device", "cpu"]
    assert jdap("generate", "--reference", path, "--out", out, *asked, "--seed", 7, "--count", 2) == 0
    names = [f"me.seed{k}{end}" for k in (7, 8) for end in (".depth.png", ".png")]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*names, "me.seed.json", "me.seed.preview.png", "rows.seed.jsonl"]
    )
    rgb = torch.from_numpy(crop_frame(np.asarray(Image.open(path)), np.array([0.0, 0.0, 64.0]), SIZE).copy())
    made = PortraitPipeline.from_pretrained(small_weights).generate(
        rgb.permute(2, 0, 1)[None] / 127.5 - 1, steps=2, guidance=1.5, generator=torch.Generator().manual_seed(8)
    )
    drawn = np.asarray(Image.open(out / "me.seed8.png")) / 127.5 - 1
    assert np.abs(drawn - made.rgb[0].permute(1, 2, 0).numpy()).max() < 0.005
    depth = from_uint16(np.asarray(Image.open(out / "me.seed8.depth.png")))
    assert np.abs(depth - made.depth[0, 0].numpy()).max() < 1e-4
    assert Image.open(out / "me.seed.preview.png").width == 5 * SIZE


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["depth", "PHOTO", "--weights", "nowhere"], "nowhere: no such weights folder"),
        (["depth", "PHOTO", "--weights", "shipped:nothing"], "shipped:nothing: does not ship with jdap"),
        (["depth", "PHOTO", "--steps", "2000"], "--steps: steps must be within"),
        (["depth", "PHOTO", "--device", "abacus"], "--device abacus: not available here"),
        (["depth", "EMPTY"], "the folder holds no pictures"),
        (["generate", "--reference", "PHOTO", "--several", "all"], "--several all: a portrait has one reference"),
    ],
)
def test_what_cannot_be_done_at_all_is_one_line_and_status_2(
    args: list[str], says: str, small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PHOTO": str(draw(tmp_path / "p.png", 64, 64)), "EMPTY": str(tmp_path / "empty")}
    words = [places.get(word, word) for word in args]
    if "--weights" not in args:
        words += ["--weights", str(small_weights)]
    if "--several" not in args:
        words += ["--no-crop"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [["--box", "1,2"], ["--box", "1,2,0"], ["--box", "0,0,64", "--no-crop"], ["--steps", "0"], ["--several", "some"]],
)
def test_misuse_of_options(args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        jdap("depth", "p.png", "--out", tmp_path, *args)
    assert stop.value.code == 2
    assert args[0] in capsys.readouterr().err


def test_without_network_there_is_a_way(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JDAP_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("jdap.io.fetch.WAIT_S", 0.0)
    # Port 9 of this machine: nobody listens.
    offline = replace(MODEL_FILE, url="http://127.0.0.1:9/face_landmarker.task")
    monkeypatch.setattr("jdap.faces.landmarker.MODEL_FILE", offline)
    path = draw(tmp_path / "p.png", 64, 64)
    assert jdap("depth", path, "--weights", small_weights, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "face_landmarker cannot be had from" in error
    assert "set JDAP_ASSETS" in error
    assert "--box LEFT,TOP,SIZE, or --no-crop" in error
    assert len(error.splitlines()) == 1
    assert jdap("depth", path, "--weights", small_weights, "--no-crop", "--out", tmp_path / "out") == 0


def test_real_portraits(small_weights: Path, assets: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    source = Image.open(assets / "portraits" / "000055.jpg").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 8
    source.save(photos / "a.png")
    source.transpose(Image.Transpose.ROTATE_270).save(photos / "b.png", exif=exif)
    source.convert("CMYK").save(photos / "c.jpg", quality=95)
    source.convert("L").save(photos / "d.jpg", quality=95)
    Image.new("RGB", (300, 200), "olive").save(photos / "e.png")
    out = tmp_path / "out"
    assert jdap("depth", photos, "--weights", small_weights, "--out", out) == 1
    assert [row["status"] for row in rows(out)] == ["done"] * 4 + ["failed"]
    assert str(rows(out)[4]["message"]).startswith("no face is found")
    windows = [json.loads((out / f"{name}.depth.json").read_text())["window_px"] for name in "abcd"]
    assert windows[1] == windows[0]
    for other in windows[2:]:
        assert [other[k] for k in ("left", "top", "size")] == pytest.approx(
            [windows[0][k] for k in ("left", "top", "size")], abs=6
        )
    assert Image.open(out / "a.depth.png").size == source.size
    assert (out / "a.depth.png").read_bytes() == (out / "b.depth.png").read_bytes()
