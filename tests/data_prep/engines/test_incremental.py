"""What a second run does: goes on, adds what is new, redoes what changed, selects by other thresholds, or refuses."""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import drawn_videos
import pytest
from drawn_videos import Settings, draw_folder, draw_video

from data_prep.engines import prepare as prepare_module
from data_prep.engines.hire import Engine
from data_prep.engines.inputs import InputFile, find_inputs
from data_prep.engines.plan import PrepareError, load_plan, make_plan
from data_prep.engines.prepare import prepare
from data_prep.engines.run import RunOutcome
from data_prep.engines.select import select_again
from data_prep.folders.verify import verify
from data_prep.machine.software import changes, software
from data_prep.store import Store

HERE = Engine(workers=0)


@dataclasses.dataclass(frozen=True)
class WithModel(Settings):
    """Settings that name a file of the user's."""

    sync_weights: str = ""


def go(inputs: Path, out: Path | str, settings: Settings | None = None, **options) -> RunOutcome:
    return prepare([inputs], out, settings or Settings(), HERE, make=drawn_videos.make, **options)


def shards(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.tar"))}


def rows(out: Path) -> dict[str, dict]:
    found = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len({row["clip_id"] for row in found}) == len(found)
    return {Path(row["source"]).name: row for row in found}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "in", "b.mp4", "c.mp4")


@pytest.fixture
def out(source: Path, tmp_path: Path) -> Path:
    assert go(source, tmp_path / "out").made == 2
    return tmp_path / "out"


def test_the_same_command_again_does_nothing(source: Path, out: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.tar")}
    outcome = go(source, out)
    assert (outcome.made, outcome.there) == (0, 2)
    assert {p: p.stat().st_mtime_ns for p in out.glob("*.tar")} == before
    assert verify(out) == []


def test_new_videos_are_added_and_nothing_is_redone(source: Path, out: Path) -> None:
    before = shards(out)
    draw_video(source / "a.mp4", 7)  # sorts before the others
    outcome = go(source, out)
    assert (outcome.made, outcome.there) == (1, 2)
    assert shards(out).items() > before.items()
    assert set(rows(out)) == {"a.mp4", "b.mp4", "c.mp4"}
    assert verify(out) == []


def test_another_folder_with_the_same_names_is_added(source: Path, out: Path, tmp_path: Path) -> None:
    draw_video(tmp_path / "other" / "in" / "b.mp4", 8)
    before = shards(out)
    assert go(tmp_path / "other" / "in", out).made == 1
    assert shards(out).items() > before.items()
    lines = (out / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["clip_id"].rpartition("-")[2] for line in lines][-1] == "2_000000"
    assert verify(out) == []


def test_a_changed_video_is_made_again_alone(source: Path, out: Path) -> None:
    before, old = shards(out), rows(out)
    draw_video(source / "b.mp4", 9, frames=5)
    outcome = go(source, out)
    assert (outcome.made, outcome.there) == (1, 1)
    assert {name for name, data in shards(out).items() if before[name] != data} == {"clips-000000.tar"}
    assert rows(out)["b.mp4"]["scores"] != old["b.mp4"]["scores"]
    assert rows(out)["c.mp4"] == old["c.mp4"]
    assert verify(out) == []


def test_a_video_of_the_same_size_and_another_date_is_made_again(source: Path, out: Path) -> None:
    before, old = shards(out), rows(out)
    size = (source / "b.mp4").stat().st_size
    drawn = (draw_video(source.parent / "other.mp4", seed).read_bytes() for seed in range(9, 99))
    other = next(data for data in drawn if len(data) <= size)
    (source / "b.mp4").write_bytes(other.ljust(size, b"\0"))
    os.utime(source / "b.mp4", ns=(1, 1))
    assert go(source, out).made == 1
    assert {name for name, data in shards(out).items() if before[name] != data} == {"clips-000000.tar"}
    assert rows(out)["b.mp4"]["scores"] != old["b.mp4"]["scores"]
    assert go(source, out).made == 0
    assert verify(out) == []


def test_an_object_with_another_etag_is_made_again(tmp_path: Path) -> None:
    """(What stores call it: :mod:`data_prep.engines.inputs`.)"""
    plan = make_plan(Store(tmp_path), [InputFile("s3://b/a.mp4", "b/a.mp4", 10, '"e1"')], {})
    again = make_plan(Store(tmp_path), [InputFile("s3://b/a.mp4", "b/a.mp4", 10, '"e2"')], {})
    assert plan.units[0].sha256({}) != again.units[0].sha256({})
    assert again.generations == 2
    assert make_plan(Store(tmp_path), [InputFile("s3://b/a.mp4", "b/a.mp4", 10, '"e2"')], {}).generations == 2


def test_a_changed_version_is_said(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    go(source, out, note=notes.append)
    assert notes == []
    now = prepare_module.software() | {"av": "99.0"}
    monkeypatch.setattr(prepare_module, "software", lambda: now)
    draw_video(source / "d.mp4", 3)
    assert go(source, out, note=notes.append).made == 1
    (said,) = notes
    assert "other versions: av " in said
    assert "now 99.0" in said
    made = {p.stem: json.loads(p.read_text())["software"]["av"] for p in (out / "units").iterdir()}
    assert made["000002"] == "99.0" != made["000000"]
    assert verify(out) == []


def test_our_own_code_is_a_version() -> None:
    code = software()["code"]
    assert re.fullmatch(r"[0-9a-f]{12}", code)
    assert changes({"av": "1", "code": "x"}, {"av": "2", "code": "x"}) == ["av 1, now 2"]


def test_other_contents_of_a_given_model_are_another_setting(source: Path, tmp_path: Path) -> None:
    """The file may have another name; what is in it counts."""
    weights = tmp_path / "sync.safetensors"
    weights.write_bytes(b"one")
    settings = WithModel(sync_weights=str(weights))
    go(source, tmp_path / "out", settings)
    weights.rename(tmp_path / "moved.safetensors")
    moved = WithModel(sync_weights=str(tmp_path / "moved.safetensors"))
    assert go(source, tmp_path / "out", moved).made == 0
    (tmp_path / "moved.safetensors").write_bytes(b"two")
    with pytest.raises(PrepareError, match=r"sync_weights sha256:.*, not sha256:"):
        go(source, tmp_path / "out", moved)


def test_what_is_gone_from_the_source_stays(source: Path, out: Path) -> None:
    before = shards(out)
    (source / "b.mp4").unlink()
    assert go(source, out).made == 0
    assert shards(out) == before
    assert verify(out) == []


def test_what_is_gone_before_it_was_made_is_left_open(source: Path, out: Path) -> None:
    """Its disk may be back tomorrow."""
    before = shards(out)
    (out / "units" / "000000.json").unlink()
    (source / "b.mp4").rename(source.parent / "b.mp4")
    assert go(source, out).open == 1
    row = rows(out)["b.mp4"]
    assert (row["status"], row["fault"]) == ("failed", "machine")
    assert re.search("was there when the run was planned.* --retry failed", row["reason"])
    assert not (out / "clips-000000.tar").exists()
    assert go(source, out, retry=True).open == 1
    assert verify(out) == []
    (source.parent / "b.mp4").rename(source / "b.mp4")
    assert go(source, out, retry=True).open == 0
    assert shards(out) == before


def test_what_was_never_there_is_final(source: Path, tmp_path: Path) -> None:
    assert go(source / "gone.mp4", tmp_path / "out").open == 0
    assert rows(tmp_path / "out")["gone.mp4"]["reason"] == "no such file; check the path"


@pytest.fixture
def together(tmp_path: Path) -> Path:
    """Three videos that are one unit, beside a larger one. One of them finds the GPU's memory full at first."""
    source = draw_folder(tmp_path / "in", "a.mp4", "b.mp4", "oom-2-c.mp4")
    draw_video(source / "z.mp4", 5, frames=200)
    assert go(source, tmp_path / "out").made == 2
    assert go(source, tmp_path / "out", retry=True).made == 1
    return source


def test_a_gone_videos_clips_stay_when_its_unit_is_made_again(together: Path, tmp_path: Path) -> None:
    """Kept ones and held ones, and their sheets."""
    out = tmp_path / "out"
    bright = rows(out)["a.mp4"]["scores"]["brightness"]
    select_again(str(out), {"brightness": (bright + 1e-6, float("inf"))})
    old, sheets = rows(out), {path.name for path in (out / "contact").iterdir()}
    (together / "a.mp4").unlink()
    draw_video(together / "b.mp4", 9, frames=5)
    outcome = go(together, out)
    assert (outcome.made, outcome.open) == (1, 0)
    assert rows(out)["a.mp4"] == old["a.mp4"] | {"status": "kept", "reason": ""}
    assert rows(out)["b.mp4"]["scores"] != old["b.mp4"]["scores"]
    assert {path.name for path in (out / "contact").iterdir()} == sheets
    assert not list((out / "segments").iterdir())
    assert verify(out) == []


def test_what_the_machine_fails_at_does_not_cost_what_there_was(together: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    old = rows(out)["oom-2-c.mp4"]
    (together / "oom-2-c.tries").unlink()
    draw_video(together / "b.mp4", 9, frames=5)
    assert go(together, out).open == 0
    assert rows(out)["oom-2-c.mp4"] == old
    assert verify(out) == []


def test_a_run_that_ends_while_it_writes_the_unit_does_not_take_a_gone_video_along(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = tmp_path / "out", os.replace
    old = rows(out)["a.mp4"]
    (together / "a.mp4").unlink()
    draw_video(together / "b.mp4", 9, frames=5)

    def full(source: str | Path, target: str | Path) -> None:
        if Path(target) == out / "clips-000000.tar":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        go(together, out)
    monkeypatch.undo()
    assert not (out / "units" / "000000.json").exists()
    assert go(together, out).open == 0
    assert rows(out)["a.mp4"] == old
    assert not list((out / "segments").iterdir())
    assert verify(out) == []


@pytest.mark.parametrize("why", ["another edition", "a damaged shard"])
def test_what_was_made_of_something_else_is_not_taken(together: Path, tmp_path: Path, why: str) -> None:
    out = tmp_path / "out"
    draw_video(together / "b.mp4", 9, frames=5)
    if why == "another edition":
        draw_video(together / "a.mp4", 10)
        make_plan(Store(out), find_inputs([together]), load_plan(Store(out)).settings)
    else:
        shard = out / "clips-000000.tar"
        shard.write_bytes(shard.read_bytes()[:1000])
    (together / "a.mp4").unlink()
    assert go(together, out).open == 1
    assert rows(out)["a.mp4"]["fault"] == "machine"
    assert verify(out) == []


def test_a_source_that_moved_is_the_same(source: Path, out: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "in"
    moved.parent.mkdir()
    source.rename(moved)
    assert go(moved, out).made == 0
    (out / "units" / "000001.json").unlink()
    assert go(moved, out).made == 1  # and is found there
    copied = tmp_path / "copied" / "in"
    shutil.copytree(moved, copied, copy_function=shutil.copyfile)  # with other dates
    shutil.rmtree(moved)
    assert go(copied, out).made == 0
    assert go(copied, out).made == 0
    assert rows(out)["c.mp4"]["status"] == "kept"


def test_a_video_named_twice_is_prepared_once(source: Path, tmp_path: Path) -> None:
    both = [source, source / "b.mp4"]
    prepare(both, tmp_path / "out", Settings(), HERE, make=drawn_videos.make)
    assert set(rows(tmp_path / "out")) == {"b.mp4", "c.mp4"}


@pytest.mark.parametrize("lost", ["clips-000001.tar", "clips-000001.json", "units/000001.json"])
def test_what_is_not_whole_is_made_again(source: Path, out: Path, lost: str) -> None:
    before = shards(out)
    (out / lost).unlink()
    assert go(source, out).made == 1
    assert shards(out) == before
    assert verify(out) == []


def test_half_a_shard_is_made_again(source: Path, out: Path) -> None:
    before = shards(out)
    shard = out / "clips-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert go(source, out).made == 1
    assert shards(out) == before


def test_other_settings_are_refused_by_name(source: Path, out: Path) -> None:
    with pytest.raises(PrepareError, match=r"size 16, not 32: .* --overwrite"):
        go(source, out, Settings(size=32))
    assert go(source, out, Settings(size=32), overwrite=True).made == 2
    assert verify(out) == []


def test_only_a_folder_of_ours_is_touched(source: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "clips-000000.tar").write_bytes(b"theirs")
    for overwrite in (False, True):
        with pytest.raises(PrepareError, match="holds no plan"):
            go(source, theirs, overwrite=overwrite)
    assert [p.name for p in theirs.iterdir()] == ["clips-000000.tar"]
    with pytest.raises(PrepareError, match="is a file"):
        go(source, source / "b.mp4")


def test_overwrite_leaves_what_is_not_ours(source: Path, out: Path) -> None:
    (out / "notes.txt").write_text("mine")
    assert go(source, out, overwrite=True).made == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_other_thresholds_are_refused_by_name_and_select_is_named(source: Path, out: Path) -> None:
    with pytest.raises(PrepareError, match=r"thresholds\.brightness.* select"):
        go(source, out, Settings(thresholds={"brightness": (0.4, float("inf"))}))
