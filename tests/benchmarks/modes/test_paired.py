"""Runs of ``modes`` compared picture by picture."""

import json

import numpy as np
import pytest

from benchmarks.__main__ import main

N = 40


def write(folder, name, ssim, rmse, seed=0):
    """A modes.json with one question, a measure where more is better, one where less is, and a baseline."""
    rows = [
        {"question": "q", "answer": "clean", "measure": "ssim", "higher_is_better": True},
        {"question": "q", "answer": "clean", "measure": "rmse", "higher_is_better": False},
        {"question": "q", "answer": "codec", "measure": "ssim", "higher_is_better": True},
    ]
    values = {"q": {"clean": {"ssim": ssim, "rmse": rmse}, "codec": {"ssim": [1.0] * N}}}
    stamp = {"weights": f"{name}/weights", "shards": "s", "steps": 20, "guidance": 1.0, "seed": seed, "size_px": 128}
    keys = {"key": [f"k{i}" for i in range(N)], "person_id": [f"p{i // 2}" for i in range(N)]}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"rows": rows, "stamp": stamp, "pictures": keys | {"values": values}}))
    return path


def test_differences_are_of_pairs_with_an_interval_over_people(tmp_path):
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, N)  # what is hard about a picture is hard for both
    first = write(tmp_path, "full", (hard + 0.1).tolist(), (hard + 0.02).tolist())
    noise = rng.normal(0, 0.01, N)
    other = write(tmp_path, "none", [None, *(hard + noise)[1:].tolist()], hard.tolist())
    assert main(["paired", str(first), str(other), "--out", str(tmp_path / "out")]) == 0
    ssim, rmse = json.loads((tmp_path / "out" / "paired.json").read_text())["rows"]
    assert (ssim["first"], ssim["other"], ssim["measure"], ssim["n"]) == ("full", "none", "ssim", N - 1)
    assert ssim["difference"] == pytest.approx(0.1 - noise[1:].mean())
    low, high = ssim["difference_ci"]
    assert low < ssim["difference"] < high
    # the standard error of the mean of N differences, twice to either side
    assert high - low == pytest.approx(4 * noise.std() / np.sqrt(N), rel=0.35)
    assert (ssim["gain"], rmse["gain"]) == (1, -1)
    assert (tmp_path / "out" / "paired.csv").read_text().count("\n") == 3


def test_runs_that_cannot_be_compared_are_refused(tmp_path, capsys):
    values = [0.0] * N
    first = write(tmp_path, "full", values, values)
    for runs, says in (
        ([first], "two modes.json at least"),
        ([first, write(tmp_path, "other", values, values, seed=1)], "not of the same pictures and settings"),
        ([first, tmp_path / "gone.json"], "no modes.json"),
    ):
        assert main(["paired", *map(str, runs), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
