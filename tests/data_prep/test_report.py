"""The report counts what manifest and sidecars say."""

import argparse
import json
from pathlib import Path

import pytest
from fakes import write_fakes
from rich.console import Console

from data_prep.quality import reason_kind
from data_prep.report import ReportError, print_report, run, summarise


def write_record(folder: Path) -> None:
    rows = [
        {
            "status": "kept",
            "reason": "no audio track",
            "frames": 10,
            "scores": {"face_px": 100.0},
            "seconds": {"fit": 2.0},
        },
        {
            "status": "kept",
            "reason": "",
            "frames": 20,
            "scores": {"face_px": 300.0},
            "seconds": {"fit": 1.0, "depth": 5},
        },
        {"status": "rejected", "reason": "face_px 40 is under 64", "frames": 5, "scores": {}, "seconds": {"fit": 0.5}},
        {"status": "rejected", "reason": "face_px 51.5 is under 64", "frames": 5, "scores": {}, "seconds": {}},
        {"status": "failed", "reason": "no such file; check the path", "frames": 0, "scores": {}, "seconds": {}},
    ]
    rows = [{"source": f"{i}.mp4", "clip_id": str(i), **row} for i, row in enumerate(rows)]
    (folder / "units").mkdir()
    record = {"unit": 0, "sha256": "", "shards": [], "rows": rows}
    (folder / "units" / "000000.json").write_text(json.dumps(record))


def test_a_prepared_folder(tmp_path: Path) -> None:
    write_record(tmp_path)
    report = summarise(tmp_path)
    assert report["inputs"] == 5
    assert report["clips"] == {"failed": 1, "kept": 2, "rejected": 2}
    assert report["reasons"] == {"face_px": 2, "no such file; check the path": 1}
    assert report["seconds"] == {"fit": 3.5, "depth": 5.0}
    assert report["scores"]["face_px"] == [110.0, 200.0, 290.0]
    console = Console(record=True, width=100)
    print_report(report, console)
    text = console.export_text()
    for part in ("clips kept", "face_px", "no such file", "depth"):
        assert part in text
    assert run(argparse.Namespace(folder=tmp_path)) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_a_folder_of_other_shards_has_its_sidecars(tmp_path: Path) -> None:
    write_fakes(tmp_path, people=2, frames=2, size_px=32)
    report = summarise(tmp_path)
    assert report["samples"] == 2
    assert report["frames"] == 4
    assert report["bytes"] == sum(p.stat().st_size for p in tmp_path.rglob("*.tar"))
    assert report["clips"] == {}


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="neither"):
        summarise(tmp_path)


def test_reasons_are_counted_without_their_numbers() -> None:
    assert reason_kind("several faces in 40% of the frames") == "several faces in"
    assert reason_kind("no face large enough (one of about 60 px)") == "no face large enough"
    assert reason_kind("short: 5 frames with a face") == "short"
    assert reason_kind("no face") == "no face"
