import json
from pathlib import Path

import pytest

from benchmarks.report import software_stamp, write_csv, write_json


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"rows": [{"x": float("nan"), "ci": (1.0, float("inf"))}], "δ": "δ"})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"rows": [{"x": None, "ci": [1.0, None]}], "δ": "δ"}
    assert "NaN" not in text


def test_csv_spreads_intervals(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"m": "a", "x_ci": [1.0, 2.5]}, {"m": "b", "x_ci": None}])
    assert (tmp_path / "a.csv").read_text() == "m,x_lo,x_hi\na,1.0,2.5\nb,,\n"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", [object()])
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_stamp_knows_the_versions() -> None:
    import torch

    import jdap

    stamp = software_stamp()
    assert (stamp["jdap"], stamp["torch"]) == (jdap.__version__, torch.__version__)
    assert stamp["git_commit"] is None or len(stamp["git_commit"].removesuffix("-dirty")) == 40
