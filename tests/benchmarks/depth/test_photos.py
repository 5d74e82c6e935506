"""``python -m benchmarks depth --photos``: the folder's layout, crops of depth, regions, and a run on scanned faces."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import ConvexHull, Delaunay

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.depth.method import PHOTO_METHODS, CarriedDepth, FlatPlane, MethodSettings
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.photo_folder import Entry, crop_depth, read_depth_mm, read_index
from benchmarks.depth.regions import OUTLINES, REGIONS, render_regions
from benchmarks.depth.scores import measure
from benchmarks.depth.tables import group_rows, paired_rows
from jdap.batch import ImageBatch
from jdap.photos.read import PhotoError


def write_index(folder: Path, *entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "index.json").write_text(json.dumps(entries))
    return folder


def as_photos(batch: ImageBatch, **more: torch.Tensor) -> PhotoBatch:
    return PhotoBatch(**{f.name: getattr(batch, f.name) for f in fields(ImageBatch)}, **more)


def test_an_index_names_photos_depth_and_people(tmp_path: Path) -> None:
    entry = {"photo": "a/b.jpg", "depth": "b.png", "person": "ann", "of": "no interest"}
    one, two = read_index(write_index(tmp_path, entry, entry | {"photo": "c.jpg", "mm_per_step": 0.5}))
    assert one == Entry("a/b.jpg", tmp_path / "a/b.jpg", tmp_path / "b.png", "ann", 0.1)
    assert two.mm_per_step == 0.5


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"photo": "a.jpg", "depth": "a.png"}], "person"),
        ([{"photo": "a.jpg", "depth": "a.png", "person": 3}], "must be names"),
        ([{"photo": "a.jpg", "depth": "a.png", "person": "x", "mm_per_step": 0}], "mm_per_step must be positive"),
        ([{"photo": "a.jpg", "depth": "a.png", "person": "x"}] * 2, r"a\.jpg is there twice"),
        ([], "lists no photo"),
        (["a.jpg"], "no list of"),
    ],
)
def test_an_index_that_cannot_be_used_says_why(tmp_path: Path, entries: list, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        read_index(write_index(tmp_path, *entries))
    with pytest.raises(BenchmarkError, match=r"nowhere/index\.json: no such file"):
        read_index(tmp_path / "nowhere")


def test_depth_maps_are_read_in_their_unit_or_refused(tmp_path: Path) -> None:
    steps = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    Image.fromarray(steps).save(tmp_path / "d.png")
    entry = Entry("a", tmp_path / "a.jpg", tmp_path / "d.png", "ann", 0.25)
    np.testing.assert_allclose(read_depth_mm(entry, 4, 3), steps / 4)
    with pytest.raises(PhotoError, match=r"d\.png: 4 x 3, the upright photo is 3 x 4"):
        read_depth_mm(entry, 3, 4)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "d.png")
    with pytest.raises(PhotoError, match="no 16-bit grey picture"):
        read_depth_mm(entry, 4, 3)
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(PhotoError, match=r"d\.png: damaged"):
        read_depth_mm(entry, 4, 3)


def test_a_crop_is_the_mean_of_what_is_measured() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(500, 600, (40, 40)).astype(np.float32)
    depth[rng.uniform(size=depth.shape) < 0.4] = 0
    # Whole pixels: blocks of 4 x 4 from (-8, 4) on; the first two columns of blocks lie outside of the photo.
    cropped = crop_depth(depth, np.array([-8.0, 4.0, 32.0]), 8)
    for v in range(8):
        for u in range(8):
            block = depth[4 + 4 * v : 8 + 4 * v, max(4 * u - 8, 0) : max(4 * u - 4, 0)]
            measured = block[block > 0]
            if len(measured) >= 8:
                assert cropped[v, u] == pytest.approx(measured.mean(), abs=1e-2)
            else:
                assert cropped[v, u] == 0
    assert (cropped[:, :2] == 0).all()
    assert (cropped > 0).any()


def test_regions_are_outlines_that_do_not_overlap() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(5, 59, (468, 2))
    regions = render_regions(points, 64)
    assert regions.shape == (len(REGIONS), 64, 64)
    assert (regions.sum(0) == 1).all()
    # The first part takes all of its outlines: compared, but for their edges, with a triangulation.
    middles = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), -1).reshape(-1, 2)
    inside = np.zeros(len(middles), bool)
    for outline in OUTLINES["eyes"]:
        some = points[list(outline)]
        inside |= Delaunay(some[ConvexHull(some).vertices]).find_simplex(middles) >= 0
    assert (inside.reshape(64, 64) != regions[0]).mean() < 0.05


def test_a_region_is_measured_after_the_alignment_of_the_whole(fake_batch: Callable[..., ImageBatch]) -> None:
    batch = fake_batch(people=3)
    regions = torch.zeros(3, len(REGIONS), 32, 32, dtype=torch.bool)
    regions[:, 1, 10:20, 8:24] = True
    found = 3 * batch.depth_mm + torch.randn(batch.depth_mm.shape, generator=torch.Generator().manual_seed(0))
    photos = as_photos(batch, regions=regions, fitted_head_mm=found)
    fit = PHOTO_METHODS["fit"](MethodSettings(None))
    scores = measure([fit, FlatPlane()], [photos])
    rows = {(row["method"], row["of"]): row for row in group_rows(scores, seed=0) if row["group"] == "region"}
    expected = []
    for p, z, m, region in zip(found, batch.depth_mm, batch.skin, regions[:, 1:2], strict=True):
        columns = np.stack([p[m].double().numpy(), np.ones(int(m.sum()))], 1)
        solution, *_ = np.linalg.lstsq(columns, z[m].double().numpy(), rcond=None)
        part = m & region
        error = solution[0] * p[part].double().numpy() + solution[1] - z[part].double().numpy()
        expected.append(np.sqrt(np.mean(error**2)))
    assert rows["fit", "nose"]["mean"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert rows["fit", "nose"]["n"] == 3
    # A tilt is taken out of both: what leans like the truth but for a plane has no error left.
    v, u = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    leaning = as_photos(batch, regions=regions, fitted_head_mm=2 * batch.depth_mm + 0.5 * u - 0.3 * v)
    tilted = group_rows(measure([fit], [leaning]), seed=0)
    told = {row["of"]: row["mean"] for row in tilted if row["group"] == "region"}
    assert told["untilted"] < 1e-3 < 1 < told["face"]
    for index, (z, m) in enumerate(zip(batch.depth_mm, batch.skin, strict=True)):
        columns = np.stack([np.ones(int(m.sum())), u[m[0]].numpy(), v[m[0]].numpy()], 1).astype(np.float64)
        left = z[m].double().numpy() - columns @ np.linalg.lstsq(columns, z[m].double().numpy(), rcond=None)[0]
        flat = scores.column("flat", "metric", "rmse_untilted")[index]
        assert flat == pytest.approx(np.sqrt(np.mean(left**2)), rel=1e-5)
    # A region that no picture has is no row.
    assert ("fit", "mouth") not in rows
    (pair,) = [r for r in paired_rows(scores, seed=0) if (r["frame"], r["measure"]) == ("metric", "rmse")]
    assert pair["mean"] == pytest.approx(rows["fit", "face"]["mean"] - rows["flat", "face"]["mean"])


def test_what_photos_carry_shards_do_not(fake_batch: Callable[..., ImageBatch], capsys, tmp_path: Path) -> None:
    assert set(PHOTO_METHODS) >= {"expressive_head", "mediapipe_z", "fit"}
    scores = measure([CarriedDepth("fit", "fitted_head_mm", "only photos carry it"), FlatPlane()], [fake_batch()])
    assert scores.left_out == {"fit": "only photos carry it"}
    with pytest.raises(SystemExit):
        main(["depth", "--shards", "a", "--photos", "b", "--out", str(tmp_path)])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.slow
def test_scanned_faces(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    york = assets / "york"
    if not york.is_dir():
        pytest.skip("needs york")
    entries = json.loads((york / "index.json").read_text())[:3]
    for entry in entries:
        for name in (entry["photo"], entry["depth"]):
            shutil.copy(york / name, tmp_path / name)
    # A photo without a face, one whose depth is gone, one that is gone itself.
    Image.new("RGB", (512, 660), (90, 120, 90)).save(tmp_path / "wall.png")
    wall = {"photo": "wall.png", "depth": entries[0]["depth"], "person": "nobody"}
    blind = {"photo": "blind.jpg", "depth": "blind.depth.png", "person": "blind"}
    shutil.copy(york / entries[0]["photo"], tmp_path / "blind.jpg")
    gone = {"photo": "gone.jpg", "depth": "gone.depth.png", "person": "gone"}
    write_index(tmp_path, wall, *entries, blind, gone)
    out, methods = tmp_path / "out", "flat,mediapipe_z,fit"
    asked = ["--photos", tmp_path, "--methods", methods, "--device", "cpu", "--batch-size", 2, "--out", out]
    assert main(["depth", *map(str, asked)]) == 0
    result = json.loads((out / "depth.json").read_text())
    aligned = [row for row in result["rows"] if (row["frame"], row["alignment"]) == ("metric", "scale_shift")]
    figures = {row["method"]: row["rmse"] for row in aligned}
    # A scanner's origin is anywhere: millimetres are not read without a shift.
    assert {row["alignment"] for row in result["rows"]} == {"scale_shift", "disparity", "l1"}
    # Normals of a surface that a fit explains lean less than those of a plane.
    assert 5 < next(row["normal_deg"] for row in aligned if row["method"] == "fit") < 25
    # A face's relief spreads by 10 to 20 mm; landmarks explain most of it.
    assert 10 < figures["flat"] < 20
    assert figures["fit"] < 0.5 * figures["flat"]
    assert figures["mediapipe_z"] < 0.5 * figures["flat"]
    assert result["stamp"]["depth_source"] == {"measured": 3}
    assert set(result["stamp"]["photos_left_out"]) == {"wall.png", "blind.jpg", "gone.jpg"}
    with (out / "pictures.csv").open() as file:
        rows = list(csv.DictReader(file))
    mine = [r for r in rows if (r["method"], r["frame"], r["alignment"]) == ("fit", "metric", "scale_shift")]
    assert [row["picture"] for row in mine] == [e["photo"] for e in entries]
    assert np.mean([float(row["rmse"]) for row in mine]) == pytest.approx(figures["fit"], abs=1e-3)
    assert all(abs(float(row["yaw_deg"])) < 20 for row in mine)
    wrong = {row["picture"]: row["reason"] for row in rows if row["reason"]}
    assert list(wrong) == ["wall.png", "blind.jpg", "gone.jpg"]
    assert "no face" in wrong["wall.png"]
    assert "blind.depth.png: no such file" in wrong["blind.jpg"]
    assert wrong["gone.jpg"] == "no such file"
    assert np.asarray(Image.open(out / "depth.png").convert("RGB")).std() > 10
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out: wall.png" in printed
    assert "flat minus fit" in printed
    write_index(tmp_path, wall)
    assert main(["depth", *map(str, asked)]) == 2
    assert "nothing to measure in 1 photos (wall.png: no face is found)" in capsys.readouterr().err
