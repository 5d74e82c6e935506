"""The engines write the same shards, go on where they were killed, and redo nothing that is done."""

import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import drawn_videos
import numpy as np
import pytest
from drawn_videos import Settings, draw_folder, forked

from data_prep.engines.hire import Engine
from data_prep.engines.prepare import prepare
from data_prep.engines.run import RunOutcome
from data_prep.folders.verify import verify

pytestmark = pytest.mark.slow

KEPT = ("a.mp4", "b/c d.mp4", "b/é.mp4", "f.mp4", "g.mp4", "h.mp4", "i.mp4", "j.mp4", "k.mp4")
ODD = ("reject-e.mp4", "crash-l.mp4")
HERE = Engine(workers=0)


def go(inputs: Path | str, out: Path | str, engine: Engine = HERE, **options) -> RunOutcome:
    return prepare([inputs], out, Settings(), engine, make=drawn_videos.make, **options)


def shards(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.tar"))}


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("source") / "videos", *KEPT)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_folder(tmp_path_factory.mktemp("source") / "videos", *KEPT, *ODD)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make in one run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    outcome = go(videos, out, Engine(workers=2))
    assert (outcome.made, outcome.clips, outcome.kept) == (len(list((out / "units").iterdir())), 12, 9)
    assert outcome.made > 7
    assert verify(out) == []
    return out


def test_every_video_has_its_row_and_kept_ones_their_sheet(whole: Path) -> None:
    told = {Path(r["source"]).name: (r["status"], r["reason"]) for r in rows(whole)}
    assert told.pop("text.mp4")[1].startswith("not a readable video")
    odd = {
        "reject-e.mp4": ("rejected", "brightness 0.1 is under 0.2"),
        "crash-l.mp4": ("failed", "the worker was killed by SIGSEGV, 2 times"),
    }
    assert told == {Path(n).name: ("kept", "") for n in KEPT} | odd
    for row in rows(whole):
        assert (whole / "contact" / f"{row['clip_id']}.jpg").exists() == (row["status"] == "kept")
    assert sorted(p.name for p in whole.parent.iterdir()) == ["out"]


def test_ray_writes_the_same_bytes(videos: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    go(videos, tmp_path / "out", Engine("ray", workers=2))
    assert shards(tmp_path / "out") == shards(whole)
    lost = next(r for r in rows(tmp_path / "out") if "crash" in r["source"])
    assert re.fullmatch(r"Ray lost the worker \(.+\), 2 times", lost["reason"])


def test_a_killed_run_goes_on_and_ends_the_same(plain: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    os.waitpid(forked(partial(go, plain, tmp_path / "whole")), 0)
    took_s = time.monotonic() - started
    expected = shards(tmp_path / "whole")
    assert len(expected) > 7
    out, killed = tmp_path / "out", 0
    rng = np.random.default_rng(0)
    for wait_s in rng.uniform(0, took_s / 2, 5):
        child = forked(partial(go, plain, out))
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert shards(out).items() <= expected.items()  # whatever the moment: no half shard
    assert killed > 1
    go(plain, out)
    assert shards(out) == expected
    assert verify(out) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]
