import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.report import grid, print_table, show, software_stamp, write_csv, write_json


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


def test_the_table_fits_a_log_of_80_columns_and_warns() -> None:
    row = {
        "method": "posed_mean_head",
        "alignment": "scale_shift",
        "n": 1234,
        "absrel": 0.5401,
        "delta1": 0.34,
        "rmse_share": 0.223,
        "negative_scale": 0.5,
        "rmse_below_mean": -1.02,
    }
    rows = [
        row | {"frame": "normalised", "unit": "0.1-1", "rmse": 0.2004, "rmse_ci": [0.1971, 0.2037]},
        row | {"frame": "metric", "unit": "mm", "rmse": 121.84, "rmse_ci": [float("nan")] * 2},
        row | {"frame": "metric", "alignment": "none", "method": "elsewhere", "unit": "mm", "rmse": 1, "rmse_ci": None},
    ]
    stamp = {
        "pictures": 1234,
        "people": 1,
        "pictures_without_skin_depth": 3,
        "depth_source": {"fitted": 7},
        "left_out": {"mean": "gone"},
        "interval_over": "people",
    }
    out = io.StringIO()
    print_table(rows, stamp, Console(file=out, width=80))
    text = out.getvalue()
    for shown in ("posed_mean_head", "1234", "0.2004", "0.1971–0.2037", "121.84", "?–?", "22.3 %", "+102 %"):
        assert shown in text
    assert "elsewhere" not in text  # other alignments are in the files
    joined = " ".join(text.split())
    for warning in (
        "left out: mean (gone)",
        "3 pictures have no skin depth",
        "depth of 7 pictures is a fitted face model",
        "one person only",
        "relief inside out (negative scale) in 617 of 1234 pictures",
        "not comparable",
    ):
        assert joined.count(warning) == 1, warning

    out = io.StringIO()
    print_table(rows, stamp | {"interval_over": "views"}, Console(file=out, width=80))
    text = " ".join(out.getvalue().split())
    assert "bootstrap over views" in text
    assert "the interval is over views of one person" in text
    assert "one person only" not in text


def test_no_figure_is_cut_where_the_console_is_narrow() -> None:
    table = grid("method", [f"a region with a name {i}" for i in range(9)])
    table.add_row("jdap", *(f"{i + 0.25:.2f}" for i in range(9)))
    text = io.StringIO()
    show(table, Console(file=text, width=80))
    assert "…" not in text.getvalue()
    assert all(f"{i}.25" in text.getvalue() for i in range(9))
