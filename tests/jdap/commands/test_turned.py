"""Photos that were turned without saying so: they are brought upright by the faces in them, and it is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.__main__ import main
from jdap.faces.landmarker import Landmarker
from jdap.faces.upright import quarters_to_upright
from jdap.photos.window import TURNED

NAMES = ("000002.jpg", "000031.jpg", "000050.jpg", "1.jpg", "2.jpg", "astronaut.png")


@pytest.mark.parametrize("name", NAMES)
def test_portraits_are_known_whichever_way_up(assets: Path, name: str) -> None:
    upright = np.asarray(Image.open(assets / "portraits" / name).convert("RGB"))
    with Landmarker() as landmarker:
        for turned in range(4):
            assert quarters_to_upright(landmarker, np.ascontiguousarray(np.rot90(upright, turned))) == -turned % 4


def test_without_a_face_nothing_is_turned(assets: Path) -> None:
    with Landmarker() as landmarker:
        assert quarters_to_upright(landmarker, np.full((90, 120, 3), 90, np.uint8)) == 0


def test_depth_of_a_turned_photo_is_that_of_the_upright_one(assets: Path, small_weights: Path, tmp_path: Path) -> None:
    portrait = Image.open(assets / "portraits" / "000055.jpg").convert("RGB")
    portrait.save(tmp_path / "upright.png")
    portrait.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png")
    portrait.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "head.png")
    photos, out = [tmp_path / f"{name}.png" for name in ("upright", "side", "head")], tmp_path / "out"
    assert (
        main(["depth", *map(str, photos), "--out", str(out), "--weights", str(small_weights), "--device", "cpu"]) == 0
    )
    depth = {photo.stem: np.asarray(Image.open(out / f"{photo.stem}.depth.png")) for photo in photos}
    assert np.array_equal(depth["side"], depth["upright"])
    assert np.array_equal(depth["head"], depth["upright"])
    data = {photo.stem: json.loads((out / f"{photo.stem}.depth.json").read_text()) for photo in photos}
    assert {name: one["photo"].get("turned_deg", 0) for name, one in data.items()} == {
        "upright": 0,
        "side": 270,
        "head": 180,
    }
    assert data["side"]["notes"] == list(TURNED[3])
    assert data["upright"]["notes"] == []
    told = [json.loads(line)["message"] for line in (out / "rows.depth.jsonl").read_text().splitlines()]
    assert told == ["", *(TURNED[k][0] for k in (3, 2))]


def test_the_photo_from_the_field(assets: Path, small_weights: Path, tmp_path: Path) -> None:
    photo = assets / "faults" / "rot90_noexif.jpg"
    if not photo.is_file():
        pytest.skip("needs the folder faults/ of the development assets")
    out = tmp_path / "out"
    assert main(["depth", str(photo), "--out", str(out), "--weights", str(small_weights), "--device", "cpu"]) == 0
    row = json.loads((out / "rows.depth.jsonl").read_text())
    assert (row["status"], row["message"]) == ("done", TURNED[3][0])


def test_a_mask_is_turned_with_its_photo(assets: Path, small_weights: Path, tmp_path: Path) -> None:
    portrait = Image.open(assets / "portraits" / "000055.jpg").convert("RGB")
    mask = Image.new("L", portrait.size)
    mask.paste(255, (150, 180, 220, 260))
    results = {}
    for name, how in (("upright", None), ("side", Image.Transpose.ROTATE_90)):
        photo, hole = (image if how is None else image.transpose(how) for image in (portrait, mask))
        photo.save(tmp_path / f"{name}.png")
        hole.save(tmp_path / f"{name}.mask.png")
        arguments = [
            "edit",
            tmp_path / f"{name}.png",
            "--mask",
            tmp_path / f"{name}.mask.png",
            "--out",
            tmp_path / "out",
        ]
        arguments += ["--weights", small_weights, "--device", "cpu", "--steps", "1"]
        assert main([str(a) for a in arguments]) == 0
        results[name] = np.asarray(Image.open(tmp_path / "out" / f"{name}.edit.png"))
    assert np.array_equal(results["side"], results["upright"])
