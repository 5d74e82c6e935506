"""Ours beside what people use today: every part at its smallest, and that both sides do what is compared."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from videos import trim

from benchmarks.__main__ import main
from benchmarks.cost import peer_networks, peer_scripts, peer_videos
from benchmarks.cost.side_by_side import Part, measured

WIDTHS, CODEC_WIDTHS, SIZE = (32, 32), (32, 32), 16
TINY = ("--widths", "32,32", "--codec-widths", "32,32", "--size", str(SIZE), "--device", "cpu")


def rows_of(folder: Path, *words: str) -> list[dict]:
    assert main(["peers", "--out", str(folder), "--no-memory", "--repeats", "2", *words]) == 0
    found = json.loads((folder / "peers.json").read_text())
    assert found["stamp"]["clock"] == "processor"
    for row in found["rows"]:
        low, high = row["ratio_range"]
        assert 0 < low <= row["ratio"] <= high < math.inf
        assert row["ours_s"] > 0
        assert row["theirs_s"] > 0
        assert set(row["calls"]) == set(row["names"])
        assert all(len(call["processor_s"]) == 2 for call in row["calls"].values())
        assert row["memory"] == dict.fromkeys(row["names"])
    return found["rows"]


def test_depth_and_a_clip(tmp_path, capsys):
    shape = ("--ensemble", "2", "--frames", "3", "--steps", "2")
    rows = rows_of(tmp_path, "--parts", "depth,clip", *TINY, *shape)
    assert [row["part"] for row in rows] == ["depth"] * 3 + ["clip"] * 2
    assert [row["names"][1] for row in rows[:3]] == ["marigold 1", "marigold 4", "marigold ensemble"]
    assert "2 guided steps" in capsys.readouterr().out


def test_both_sides_give_as_much():
    ours = peer_networks.our_depth(WIDTHS, CODEC_WIDTHS, SIZE, "cpu", 2)()
    theirs = peer_networks.marigold(WIDTHS, CODEC_WIDTHS, SIZE, "cpu", 1, 2)()
    assert ours.depth.shape == theirs.prediction.shape == (1, 1, SIZE, SIZE)
    (window,) = peer_networks.our_clip(WIDTHS, CODEC_WIDTHS, SIZE, "cpu", 3, 1, 1.0)()
    clip = peer_networks.animatediff(WIDTHS, CODEC_WIDTHS, SIZE, "cpu", 3, 1, 1.0)().frames
    assert window.rgb.shape == clip[0].shape == (3, 3, SIZE, SIZE)
    assert window.depth.shape == (3, 1, SIZE, SIZE)


def test_reading(tmp_path):
    rows = rows_of(tmp_path, "--parts", "reading", "--drawn-seconds", "0.4")
    assert [row["names"] for row in rows] == [["ours", name] for name in ("decord", "OpenCV", "PyAV")]


def test_every_reader_gives_the_same_frames(tmp_path):
    path = peer_videos.draw_video(tmp_path / "drawn.mp4", 1.0, (80, 120))
    assert peer_videos.our_reading(path)() == 25
    found = {name: list(read(path)) for name, read in peer_videos.VIDEO_READERS.items()}
    assert {len(frames) for frames in found.values()} == {25}
    for name in ("OpenCV", "PyAV"):
        for a, b in zip(found["decord"], found[name], strict=True):
            assert abs(a.astype(int) - b).mean() < 2, name  # a neighbouring frame is 10 off and more


def test_25_fps_repeats_what_is_slower_and_leaves_out_of_what_is_faster():
    assert peer_scripts.at_25(4, 12.5) == [0, 0, 1, 2, 2, 2, 3, 3]
    assert peer_scripts.at_25(6, 50.0) == [0, 2, 4]


@pytest.mark.slow
def test_preparation(tmp_path, assets):
    path = trim(assets / "videos" / "speech" / "mead_W036.mp4", tmp_path / "short.mp4", 1.5)
    words = ("--parts", "preparation", "--video", str(path), "--size", "64")
    rows = rows_of(tmp_path, *words)
    assert [row["names"][1] for row in rows] == ["script", "tracking script"]
    folder = tmp_path / "crops"
    folder.mkdir()
    frames = peer_scripts.prepare(path, folder, 64, tracks=False)
    assert frames == len(list(folder.glob("*.jpg"))) >= 30


def test_a_video_without_a_face_is_one_line(tmp_path, assets, capsys):
    path = peer_videos.draw_video(tmp_path / "drawn.mp4", 0.4, (80, 120))
    words = ["--parts", "preparation", "--video", str(path), "--no-memory"]
    assert main(["peers", "--out", str(tmp_path), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if str(path) in line]
    assert "--video" in line


def test_memory_is_of_a_process_that_runs_one_call_alone():
    here = bytearray(600 << 20)
    part = Part(
        "p",
        "s",
        {name: partial(partial, bytearray, mb << 20) for name, mb in (("a", 64), ("b", 1))},
        (("w", "a", "b"),),
    )
    (row,) = measured(part, 1, torch.device("cpu"), "wall_s")
    if row["memory"]["a"] is None:
        pytest.skip("this system does not tell")
    grown = {name: found["peak_bytes"] - found["built_bytes"] for name, found in row["memory"].items()}
    assert 60 << 20 < grown["a"] < 80 << 20
    assert grown["b"] < 20 << 20
    assert row["memory"]["a"]["built_bytes"] < len(here)


def test_preparation_needs_a_video(tmp_path, capsys):
    assert main(["peers", "--out", str(tmp_path)]) == 2
    assert "--video" in capsys.readouterr().err


def test_widths_that_cannot_be_normalised_are_one_line(tmp_path, capsys):
    words = ["--parts", "depth", "--codec-widths", "16,32"]
    assert main(["peers", "--out", str(tmp_path), *words]) == 2
    assert "multiples of 32" in capsys.readouterr().err
