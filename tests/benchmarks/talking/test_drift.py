"""Drift of videos that are written here, so that it is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_mean
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.talking.drift import minutes_of, trend
from jdap.depth import to_uint16
from jdap.media.video import DepthVideoWriter, VideoWriter

SIDE, SECONDS = 32, 190


def write(folder: Path, frames: int, depths: int) -> Path:
    """A video of a frame a second that turns red, and whose head's depth shrinks, steadily."""
    y, x = np.mgrid[:SIDE, :SIDE]
    head = np.hypot(x - 16, y - 16) < 12
    relief = np.where(head, (x - 16) / 20, 1.0).astype(np.float32)
    with VideoWriter(folder / "a.mp4", 1.0, sound=False, crf=1) as video:
        for k in range(frames):
            rgb = np.full((SIDE, SIDE, 3), 100, np.uint8)
            rgb[..., 0] = 100 + round(k * 60 / SECONDS)
            video.frame(rgb)
    with DepthVideoWriter(folder / "a.depth.mkv", 1.0) as video:
        for k in range(depths):
            video.frame(to_uint16(np.where(head, relief * (1 - 0.3 * k / SECONDS) - 0.1, 1.0).astype(np.float32)))
    return folder / "a.mp4"


def test_a_steady_drift_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path, SECONDS, SECONDS)
    assert main(["drift", str(video), "--out", str(tmp_path / "found")]) == 0
    data = json.loads((tmp_path / "found" / "drift.json").read_text())
    assert [row["n"] for row in data["rows"]] == [60, 60, 60, 10]
    for k, row in enumerate(data["rows"]):
        middle_s = np.mean(range(60 * k, min(60 * k + 60, SECONDS)))
        assert row["red"] - data["samples"][0]["red"] == pytest.approx(60 / SECONDS * middle_s, abs=2.5)
        assert row["depth_scale"] == pytest.approx(1 - 0.3 * middle_s / SECONDS, abs=1e-3)
        assert row["depth_shift"] == pytest.approx(0, abs=5e-3)
    assert (tmp_path / "found" / "drift.csv").stat().st_size > 50
    assert "a minute" in capsys.readouterr().out


def test_depth_of_another_length_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path, 9, 5)
    assert main(["drift", str(video), "--out", str(tmp_path / "found")]) == 2
    assert "name its own with --depth" in capsys.readouterr().err
    assert main(["drift", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "found")]) == 2
    assert "none.mp4" in capsys.readouterr().err


def test_faces_are_compared_by_a_network_of_ones_own(assets: Path, tmp_path: Path) -> None:
    """By its mean colour a face that turns from red to green is no longer who it was."""
    whole = Image.open(assets / "portraits" / "000002.jpg").convert("RGB").resize((256, 256))
    grey = np.asarray(whole).mean(2, keepdims=True).repeat(3, 2)
    with VideoWriter(tmp_path / "a.mp4", 1.0, sound=False, crf=1) as video:
        for tint in ([1, 0.6, 0.6], [1, 0.6, 0.6], [0.6, 1, 0.6]):
            video.frame((grey * tint).round().astype(np.uint8))
    network = write_mean(tmp_path / "mean.onnx", ("n", 3, 112, 112), (2, 3))
    words = ["drift", str(tmp_path / "a.mp4"), "--out", str(tmp_path), "--embedder", str(network)]
    assert main(words) == 0
    data = json.loads((tmp_path / "drift.json").read_text())
    first, same, other = (sample["identity"] for sample in data["samples"])
    assert first == pytest.approx(0, abs=1e-6)
    assert same < 0.02
    assert other > 0.2
    assert data["stamp"]["embedder"] == "mean.onnx"


def test_a_network_that_was_asked_for_is_not_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path, 3, 3)
    (tmp_path / "none.onnx").write_text("no network")
    words = ["drift", str(video), "--out", str(tmp_path / "found"), "--embedder", str(tmp_path / "none.onnx")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "none.onnx: cannot be read as ONNX" in error
    assert error.count("\n") == 1


def test_a_trend_is_the_slope_of_the_minutes() -> None:
    samples = [{"time_s": float(s), "identity": 0.1 + 0.01 * (s // 60)} for s in range(0, 300, 5)]
    table = minutes_of(samples)
    assert [row["n"] for row in table] == [12] * 5
    slope, half = trend(table, "identity")
    assert slope == pytest.approx(0.01)
    assert half == pytest.approx(0, abs=1e-9)
    assert trend([row | {"identity": 1.0} for row in table], "identity") == (0, 0)
    rng = np.random.default_rng(1)
    noisy = [{"minute": k, "identity": v} for k, v in enumerate(rng.normal(0, 1, 12))]
    slope, half = trend(noisy, "identity")
    design = np.stack([np.arange(12), np.ones(12)], 1)
    numbers = np.array([row["identity"] for row in noisy])
    best, rest, *_ = np.linalg.lstsq(design, numbers, rcond=None)
    error = np.sqrt(rest[0] / 10 * np.linalg.inv(design.T @ design)[0, 0])
    assert slope == pytest.approx(best[0])
    assert half == pytest.approx(2.2281 * error, rel=1e-4)  # Student's t of 10 degrees of freedom
    assert np.isnan(trend(noisy[:2], "identity")[0])
