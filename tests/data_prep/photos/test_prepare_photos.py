"""``python -m data_prep photos`` from the command line on, on photos of the development assets and hostile ones."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import main
from data_prep.clips.steps.pipeline import Task
from data_prep.folders.summary import summarise
from data_prep.folders.verify import verify
from data_prep.photos.find import find_people, pictures_of, stamp_of_pictures
from data_prep.photos.prepare import make_people
from data_prep.photos.settings import PhotoSettings
from jdap.data.modules import ImageDataModule
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample

SIZE = 64
PEOPLE = ("Abdullah_Gul", "Adrien_Brody")


def photos(*args: object) -> int:
    return main(["photos", *(str(a) for a in args)])


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def samples(folder: Path) -> list[Sample]:
    return [sample for shard in sorted(folder.glob("*.tar")) for sample in read_samples(shard)]


@pytest.fixture(scope="module")
def people(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, and all that may lie about in a folder of photos."""
    if not (assets / "lfw").is_dir():
        pytest.skip("needs lfw")
    root = tmp_path_factory.mktemp("photos") / "people"
    for name in PEOPLE:
        (root / name).mkdir(parents=True)
        for path in sorted((assets / "lfw" / name).iterdir())[:4]:
            shutil.copy(path, root / name)
    first = sorted((root / PEOPLE[0]).iterdir())[0]
    photo = Image.open(first)
    photo.resize((360, 360), Image.Resampling.LANCZOS).save(root / PEOPLE[0] / "larger copy.png")
    (root / PEOPLE[0] / "._mac.jpg").write_bytes(b"\0\5\x16\7")
    (root / PEOPLE[0] / "torn.jpg").write_bytes(first.read_bytes()[:3000])
    (root / PEOPLE[0] / "text.jpg").write_text("no picture")
    (root / PEOPLE[0] / "gone.jpg").symlink_to(root / "nowhere")
    Image.new("RGB", (300, 300), (120, 140, 90)).save(root / PEOPLE[0] / "wall.png")
    photo.resize((60, 60)).save(root / PEOPLE[0] / "small.png")
    night = Image.fromarray((np.asarray(photo) * 0.1).astype(np.uint8))
    (root / "alone").mkdir()
    other = sorted((assets / "lfw").glob("Al_Gore/*.jpg"))[0]
    shutil.copy(other, root / "alone" / "only.jpg")
    night.save(root / "alone" / "night.png")
    shutil.copy(first, root / "alone" / "stolen.jpg")
    pair = np.concatenate([np.asarray(photo), np.asarray(Image.open(other))], 1)
    Image.fromarray(pair).save(root / "alone" / "two.png")
    (root / "nobody").mkdir()
    (root / "nobody" / "readme.txt").write_text("no pictures here")
    return root


@pytest.fixture(scope="module")
def made(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    asked = ["--size", SIZE, "--workers", 0, "--mean-head"]
    assert photos(people, "--out", out, *asked) == 0
    return out


def test_every_picture_has_a_row_or_is_part_of_one(people: Path, made: Path) -> None:
    found = rows(made)
    reasons = {Path(row["source"]).name: row["reason"] for row in found if row["status"] in ("rejected", "failed")}
    first = sorted((people / PEOPLE[0]).glob(f"{PEOPLE[0]}*"))[0].name
    assert reasons.pop(first) == "duplicate of larger copy.png"
    assert reasons.pop("torn.jpg").startswith("damaged")
    assert reasons.pop("text.jpg").startswith("no picture")
    assert reasons.pop("gone.jpg") == "no such file"
    assert reasons.pop("wall.png") == "no face"
    assert reasons.pop("stolen.jpg").startswith("the same file as another person's")
    assert reasons.pop("two.png").startswith("several faces")
    assert set(reasons) <= {"small.png", "night.png"}
    held = {Path(row["source"]).name: row["reason"] for row in found if row["status"] == "held"}
    assert all(" is under " in reason or " is over " in reason for reason in held.values())
    told = [name for row in found for name in row.get("pictures", [Path(row["source"]).name])]
    everything = [path.name for path in people.rglob("*") if path.suffix in (".jpg", ".png")]
    assert sorted(told) == sorted(name for name in everything if not name.startswith("."))
    assert verify(made) == []
    report = summarise(made)
    assert (report["inputs"], report["pictures"]) == (len(PEOPLE) + 1, len(told))


def test_a_persons_pictures_share_one_identity(made: Path) -> None:
    found = {sample.record.source: sample for sample in samples(made)}
    gul, brody = (found[f"people/{name}"] for name in PEOPLE)
    assert gul.record.frames >= 3
    for sample in (gul, brody):
        assert sample.record.fps == 0
        assert sample.record.depth_source == "fitted"
        identity = sample.arrays["identity"]
        assert (identity == identity[0]).all()
        assert np.ptp(sample.arrays["rotation"], axis=0).max() > 0.01
        # Who takes a portrait stands farther off than a webcam.
        assert (sample.arrays["translation_mm"][:, 2] > 2000).all()
        assert set(sample.record.scores) >= {"fit_error", "sharpness", "face_px", "yaw_deg"}
        # A fitted face lies on the one that is seen: its skin holds mediapipe's nose.
        for skin, (x, y) in zip(sample.skin_FHW, sample.arrays["landmarks_px"][:, 4], strict=True):
            assert skin[int(y), int(x)]
    assert not np.allclose(gul.arrays["identity"][0], brody.arrays["identity"][0])
    errors = [x for sample in (gul, brody) for x in sample.record.scores["fit_error"]]
    assert max(errors) < 0.02


def test_training_draws_other_pictures_as_references(made: Path) -> None:
    data = ImageDataModule(test=str(made), batch_size=4, size_px=SIZE)
    keys, same = [], []
    for batch in data.test_dataloader():
        keys += batch.key
        same += (batch.rgb == batch.reference_rgb).flatten(1).all(1).tolist()
    by_person = [key.split("_set")[0] for key in keys]
    assert len(keys) == sum(sample.record.frames for sample in samples(made))
    # Who has one picture alone is its own reference.
    assert [alone for alone, person in zip(same, by_person, strict=True) if by_person.count(person) > 1].count(
        True
    ) == 0


@pytest.mark.slow
def test_it_goes_on_and_any_workers_write_the_same(people: Path, made: Path, tmp_path: Path) -> None:
    asked = ["--size", SIZE, "--mean-head"]
    before = {path.name: path.read_bytes() for path in made.glob("*.tar")}
    assert photos(people, "--out", made, *asked, "--workers", 0) == 0
    assert {path.name: path.read_bytes() for path in made.glob("*.tar")} == before
    other = tmp_path / "other"
    shutil.copytree(people, tmp_path / "people", symlinks=True)
    assert photos(tmp_path / "people", "--out", other, *asked, "--workers", 1) == 0
    assert {path.name: path.read_bytes() for path in other.glob("*.tar")} == before
    # A new picture: its person is made again, and nobody else.
    stamps = {path.name: path.stat().st_mtime_ns for path in other.glob("*.tar")}
    shutil.copy(people / "alone" / "only.jpg", tmp_path / "people" / "alone" / "again.jpg")
    assert photos(tmp_path / "people", "--out", other, *asked, "--workers", 0) == 0
    changed = [name for name, stamp in stamps.items() if (other / name).stat().st_mtime_ns != stamp]
    assert len(changed) == 1
    assert any(row["reason"] == "duplicate of again.jpg" for row in rows(other))
    assert verify(other) == []


def test_other_thresholds_admit_pictures_and_put_people_aside(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    before = {row["clip_id"]: row["status"] for row in rows(out)}
    assert main(["select", str(out), "--min", "sharpness=1e9"]) == 0
    assert {row["status"] for row in rows(out) if row["scores"]} == {"held"}
    assert samples(out) == []
    assert main(["select", str(out), "--min", "sharpness=none,face_px=none,brightness=none"]) == 0
    assert verify(out) == []
    after = {row["clip_id"]: row["status"] for row in rows(out)}
    assert {clip for clip, status in before.items() if status == "kept"} <= {c for c, s in after.items() if s == "kept"}
    assert main(["select", str(out)]) == 0
    assert {row["clip_id"]: row["status"] for row in rows(out)} == before
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == {
        path.name: path.read_bytes() for path in made.glob("*.tar")
    }


@pytest.fixture
def listed(people: Path, tmp_path: Path) -> Path:
    """A list of two people, whose pictures lie in folders beside it."""
    lines = ["file,person"]
    for name in PEOPLE:
        (tmp_path / name).mkdir()
        for path in sorted((people / name).glob(f"{name}*"))[1:3]:
            shutil.copy2(path, tmp_path / name)
            lines.append(f"{name}/{path.name},{name}")
    (tmp_path / "who.csv").write_text("\n".join(lines))
    return tmp_path / "who.csv"


def test_people_whose_disk_is_gone_keep_their_samples(listed: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", ["--size", SIZE, "--workers", 0]
    assert photos(listed, "--out", out, *asked) == 0
    before, told = {path.name: path.read_bytes() for path in out.glob("*.tar")}, rows(out)
    assert sorted(row["frames"] for row in told) == [2, 2]
    for name in PEOPLE:
        (tmp_path / name).rename(tmp_path / f"gone-{name}")
    assert photos(listed, "--out", out, *asked) == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == before
    # Nor does it cost them anything where their unit is made again.
    (out / "clips-000000.json").unlink()
    assert photos(listed, "--out", out, *asked) == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == before
    assert rows(out) == told
    assert verify(out) == []


def tried(listed: Path, name: str, tmp_path: Path, changes: Callable[[Path], object]) -> list[dict[str, Any]]:
    """The rows of a person whose pictures change after they were planned."""
    (person,) = (one for one in find_people([listed]) if one.name.endswith(name))
    settings = PhotoSettings(size=SIZE)
    task = Task(Path(person.path), person.name, "she", tmp_path / "samples", tmp_path / "sheets")
    task = dataclasses.replace(task, stamp=stamp_of_pictures(pictures_of(person.path), {}))
    changes(pictures_of(person.path)[0])
    return make_people(settings)(task)


def test_a_picture_that_goes_before_it_is_read_is_left_open(listed: Path, tmp_path: Path) -> None:
    gone, kept, person = tried(listed, PEOPLE[0], tmp_path, Path.unlink)
    assert (gone["status"], gone["reason"], gone["fault"]) == ("failed", "no such file", "machine")
    assert (kept["status"], kept["frames"]) == ("kept", 1)
    assert (person["clip_id"], person["status"], person["fault"]) == ("she", "failed", "machine")
    assert "--retry failed" in person["reason"]
    # What was not there when it was planned is final.
    (only, kept) = tried(listed, PEOPLE[0], tmp_path / "again", lambda path: None)
    assert (only["reason"], "fault" in only) == ("no such file", False)


def test_a_disk_that_fails_is_no_fault_of_the_picture(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with pytest.raises(OSError, match="Stale"):
        tried(listed, PEOPLE[0], tmp_path, lambda path: monkeypatch.setattr(Image, "open", stale))


def test_rights_that_lack_may_be_given(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> None:  # root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    found = tried(listed, PEOPLE[0], tmp_path, lambda path: monkeypatch.setattr(Image, "open", refusing))
    assert [(row["status"], row["fault"]) for row in found] == [("failed", "machine")] * 2
    assert all("Permission denied" in row["reason"] for row in found)


def test_splits_and_mistakes(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = people / "nobody"
    assert photos(empty, "--out", tmp_path / "a", "--size", SIZE, "--workers", 0) == 0
    (row,) = rows(tmp_path / "a")
    assert (row["status"], row["reason"]) == ("rejected", "no picture")
    asked = ["--out", tmp_path / "b", "--size", SIZE, "--workers", 0]
    codes = [photos(empty, *asked, "--split", split) for split in ("train", "val", "test")]
    assert sorted(codes) == [0, 2, 2]
    assert "none of 1 people is in the split" in capsys.readouterr().err
    assert photos("s3://bucket/people", *asked) == 2
    assert "photos are read from local paths" in capsys.readouterr().err
    assert photos(empty, *asked, "--unit-mb", 0) == 2
    assert "--unit-mb must be at least 1" in capsys.readouterr().err
