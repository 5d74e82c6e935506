"""Options that nothing would be done with are refused, by every command that has any."""

import pytest

from benchmarks.__main__ import main

OUT = ("--out", "nowhere")


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (["depth", "--photos", "a", *OUT, "--no-regions", "--workers", "2"], "--no-regions, --workers"),
        (["lipsync", "--weights", "a", *OUT, "--turns", "still"], "--turns"),
        (["talking", "--weights", "a", *OUT, "--turns", "still"], "--turns"),
        (["mouth", "--reader", "a", *OUT, "--train", "b", "--stride", "1"], "--train, --stride"),
        (["parser", "--parser", "shipped", *OUT, "--people", "3", "--minutes", "1"], "--people, --minutes"),
        (["footprint", "--frames", "3"], "--frames"),
        (["footprint", "--stage", "video", "--compile", "both"], "--compile"),
        (["footprint", "--device", "cpu", "--batch", "4", "--targets", "3"], "--targets 3"),
        (["speed", *OUT, "--parts", "precision", "--sizes", "8", "--dtype", "bfloat16"], "--sizes, --dtype"),
        (["speed", *OUT, "--parts", "training,sampling", "--throughput-steps", "3"], "--throughput-steps"),
        (["fit", *OUT, "--parts", "scan,lens", "--videos", "a", "--studio", "b"], "--videos, --studio"),
        (["preparation", "a.mp4", "--height", "720"], "--height"),
        (["relight", "--shards", "a", *OUT, "--redraw", "0", "--steps", "3"], "--steps"),
    ],
)
def test_idle_options_are_refused_before_anything_is_done(words, idle, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{idle}:" in line
