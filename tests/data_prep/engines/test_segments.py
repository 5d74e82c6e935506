"""Long videos are divided: workers and runs take their segments, and what comes of them does not depend on who did."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import drawn_videos
import pytest
from drawn_videos import Settings, draw_folder, forked

from data_prep.engines import claims, scheduler
from data_prep.engines.hire import Engine
from data_prep.engines.plan import load_plan
from data_prep.engines.prepare import prepare
from data_prep.engines.run import RunOutcome
from data_prep.engines.segments import Staging
from data_prep.folders.verify import verify
from data_prep.store import Store
from jdap.shards.reader import read_samples

NAMES = ("a.mp4", "long-4-b.mp4", "z.mp4")


def go(source: Path, out: Path, workers: int = 0, **options) -> RunOutcome:
    return prepare([source], out, Settings(), Engine(workers=workers), make=drawn_videos.make, **options)


def shards(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.tar"))}


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def made(source: Path) -> Counter:
    """Segment → how often it was made."""
    return Counter(int(line) for log in source.glob("*.done") for line in log.read_text().split())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("source") / "videos", *NAMES)


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    outcome = go(source, out)
    assert (outcome.made, outcome.clips, outcome.kept) == (3, 6, 6)
    return out


@pytest.fixture(autouse=True)
def forget(source: Path) -> None:
    for log in source.glob("*.done"):
        log.unlink()


def test_segments_become_one_video(whole: Path) -> None:
    assert verify(whole) == []
    found = [row for row in rows(whole) if "long" in row["source"]]
    assert [row["clip_id"][-6:] for row in found] == ["000000", "000003", "000006", "000009"]
    assert {row["person_id"] for row in found} == {found[0]["clip_id"]}
    assert all("seams" not in row for row in found)
    stored = list(read_samples(whole / "clips-000001.tar"))
    assert [s.record.clip_id for s in stored] == [row["clip_id"] for row in found]
    assert {s.record.person_id for s in stored} == {found[0]["clip_id"]}
    assert not list((whole / "segments").iterdir())
    assert not list((whole / "claims").iterdir())
    assert all((whole / "contact" / f"{row['clip_id']}.jpg").exists() for row in found)


def test_segments_of_a_unit_that_another_run_makes_again_stay(whole: Path, source: Path, tmp_path: Path) -> None:
    """``--retry failed`` leaves the record there until the unit is made."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    plan = load_plan(Store(out))
    segment = out / Staging(Store(out), plan.settings).name(plan.units[1], 0, 2)
    segment.write_bytes(b"made")
    (out / "claims" / "000001.0.00003").write_text("elsewhere_1_2_3")
    assert go(source, out).made == 0
    assert segment.exists()
    (out / "claims" / "000001.0.00003").unlink()
    assert go(source, out).made == 0
    assert not segment.exists()


@pytest.mark.slow
def test_a_video_that_may_not_be_divided_gives_the_same(source: Path, whole: Path, tmp_path: Path) -> None:
    """As those that come from a URL."""
    place = f"file://{source / NAMES[1]}"
    prepare([place], tmp_path / "out", Settings(), Engine(workers=0), make=drawn_videos.make)
    alone = [{**row, "source": "", "seconds": {}} for row in rows(tmp_path / "out")]
    expected = [{**row, "source": "", "seconds": {}} for row in rows(whole) if "long" in row["source"]]
    assert alone == expected
    assert not (tmp_path / "out" / "segments").exists()


@pytest.mark.slow
def test_runs_share_the_segments_of_one_video(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one comes before it is known that the video is long, and waits for that."""
    monkeypatch.setattr(claims, "BEAT_S", 0.3)
    monkeypatch.setattr(claims, "LONG_BYTES", 0)
    monkeypatch.setattr(scheduler, "POLL_S", 0.05)
    for child in [forked(partial(go, source, tmp_path / "out")) for _ in range(2)]:
        os.waitpid(child, 0)
    assert made(source) == Counter(range(4))
    assert shards(tmp_path / "out") == shards(whole)
    assert verify(tmp_path / "out") == []


@pytest.mark.slow
def test_a_kill_costs_a_segment(source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    child = forked(partial(go, source, out))
    while len(list(out.glob("segments/*.segment"))) < 2:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    go(source, out)
    assert max(made(source).values()) <= 2
    assert sum(made(source).values()) <= 5
    assert shards(out) == shards(whole)
    assert verify(out) == []
    assert not list((out / "segments").iterdir())


@pytest.mark.slow
def test_a_video_that_goes_between_its_segments_is_left_open(whole: Path, tmp_path: Path) -> None:
    mine, out = draw_folder(tmp_path / "videos", *NAMES), tmp_path / "out"
    child = forked(partial(go, mine, out))
    while not list(out.glob("segments/*.segment")):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (mine / NAMES[1]).rename(tmp_path / NAMES[1])
    lost = go(mine, out).open
    assert lost > 0
    found = [row for row in rows(out) if "long" in row["source"]]
    assert [row["status"] for row in found] == ["kept"] * (4 - lost) + ["failed"] * lost
    assert [row["clip_id"][-6:] for row in found[-lost:]] == [f"t{k:05d}" for k in range(4 - lost, 4)]
    assert verify(out) == []
    (tmp_path / NAMES[1]).rename(mine / NAMES[1])
    assert go(mine, out, retry=True).open == 0
    assert shards(out) == shards(whole)
    # Once it was made, it stays when it goes between the segments again.
    (mine / NAMES[1]).rename(tmp_path / NAMES[1])
    (out / "clips-000001.json").unlink()
    assert go(mine, out).open == 0
    assert shards(out) == shards(whole)


@pytest.mark.slow
def test_what_was_made_of_another_file_is_not_taken(source: Path, tmp_path: Path) -> None:
    mine, out = draw_folder(tmp_path / "videos", NAMES[1]), tmp_path / "out"
    child = forked(partial(go, mine, out))
    while not list(out.glob("segments/*.segment")):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    draw_folder(tmp_path / "videos", NAMES[1], seed=5)
    (mine / NAMES[1]).with_suffix(".done").unlink()
    go(mine, out)
    assert made(mine) == Counter(range(4))
    assert not list((out / "segments").iterdir())
    assert verify(out) == []


@pytest.mark.slow
def test_two_processes_share_a_video_and_a_death_costs_its_segment(source: Path, tmp_path: Path) -> None:
    """(Processes start: seconds.)"""
    mine = draw_folder(tmp_path / "videos", "deadly-5-a.mp4")
    outcome = go(mine, tmp_path / "out", workers=2)
    assert (outcome.clips, outcome.kept, outcome.open) == (5, 4, 1)
    assert made(mine) == Counter({0: 1, 1: 1, 2: 1, 3: 1, 4: 2})
    lost = rows(tmp_path / "out")[-1]
    assert (lost["clip_id"][-13:], lost["fault"]) == ("_segment00004", "machine")
    assert lost["reason"] == "the worker was killed by SIGSEGV, 2 times"
    assert verify(tmp_path / "out") == []
