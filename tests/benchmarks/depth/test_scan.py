"""``python -m benchmarks scan`` from the command line on, on the real scan where it is."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.__main__ import main


def run(*args: object) -> int:
    return main(["scan", *(str(a) for a in args)])


@pytest.mark.slow
def test_the_table_of_a_real_scan(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = assets / "scans" / "james"
    if not folder.is_dir():
        pytest.skip("needs scans/james")
    out = tmp_path / "out"
    asked = ["--scan", folder, "--methods", "posed_mean_head,flat", "--size", 32, "--batch-size", 4, "--device", "cpu"]
    assert run(*asked, "--out", out) == 0
    result = json.loads((out / "scan.json").read_text())
    rows = {(row["method"], row["frame"]): row for row in result["rows"]}
    assert set(rows) == {(m, f) for m in ("posed_mean_head", "flat") for f in ("normalised", "metric", "paper")}
    for row in rows.values():
        assert row["n"] == 10
        assert row["rmse_ci"][0] < row["rmse"] < row["rmse_ci"][1]
    # A real face's relief of skin spreads by 10 to 20 mm, and a head in the right pose explains most of it.
    assert 10 < rows["flat", "metric"]["rmse"] < 20
    assert rows["posed_mean_head", "metric"]["rmse"] < 0.55 * rows["flat", "metric"]["rmse"]
    stamp = result["stamp"]
    assert (stamp["people"], stamp["pictures"], stamp["interval_over"]) == (1, 10, "views")
    assert stamp["depth_source"] == {"scan": 10}
    assert stamp["yaws_deg"][0] == -40
    assert stamp["yaws_deg"][-1] == 40
    with (out / "scan.csv").open() as file:
        assert [float(r["rmse_lo"]) for r in csv.DictReader(file)] == [r["rmse_ci"][0] for r in result["rows"]]
    assert np.asarray(Image.open(out / "scan.png").convert("RGB")).std() > 10
    printed = " ".join(capsys.readouterr().out.split())
    assert "bootstrap over views" in printed
    assert "says nothing of other people" in printed


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name one with --scan, or set JDAP_ASSETS"),
        (["--scan", "nowhere"], "nowhere: no such folder of a scan"),
    ],
)
def test_a_missing_scan_is_one_line(
    args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JDAP_ASSETS", raising=False)
    assert run(*args, "--methods", "flat", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
