"""Verify knows what ``prepare`` had planned, and what its records and rows say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import drawn_videos
import pytest
from drawn_videos import Settings, draw_folder

from data_prep.engines.hire import Engine
from data_prep.engines.prepare import prepare
from data_prep.folders.verify import verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    source = draw_folder(folder / "in", "a.mp4", "b.mp4", "reject-c.mp4")
    prepare([source], folder / "out", Settings(), Engine(workers=0), make=drawn_videos.make)
    assert verify(folder / "out") == []
    return folder / "out"


def change_record(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "units" / "000000.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def swap(folder: Path) -> None:
    """Another whole shard in the place of the first one, with its own right sidecar."""
    for suffix in (".tar", ".json"):
        (folder / f"clips-000001{suffix}").replace(folder / f"clips-000000{suffix}")


CASES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a record is missing": (
        lambda f: (f / "units" / "000000.json").unlink(),
        {
            "plan: 1 of 3 units are not done (first: 000000): prepare again",
            "clips-000000.tar: belongs to no unit that is done: prepare again, or delete it",
        },
    ),
    "a record of other inputs": (
        lambda f: change_record(f, lambda r: r.update(sha256="0" * 64)),
        {"plan: 1 of 3 units are not done (first: 000000): prepare again"},
    ),
    "a record of no unit": (
        lambda f: (f / "units" / "000009.json").write_text('{"unit": 9, "sha256": "", "shards": [], "rows": []}'),
        {"units/000009.json: belongs to no unit of the plan: delete it"},
    ),
    "a damaged record": (
        lambda f: (f / "units" / "000000.json").write_text("{"),
        {
            "units/000000.json: cannot be read",
            "plan: 1 of 3 units are not done (first: 000000): prepare again",
            "clips-000000.tar: belongs to no unit that is done: prepare again, or delete it",
        },
    ),
    "a shard is missing": (
        lambda f: (f / "clips-000000.tar").unlink(),
        {"units/000000.json: its shard clips-000000.tar is missing: prepare again"},
    ),
    "another shard": (
        swap,
        {
            "units/000000.json: its shard clips-000000.tar has another SHA-256: delete that shard and prepare again",
            "units/000001.json: its shard clips-000001.tar is missing: prepare again",
        },
    ),
    "rows without a video's": (
        lambda f: change_record(f, lambda r: r["rows"].clear()),
        {
            "units/000000.json: no row of in/a.mp4: delete the record and prepare again",
            "units/000000.json: clip CLIP: its row says 0 frames kept, the shards hold 3",
            "manifest.jsonl: does not say what the records say: prepare again writes it",
        },
    ),
    "rows of other frames": (
        lambda f: change_record(f, lambda r: r["rows"][0].update(frames=7)),
        {
            "units/000000.json: clip CLIP: its row says 7 frames kept, the shards hold 3",
            "manifest.jsonl: does not say what the records say: prepare again writes it",
        },
    ),
    "a cut manifest": (
        lambda f: (f / "manifest.jsonl").write_text(""),
        {"manifest.jsonl: does not say what the records say: prepare again writes it"},
    ),
    "no manifest": (
        lambda f: (f / "manifest.jsonl").unlink(),
        {"manifest.jsonl: is missing: prepare again writes it"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told(whole: Path, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    damage, expected = CASES[case]
    clip = json.loads((folder / "units" / "000000.json").read_text())["rows"][0]["clip_id"]
    damage(folder)
    found = {str(problem).split(" (J")[0].replace(clip, "CLIP") for problem in verify(folder)}
    assert found == expected
