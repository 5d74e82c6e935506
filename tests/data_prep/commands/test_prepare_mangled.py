"""A hundred files that are hard to read as videos, in one run: each has its row, and nothing else comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_videos import KINDS, write_all

from data_prep.folders.verify import verify

pytestmark = pytest.mark.slow
HOUSE = Path(__file__).resolve().parents[3]
#: Folders that are searched rather than prepared.
FOLDERS = {"folder.mp4", "folder in folders.mkv", "up.mp4"}
#: Resident MiB of the largest process: torch, mediapipe and the head model take 450.
MOST_MB = 1000
COMMAND = """
import resource, sys
from data_prep.__main__ import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(status)
"""


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder: size and time."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            found[str(path.relative_to(folder))] = (path.lstat().st_size, path.lstat().st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def run(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, list[dict]]]:
    """One run of the command, by one worker: the folder above all, the names, the rows by name."""
    root = tmp_path_factory.mktemp("mangled")
    names = write_all(root / "in")
    before = tree(root)
    words = ["prepare", str(root / "in"), *(str(root / "in" / name) for name in sorted(FOLDERS - {"up.mp4"}))]
    words += ["--out", str(root / "out"), "--size", "32", "--scratch", str(root / "scratch"), "--video-timeout", "60"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, cwd=HOUSE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith(("rejected: ", "failed: ", str(root / "out"))) for line in lines)
    assert all(line.isprintable() for line in lines)
    peak = int(done.stderr.rpartition("peak ")[2])
    assert peak < MOST_MB
    after = tree(root)
    new = {name for name in set(after) - set(before) if not name.startswith("out/")}
    assert new == {"out"}
    assert {name: after.get(name) for name in before} == before  # nothing that was there has changed
    rows: dict[str, list[dict]] = {}
    for row in map(json.loads, (root / "out" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
        rows.setdefault(Path(row["source"]).name, []).append(row)
    return root, names, rows


def test_every_one_has_its_row(run: tuple[Path, list[str], dict[str, list[dict]]]) -> None:
    _, names, rows = run
    assert len(names) >= 60 + 3 * len(KINDS)
    assert set(names) - {"up.mp4"} == set(rows)
    for name, found in rows.items():
        # A file with frames hours apart, or of an hour and more, has several.
        assert len({row["clip_id"] for row in found}) == len(found), name
        for row in found:
            assert "details" not in row, (name, row)  # a bug of ours brings its traceback
            assert "fault" not in row, (name, row)
            assert row["status"] in ("rejected", "failed"), (name, row)
            assert row["reason"], name
            assert row["reason"].isprintable(), (name, row)


def test_what_is_no_video_fails(run: tuple[Path, list[str], dict[str, list[dict]]]) -> None:
    _, _, rows = run
    for name in ("sdp.mp4", "dash.mp4", "concat absolute.mkv", "hls behind a mark.ts", "socket.mp4", "device.mp4"):
        assert [row["status"] for row in rows[name]] == ["failed"], name
    for name in ("hevc 10 bit.mp4", "prores alpha.mov", "ffv1 alpha.mkv", "%03d.mp4", "pipe:0.mp4", "a.b..mp4"):
        assert [row["reason"] for row in rows[name]] == ["no face"], name


def test_shards_are_whole(run: tuple[Path, list[str], dict[str, list[dict]]]) -> None:
    assert verify(run[0] / "out") == []
