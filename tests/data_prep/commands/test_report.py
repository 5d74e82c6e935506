"""The report counts what records and sidecars say, and its page shows it."""

import argparse
import base64
import io
import json
import re
from pathlib import Path

import pytest
from fakes import write_fakes
from PIL import Image
from rich.console import Console

from data_prep.clips.contact_sheet import BAR, CONTACT_TILE_PX
from data_prep.clips.quality import reason_kind
from data_prep.commands.report import print_report, run
from data_prep.folders.summary import ReportError, summarise

ROWS = (
    ("kept", "no audio track", 10, {"face_px": 100.0}, {"fit": 2.0}),
    ("kept", "", 20, {"face_px": 300.0, "fit_error": 0.01}, {"fit": 1.0, "depth": 5.0}),
    ("held", "face_px 60 is under 64", 20, {"face_px": 60.0}, {"fit": 1.0, "depth": 1.0}),
    ("rejected", "short: 4 frames with a face, least 16", 5, {}, {"fit": 0.5}),
    ("rejected", "short: 9 frames with a face, least 16", 5, {}, {}),
    ("failed", "no such <file>; check the path", 0, {}, {}),
)


def write_record(folder: Path) -> None:
    names = ("status", "reason", "frames", "scores", "seconds")
    rows = [
        {"source": f"{i}.mp4", "clip_id": f"clip{i}"} | dict(zip(names, row, strict=True)) for i, row in enumerate(ROWS)
    ]
    (folder / "units").mkdir()
    record = {"unit": 0, "sha256": "", "shards": [], "rows": rows}
    (folder / "units" / "000000.json").write_text(json.dumps(record))
    plan = {"version": 2, "settings": {"thresholds": {"face_px": [64.0, "inf"]}}, "software": {}, "units": []}
    (folder / "plan").mkdir()
    (folder / "plan" / "000000.json").write_text(json.dumps(plan))
    (folder / "contact").mkdir()
    sheet = Image.new("RGB", (4 * CONTACT_TILE_PX, BAR + 3 * (CONTACT_TILE_PX + BAR)), (200, 0, 0))
    sheet.paste(
        (0, 0, 200),
        (0, BAR + CONTACT_TILE_PX + BAR, 4 * CONTACT_TILE_PX, BAR + CONTACT_TILE_PX + BAR + CONTACT_TILE_PX),
    )  # its middle row
    sheet.save(folder / "contact" / "clip1.jpg")


def test_a_prepared_folder(tmp_path: Path) -> None:
    write_record(tmp_path)
    report = summarise(tmp_path)
    assert report["inputs"] == 6
    assert report["clips"] == {"kept": 2, "held": 1, "rejected": 2, "failed": 1}
    assert (report["frames"], report["clip_frames"]["held"]) == (30, 20)
    assert [(kind, told["clips"], told["status"]) for kind, told in report["reasons"].items()] == [
        ("short", 2, "rejected"),
        ("face_px", 1, "held"),
        ("no such <file>; check the path", 1, "failed"),
    ]
    assert report["reasons"]["short"]["examples"] == [f"clip{i}: {ROWS[i][1]}" for i in (3, 4)]
    assert report["seconds"] == {"fit": 4.5, "depth": 6.0}
    assert report["frames_per_second"] == pytest.approx(50 / 10.5, abs=0.01)
    face = report["scores"]["face_px"]
    assert face["quantiles"] == [110.0, 200.0, 290.0]
    assert (sum(face["kept"]), sum(face["held"]), face["held"][0]) == (2, 1, 1)
    assert (face["edges"][0], face["edges"][-1], face["least"], face["most"]) == (60.0, 300.0, 64.0, None)
    console = Console(record=True, width=120)
    print_report(report, console)
    text = console.export_text()
    for part in ("clips kept", "2 (33%)", "face_px", "no such", "depth", "120.0", "4.76 frames a second"):
        assert part in text


def test_the_page_shows_it_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    write_record(tmp_path)
    assert run(argparse.Namespace(folder=str(tmp_path))) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == summarise(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "no such &lt;file&gt;; check the path" in page
    assert "<file>" not in page
    assert page.count("<svg") == 2
    assert page.count("stroke-dasharray") == 1
    assert re.findall(r"href='([^']+)'", page) == ["contact/clip1.jpg"]
    assert not re.search(r"src='(?!data:)|<script|<link|url\(", page)
    (picture,) = re.findall(r"data:image/jpeg;base64,([^']+)", page)
    strip = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert strip.width == 4 * strip.height
    red, _, blue = strip.getpixel((strip.width // 2, strip.height // 2))
    assert blue > 150 > red


def test_a_folder_of_other_shards_has_its_sidecars(tmp_path: Path) -> None:
    write_fakes(tmp_path, people=2, frames=2, size_px=32)
    report = summarise(tmp_path)
    assert report["samples"] == 2
    assert report["frames"] == 4
    assert report["bytes"] == sum(p.stat().st_size for p in tmp_path.rglob("*.tar"))
    assert report["clips"] == {}
    assert run(argparse.Namespace(folder=str(tmp_path))) == 0
    assert "Kept clips" not in (tmp_path / "report.html").read_text()


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="neither"):
        summarise(tmp_path)
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "000000.json").write_text("{half")
    with pytest.raises(ReportError, match=r"units/000000\.json"):
        summarise(tmp_path)


def test_reasons_are_counted_without_their_numbers() -> None:
    assert reason_kind("several faces in 40% of the frames") == "several faces in"
    assert reason_kind("no face large enough (one of about 60 px)") == "no face large enough"
    assert reason_kind("short: 5 frames with a face") == "short"
    assert reason_kind("no face") == "no face"


def test_of_photos_people_are_inputs_and_rejected_pictures_are_pictures(tmp_path: Path) -> None:
    """Rows of pictures that were turned down name the picture, the row of those that were kept their person."""
    (tmp_path / "units").mkdir()
    names = ("source", "clip_id", "status", "reason", "frames")
    rows = [
        ("/set/ann", "ann_set000", "kept", "", 3),
        ("/set/ann/4.jpg", "ann_000003", "rejected", "no face", 1),
        ("/set/ann/5.jpg", "ann_000004", "failed", "damaged", 1),
        ("/set/bob/1.jpg", "bob_000000", "rejected", "no face", 1),
        ("/set/cat", "cat", "rejected", "no picture", 0),
    ]
    told = [dict(zip(names, row, strict=True)) | {"scores": {}, "seconds": {}} for row in rows]
    record = {"unit": 0, "sha256": "", "shards": [], "rows": told}
    (tmp_path / "units" / "000000.json").write_text(json.dumps(record))
    videos = [[f"/set/{name}", f"set/{name}", name, 1, "", ""] for name in ("ann", "bob", "cat")]
    later = [["/set/dan", "set/dan", "dan", 1, "", ""]]
    units = [{"number": 0, "videos": videos}, {"number": 1, "videos": later}]
    plan = {"version": 2, "settings": {"split": "all", "thresholds": {}}, "software": {}, "units": units}
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "000000.json").write_text(json.dumps(plan))
    report = summarise(tmp_path)
    assert (report["inputs"], report["pictures"], report["frames"], report["units"]) == (3, 6, 3, [1, 2])
    assert run(argparse.Namespace(folder=str(tmp_path))) == 0
    tiles = re.findall(r"<b>([^<]+)</b><span>([^<]+)</span>", (tmp_path / "report.html").read_text())
    assert tiles[:4] == [("3", "people"), ("6", "pictures"), ("1", "clips kept"), ("3", "pictures kept")]
