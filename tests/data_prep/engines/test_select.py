"""Clips judged again: samples move between a folder and what it holds back, and nothing is decoded."""

import hashlib
import json
from pathlib import Path

import pytest
from drawn_videos import Settings, draw_folder, make

from data_prep.__main__ import main
from data_prep.engines.hire import Engine
from data_prep.engines.prepare import prepare
from data_prep.engines.records import read_rows
from data_prep.engines.select import SelectError, select_again
from data_prep.folders.verify import verify
from data_prep.store import Store
from data_prep.video import video
from jdap.shards.reader import read_tar

NAMES = ("a.mp4", "b.mp4", "c.mp4", "reject-d.mp4", "e.mp4", "text.mp4")


def keys(folder: Path) -> list[str]:
    return [key for shard in sorted(folder.glob("*.tar")) for key, _ in read_tar(shard)]


def digests(folder: Path) -> dict[str, str]:
    shards = sorted(folder.rglob("*.tar"))
    return {s.relative_to(folder).as_posix(): hashlib.sha256(s.read_bytes()).hexdigest() for s in shards}


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    videos = draw_folder(tmp_path / "videos", *NAMES)
    (videos / "text.mp4").write_text("no video")
    prepare([videos], tmp_path / "out", Settings(), Engine(workers=0), make=make)
    assert len(keys(tmp_path / "out")) == 4
    return tmp_path / "out"


def middle(folder: Path) -> float:
    """A brightness that two of the four kept clips have."""
    found = sorted(row["scores"]["brightness"] for row in read_rows(Store(folder)) if row["status"] == "kept")
    return (found[1] + found[2]) / 2


def test_clips_are_put_aside_and_admitted_without_decoding(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a video was opened")

    monkeypatch.setattr(video, "open_video", never)
    before, everything = digests(prepared), keys(prepared)
    least = {"brightness": (middle(prepared), float("inf"))}
    outcome = select_again(str(prepared), least)
    assert (outcome.kept, outcome.held, outcome.put_aside, outcome.admitted) == (2, 2, 2, 0)
    assert verify(prepared) == []
    assert sorted(keys(prepared) + keys(prepared / "held")) == sorted(everything)
    rows = {row["clip_id"]: row for row in map(json.loads, (prepared / "manifest.jsonl").read_text().splitlines())}
    for key in keys(prepared / "held"):
        row = rows[key.rpartition("-")[0]]
        assert row["status"] == "held"
        assert row["reason"].startswith("brightness 0.")
    assert [row["status"] for row in rows.values() if "reject" in row["source"]] == ["rejected"]

    untouched = digests(prepared)
    assert select_again(str(prepared), least).units == 0
    assert digests(prepared) == untouched
    again = select_again(str(prepared), {})
    assert (again.kept, again.admitted) == (4, 2)
    assert digests(prepared) == before
    assert not list((prepared / "held").glob("*.tar"))
    assert verify(prepared) == []


def test_what_is_selected_counts_as_prepared(prepared: Path) -> None:
    select_again(str(prepared), {"brightness": (middle(prepared), float("inf"))})
    outcome = prepare([prepared.parent / "videos"], prepared, Settings(), Engine(workers=0), make=make)
    assert outcome.made == 0


def test_an_interruption_leaves_a_unit_to_be_made_again(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(prepared)

    def broken(self: Store, file: Path, name: str) -> None:
        raise KeyboardInterrupt

    least = {"brightness": (middle(prepared), float("inf"))}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", broken)
        with pytest.raises(KeyboardInterrupt):
            select_again(str(prepared), least)
    prepare([prepared.parent / "videos"], prepared, Settings(), Engine(workers=0), make=make)
    assert digests(prepared) == before
    assert verify(prepared) == []


def test_the_command_line(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["select", str(prepared), "--min", "brightness=0.99", "--max", "brightness=none"]) == 0
    assert "0 clips kept, 4 held; 0 were admitted, 4 put aside, 4 units" in capsys.readouterr().out
    assert main(["select", str(tmp_path / "videos")]) == 2
    assert main(["select", str(prepared), "--min", "brightnes=1"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    with pytest.raises(SelectError, match="no units"):
        select_again(str(tmp_path), {})
