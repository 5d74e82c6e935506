"""Options that nothing would be done with are refused, before anything is."""

import pytest

from jdap.__main__ import main

POSE = ["pose", "a.png", "--out", "nowhere"]
RELIGHT = ["relight", "a.png", "--out", "nowhere"]
EXPORT = ["export", "-o", "face.ply"]
CACHE = ["cache-latents", "--shards", "a", "--out", "nowhere"]


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ([*POSE, "--set", "yaw=5", "--take", "both"], "--take"),
        ([*POSE, "--set", "yaw=5", "--frames", "9"], "--frames"),
        ([*POSE, "--set", "yaw=5", "--depth", "d.png", "--steps", "4"], "--depth, --steps"),
        ([*POSE, "--set", "yaw=5", "--by", "model", "--depth", "d.png", "--ensemble", "4"], "--ensemble"),
        ([*RELIGHT, "--light", "0,0", "--turn", "90", "--frames", "9"], "--turn"),
        ([*RELIGHT, "--light", "0,0", "--frames", "9"], "--frames"),
        ([*RELIGHT, "--like", "b.png", "--ambient", "0.5"], "--ambient"),
        ([*RELIGHT, "--light", "0,0", "--steps", "4", "--guidance", "1"], "--steps, --guidance"),
        ([*RELIGHT, "--light", "0,0", "--depth", "d.png", "--ensemble", "4"], "--ensemble"),
        ([*RELIGHT, "--light", "0,0", "--depth", "d.png", "--head", "fit"], "--head"),
        ([*RELIGHT, "--like", "b.png", "--depth", "d.png", "--head", "fit", "--ensemble", "4"], "--head"),
        (["edit", "a.png", "--out", "nowhere", "--mask", "m.png", "--parser", "p.onnx"], "--parser"),
        (["generate", "--reference", "a.png", "--out", "nowhere", "--resample", "2"], "--resample"),
        ([*EXPORT, "a.png", "--max-frames", "4"], "--max-frames"),
        ([*EXPORT, "a.mp4", "--rgbd", "--points"], "--points"),
        ([*CACHE, "--jitter", "0.2", "--seed", "1"], "--jitter, --seed"),
    ],
)
def test_idle_options_are_refused(words, idle, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"there is no use for {idle}:" in line
