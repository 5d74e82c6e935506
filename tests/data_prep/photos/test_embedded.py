"""``photos --people embedding``: who is whom in one folder, as a list that stays and can be mended."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.choices import PEOPLE_FACES, PEOPLE_LIST
from data_prep.photos.embedded import list_people

PEOPLE = ("Abdullah_Gul", "Adrien_Brody")


def listed(out: Path) -> dict[str, str]:
    """File's name → person."""
    with (out / PEOPLE_LIST).open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: row["person"] for row in csv.DictReader(file)}


def photos(flat: Path, out: Path, *more: object) -> int:
    words = ["photos", flat, "--out", out, "--people", "embedding", "--size", 64, "--workers", 0, *more]
    return main([str(word) for word in words])


@pytest.fixture
def flat(assets: Path, tmp_path: Path) -> Path:
    """Two people's photos in one folder, two each, and what is no photo of anybody."""
    pytest.importorskip("dlib", reason="the extra jdap[identity]")
    if not (assets / "lfw").is_dir():
        pytest.skip("needs lfw")
    folder = tmp_path / "flat"
    folder.mkdir()
    for k, name in enumerate(PEOPLE):
        for number, path in enumerate(sorted((assets / "lfw" / name).iterdir())[:2]):
            shutil.copy(path, folder / f"{number}{k} {name}.jpg")
    (folder / "text.jpg").write_text("no picture")
    return folder


def test_a_flat_folder_is_parted_into_people(flat: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert photos(flat, out) == 0
    found = listed(out)
    assert sorted(found) == sorted(path.name for path in flat.iterdir())
    assert found.pop("text.jpg") == ""
    # People are named by their first pictures.
    assert found == {name: f"flat/0{name[1:]}" for name in found}
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert sorted(row["frames"] for row in rows if row["status"] == "kept") == [2, 2]
    assert [row["reason"] for row in rows if row["status"] == "failed"] == [
        "no picture of a known kind; convert it to JPEG or PNG"
    ]

    # What is in the list stays, even if it was changed by hand, and a new picture comes to whom it shows.
    text = (out / PEOPLE_LIST).read_text().replace(",flat/00 Abdullah_Gul.jpg", ",Gul")
    (out / PEOPLE_LIST).write_text(text)
    shutil.copy(sorted((flat.parent / "flat").iterdir())[0], flat / "again Gul.jpg")
    assert photos(flat, out) == 0
    after = listed(out)
    assert after.pop("again Gul.jpg") == "Gul"
    assert list(after.values()) == ["Gul" if "Gul" in name else found.get(name, "") for name in after]


def test_without_the_extra_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(b"")
    assert photos(tmp_path / "flat", tmp_path / "out") == 2
    assert "pip install 'jdap[identity]'" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(b"")
    out = tmp_path / "out"
    assert photos(tmp_path / "flat", out, "--same-person", 0) == 2
    assert "--same-person must be above 0" in capsys.readouterr().err
    assert photos(tmp_path / "flat", "memory://out") == 2
    assert "--out must be a local folder" in capsys.readouterr().err
    assert photos(tmp_path / "flat", out, "--rank", 0, "--world-size", 2) == 2
    assert "faces are compared by one process" in capsys.readouterr().err
    assert photos(tmp_path / "flat", out, "--split", "train") == 2
    assert f"look at {PEOPLE_LIST}, and give it as input for each split" in capsys.readouterr().err
    (out / PEOPLE_FACES).write_bytes(b"PK")
    assert photos(tmp_path / "flat", out) == 2
    assert f"{PEOPLE_FACES}: cannot be read" in capsys.readouterr().err


def test_what_no_list_can_name_is_somebody_by_itself(assets: Path, tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the extra jdap[identity]")
    flat, out = tmp_path / "flat", tmp_path / "out"
    flat.mkdir()
    for name in (b"1.jpg", b"caf\xe9.jpg", b"two\nlines.jpg"):
        Path(flat / name.decode(errors="surrogateescape")).write_bytes(name)
    assert photos(flat, out) == 0
    assert listed(out) == {"1.jpg": ""}
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["failed"] * 3


def test_what_is_gone_for_the_moment_is_not_listed_as_nobody(tmp_path: Path) -> None:
    """What a list says of a picture stays."""
    flat, out = tmp_path / "flat", tmp_path / "out"
    flat.mkdir()
    (flat / "1.jpg").symlink_to(tmp_path / "disk" / "1.jpg")
    assert list_people([flat], out, 0.5, "widest") == [flat / "1.jpg"]
    assert not out.exists()
