"""``jdap edit``, ``jdap generate --depth`` and ensembles from the command line on, with real (untrained) networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import jdap, pixels
from PIL import Image

from jdap.depth import from_uint16, to_uint16
from jdap.faces.landmarker import Landmarker
from jdap.photos import inputs
from jdap.photos.paste import png
from jdap.photos.read import PhotoError, read_photo
from jdap.pipelines.portrait import PortraitPipeline

SIZE = 32
BOX = (10.0, 12.0, 64.0)


def draw(path: Path, width: int = 96, height: int = 80, seed: int = 0, **options: object) -> Path:
    """A photo of smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
    return path


def mask(path: Path, *box: int, size: tuple[int, int] = (96, 80)) -> Path:
    """White inside (left, top, right, bottom)."""
    image = Image.new("L", size)
    if box:
        image.paste(255, box)
    image.save(path)
    return path


@pytest.fixture
def asked(small_weights: Path) -> list[object]:
    return ["--weights", small_weights, "--box", ",".join(map(str, BOX)), "--device", "cpu"]


def test_an_edit_changes_the_mask_alone(asked: list[object], tmp_path: Path) -> None:
    photo, hole = draw(tmp_path / "a.png"), mask(tmp_path / "m.png", 40, 30, 60, 50)
    out = tmp_path / "out"
    assert jdap("edit", photo, "--mask", hole, "--out", out, *asked, "--steps", 2, "--variants", 2, "--seed", 5) == 0
    names = [f"a.edit{k}{end}" for k in ("", 2) for end in (".png", ".depth.png")]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*names, "a.edit.json", "a.edit.preview.png", "rows.edit.jsonl"]
    )
    own, made, other = pixels(photo), pixels(out / "a.edit.png"), pixels(out / "a.edit2.png")
    hidden = pixels(hole) > 0
    np.testing.assert_array_equal(made[~hidden], own[~hidden])
    assert np.abs(made[hidden].astype(int) - own[hidden]).mean() > 10
    assert not np.array_equal(made, other)
    depth = from_uint16(pixels(out / "a.edit.depth.png"))
    assert depth.shape == (80, 96)
    assert np.isfinite(depth[12:76, 10:74]).all()
    data = json.loads((out / "a.edit.json").read_text())
    assert data["given"] == {"mask": str(hole), "depth": None, "reference": None}
    assert (data["made_by"]["keep_depth"], data["made_by"]["steps"], data["made_by"]["seed"]) == ("outside", 2, 5)


def test_the_depth_of_a_variant_is_read_as_that_of_its_window(asked: list[object], tmp_path: Path) -> None:
    photo, hole, out = draw(tmp_path / "a.png"), mask(tmp_path / "m.png", 40, 30, 60, 50), tmp_path / "out"
    assert jdap("edit", photo, "--mask", hole, "--out", out, *asked, "--steps", 1, "--variants", 2) == 0
    for name in ("a.edit.depth.png", "a.edit2.depth.png"):
        window = from_uint16(pixels(out / name))[12:76, 10:74]
        inside = np.asarray(Image.fromarray(window).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        middle = np.s_[3:-3, 3:-3]  # what lies outside of the window has a share in its edge
        np.testing.assert_allclose(inputs.read_depth(out / name, SIZE)[middle], inside[middle], atol=1e-4)
        for command in (["generate", "--reference"], ["edit", "--mask", hole]):
            given = [*command, photo, "--depth", out / name, "--steps", 1]
            assert jdap(*given, "--out", tmp_path / "given", *asked) == 0
    (out / "a.edit.json").unlink()
    with pytest.raises(PhotoError, match=r"no square.* a\.edit\.json"):
        inputs.read_depth(out / "a.edit.depth.png", SIZE)


def test_what_lies_under_the_mask_has_no_influence(asked: list[object], tmp_path: Path) -> None:
    hole = mask(tmp_path / "m.png", 40, 30, 60, 50)
    one = draw(tmp_path / "a.png")
    changed = pixels(one).copy()
    changed[30:50, 40:60] = 255
    Image.fromarray(changed).save(tmp_path / "b.png")
    made = []
    for name in ("a", "b"):
        assert jdap("edit", tmp_path / f"{name}.png", "--mask", hole, "--out", tmp_path / "out", *asked) == 0
        made.append(pixels(tmp_path / "out" / f"{name}.edit.png"))
    np.testing.assert_array_equal(*made)


def test_depth_may_be_given_and_kept(asked: list[object], tmp_path: Path) -> None:
    photo, hole, out = draw(tmp_path / "a.png"), mask(tmp_path / "m.png", 40, 30, 60, 50), tmp_path / "out"
    assert jdap("depth", photo, "--out", out, *asked) == 0
    given_depth = out / "a.depth.png"
    both = ["--mask", hole, *asked, "--steps", 2, "--depth", given_depth]
    assert jdap("edit", photo, "--out", tmp_path / "kept", *both, "--keep-depth", "all") == 0
    kept = from_uint16(pixels(tmp_path / "kept" / "a.edit.depth.png"))
    inside = np.s_[20:70, 18:66]
    # Twice through the crop's resolution.
    assert np.abs(kept - from_uint16(pixels(given_depth)))[inside].mean() < 0.01
    assert jdap("edit", photo, "--out", tmp_path / "free", *both, "--keep-depth", "none") == 0
    free = from_uint16(pixels(tmp_path / "free" / "a.edit.depth.png"))
    off = [np.abs(x - from_uint16(pixels(given_depth)))[inside].mean() for x in (kept, free)]
    assert off[1] > 1.5 * off[0]


def test_a_feather_and_a_reference(asked: list[object], tmp_path: Path) -> None:
    photo, hole = draw(tmp_path / "a.png"), mask(tmp_path / "m.png", 40, 30, 60, 50)
    how = ["edit", photo, "--mask", hole, *asked, "--steps", 2]
    for name, more in (
        ("hard", []),
        ("soft", ["--feather", 3]),
        ("other", ["--reference", draw(tmp_path / "r.png", seed=4)]),
    ):
        assert jdap(*how, "--out", tmp_path / name, *more) == 0
    hard, soft, other = (pixels(tmp_path / name / "a.edit.png") for name in ("hard", "soft", "other"))
    changed = np.argwhere((hard != soft).any(2))
    assert changed.min(0).tolist() >= [27, 37]
    assert changed.max(0).tolist() <= [52, 62]
    np.testing.assert_array_equal(hard[32:48, 42:58], soft[32:48, 42:58])
    assert not np.array_equal(hard, other)


def test_a_mask_grows_by_pixels(asked: list[object], tmp_path: Path) -> None:
    photo, hole = draw(tmp_path / "a.png"), mask(tmp_path / "m.png", 40, 30, 60, 50)
    how = ["edit", photo, "--mask", hole, "--grow", 4, "--out", tmp_path / "out", *asked, "--steps", 1]
    assert jdap(*how) == 0
    changed = np.argwhere((pixels(tmp_path / "out" / "a.edit.png") != pixels(photo)).any(2))
    assert (changed.min(0).tolist(), changed.max(0).tolist()) == ([26, 36], [53, 63])


def test_what_is_made_anew_must_be_said(asked: list[object], tmp_path: Path, capsys) -> None:
    photo = draw(tmp_path / "a.png")
    assert jdap("edit", photo, "--out", tmp_path / "out", *asked) == 2
    assert "--part eyes" in capsys.readouterr().err
    assert jdap("edit", photo, "--part", "hair", "--parser", "none", "--out", tmp_path / "out", *asked) == 2
    assert "--parser none" in capsys.readouterr().err


@pytest.mark.slow
def test_parts_of_a_portrait_by_the_weights_that_ship(assets: Path, tmp_path: Path) -> None:
    photo, out = assets / "portraits" / "astronaut.png", tmp_path / "out"
    how = ["--grow", 2, "--feather", 3, "--variants", 2, "--steps", 2, "--device", "cpu", "--out", out]
    assert jdap("edit", photo, "--part", "mouth", "--part", "eyes", *how) == 0
    own, one, two = pixels(photo)[..., :3], pixels(out / "astronaut.edit.png"), pixels(out / "astronaut.edit2.png")
    changed = (one != own).any(2)
    with Landmarker() as landmarker:
        points = landmarker.find(np.ascontiguousarray(own))[0].landmarks_px_N3[:, :2]
    for center in (points[[13, 14]], points[[159, 145]], points[[386, 374]]):
        x, y = center.mean(0).astype(int)
        assert changed[y - 1 : y + 2, x - 1 : x + 2].any()
    x, y = points[4].astype(int)  # the nose
    assert not changed[y - 2 : y + 3, x - 2 : x + 3].any()
    assert 0 < changed.mean() < 0.1
    assert (one != two).any()
    told = json.loads((out / "astronaut.edit.json").read_text())
    assert (told["seeds"], told["made_by"]["parts"]) == ([0, 1], ["mouth", "eyes"])


@pytest.mark.parametrize(
    ("box", "size", "says"),
    [
        ((), (96, 80), "has no white pixel"),
        ((0, 0, 5, 5), (96, 80), "no white pixel lies in the head's window"),
        ((0, 0, 5, 5), (90, 80), "the mask is 90 x 80, the upright photo 96 x 80"),
    ],
)
def test_masks_that_do_not_fit(asked, tmp_path, capsys, box, size, says) -> None:
    hole = mask(tmp_path / "m.png", *box, size=size)
    assert jdap("edit", draw(tmp_path / "a.png"), "--mask", hole, "--out", tmp_path / "out", *asked) == 1
    assert says in json.loads((tmp_path / "out" / "rows.edit.jsonl").read_text())["message"]


def test_generate_on_a_depth_is_depth_to_image(small_weights: Path, asked: list[object], tmp_path: Path) -> None:
    reference, out = draw(tmp_path / "me.png"), tmp_path / "out"
    depth = np.linspace(-1, 1, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    (tmp_path / "d.png").write_bytes(png(to_uint16(depth)))
    how = ["--steps", 2, "--guidance", 1.5, "--method", "repaint", "--resample", 2, "--seed", 3]
    assert jdap("generate", "--reference", reference, "--depth", tmp_path / "d.png", "--out", out, *asked, *how) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "me.seed.json",
        "me.seed.preview.png",
        "me.seed3.png",
        "rows.seed.jsonl",
    ]
    crop = np.asarray(Image.open(reference).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(10, 12, 74, 76)))
    made = PortraitPipeline.from_pretrained(small_weights).depth_to_image(
        torch.from_numpy(depth)[None, None],
        reference=torch.from_numpy(crop.copy()).permute(2, 0, 1)[None] / 127.5 - 1,
        steps=2,
        guidance=1.5,
        method="repaint",
        resample=2,
        generator=torch.Generator().manual_seed(3),
    )
    drawn = pixels(out / "me.seed3.png") / 127.5 - 1
    assert np.abs(drawn - made[0].permute(1, 2, 0).numpy()).mean() < 0.01
    assert json.loads((out / "me.seed.json").read_text())["made_by"]["depth"] == str(tmp_path / "d.png")
    assert jdap("generate", "--reference", reference, "--out", out, *asked, "--resample", 2) == 2
    assert jdap("generate", "--reference", reference, "--depth", reference, "--out", out, *asked) == 2


def test_an_ensemble_has_an_uncertainty(small_weights: Path, asked: list[object], tmp_path: Path) -> None:
    photo, out = draw(tmp_path / "a.png"), tmp_path / "out"
    assert jdap("depth", photo, "--out", out, *asked, "--ensemble", 3, "--steps", 2) == 0
    found = (from_uint16(pixels(out / "a.depth.uncertainty.png")) + 1) / 2
    assert np.isfinite(found).sum() == 64 * 64
    assert np.nanmin(found) >= 0
    crop = np.asarray(Image.open(photo).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(10, 12, 74, 76)))
    estimate = PortraitPipeline.from_pretrained(small_weights).image_to_depth(
        torch.from_numpy(crop.copy()).permute(2, 0, 1)[None] / 127.5 - 1,
        steps=2,
        ensemble=3,
        generator=torch.Generator().manual_seed(0),
    )
    data = json.loads((out / "a.depth.json").read_text())
    assert data["uncertainty"]["file"] == "a.depth.uncertainty.png"
    assert data["uncertainty"]["mean"] == pytest.approx(float(estimate.uncertainty.mean()), rel=0.02)
    assert np.nanmean(found) == pytest.approx(float(estimate.uncertainty.mean()), rel=0.05)


def test_a_masks_crop_is_conservative() -> None:
    hole = np.zeros((40, 60), dtype=bool)
    hole[10, 20] = True
    small = inputs.crop_mask(hole, np.array([4.0, 2.0, 32.0]), 8)
    assert small.sum() == 1
    assert small[2, 4]  # (20 − 4) / 4, (10 − 2) / 4
    fractional = inputs.crop_mask(hole, np.array([4.5, 2.5, 32.0]), 8)
    # The crop's pixels end at 20.5 and 10.5, amid the hidden pixel.
    assert np.argwhere(fractional).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    large = inputs.crop_mask(hole, np.array([16.0, 8.0, 8.0]), 32)
    assert np.argwhere(large).min(0).tolist() == [8, 16]
    assert large.sum() == 16


def test_a_depth_of_a_photo_is_cut_to_its_window(tmp_path: Path) -> None:
    full = np.full((40, 60), np.nan, dtype=np.float32)
    full[5:37, 20:52] = np.linspace(-1, 1, 32)[None]
    (tmp_path / "a.depth.png").write_bytes(png(to_uint16(full)))
    with pytest.raises(PhotoError, match=r"60 x 40 is no square.* a\.depth\.json"):
        inputs.read_depth(tmp_path / "a.depth.png", 32)
    data = {"depth": {"files": ["a.depth.png"]}, "window_px": {"left": 20, "top": 5, "size": 32}}
    (tmp_path / "a.depth.json").write_text(json.dumps(data))
    np.testing.assert_allclose(inputs.read_depth(tmp_path / "a.depth.png", 32), full[5:37, 20:52], atol=1e-4)
    data["window_px"] = {"left": -10, "top": -10, "size": 80}
    (tmp_path / "a.depth.json").write_text(json.dumps(data))
    assert inputs.read_depth(tmp_path / "a.depth.png", 32)[0, 0] == 1
    (tmp_path / "a.depth.json").write_text('{"depth": {"files": ["a.depth.png"]}}')
    with pytest.raises(PhotoError, match="tells no window"):
        inputs.read_depth(tmp_path / "a.depth.png", 32)


def test_depth_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        inputs.read_depth(tmp_path / "nowhere.png", 32)
    with pytest.raises(PhotoError, match="no 16-bit grey PNG"):
        inputs.read_depth(draw(tmp_path / "colour.png"), 32)
    cut = draw(tmp_path / "cut.png")
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(PhotoError, match="damaged"):
        inputs.read_depth(cut, 32)


def test_a_mask_is_read_as_upright_as_its_photo(tmp_path: Path) -> None:
    hole = mask(tmp_path / "m.png", 40, 30, 60, 50)
    found = inputs.read_mask(hole, read_photo(draw(tmp_path / "a.png")))
    assert np.argwhere(found).min(0).tolist() == [30, 40]
    assert found.sum() == 400
