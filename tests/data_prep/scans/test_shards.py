"""``scans``: a folder of textured meshes becomes shards of exact depth; what is wrong with one is its row."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from rays import cast
from scipy.spatial.transform import Rotation

from data_prep.__main__ import main
from data_prep.folders.verify import verify
from data_prep.head.files import load_face_model
from data_prep.head.model import MorphableModel, head_to_camera
from data_prep.scans import place as scan
from data_prep.scans.files import ScanError, read_notes, read_scan
from data_prep.scans.shards import Ring, ScanSettings, make_sample, prepare_scans
from jdap.geometry import HEAD_TO_VIEWER, axis_angle_to_matrix, vertex_normals
from jdap.shape.rasterise import interpolate, rasterise
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.schema import STUDIO

SIZE = 64
RING = Ring(yaws=(-30.0, 20.0), pitches=(10.0,))
SIDE_MM, FAR_MM = 320.0, 20000.0


@pytest.fixture(scope="module")
def head(assets: Path) -> MorphableModel:
    """ICT's mean head without the parts inside: a mesh that mediapipe takes for a face once it is painted."""
    model = load_face_model().model
    return model.subset(model.part("face", "head_neck", "sclera"))


def write_head(folder: Path, head: MorphableModel, kind: str = "obj", mm_per_unit: float = 1.0) -> Path:
    """The head as a scan: its texture is a picture of it from afar, in soft light from the front."""
    folder.mkdir(parents=True, exist_ok=True)
    used, faces = head.faces_T3.unique(return_inverse=True)
    vertices = head.mean_V3[used]
    texels = 512
    far = head_to_camera(vertices[None], torch.zeros(1, 3), torch.tensor([[0.0, 0.0, FAR_MM]]))
    camera = torch.tensor([[FAR_MM / SIDE_MM * texels, texels / 2, texels / 2]])
    seen = rasterise(far, faces, camera, texels, texels)
    normals = torch.nn.functional.normalize(interpolate(seen, faces, vertex_normals(far, faces)), dim=-1)[0]
    light = (0.1 + 0.9 * -normals[..., 2:]).clamp(0, 1) * torch.tensor([0.85, 0.65, 0.55])
    picture = Image.fromarray((light * 255).byte().numpy())
    uv = vertices[:, :2].double().numpy() / SIDE_MM + 0.5
    points, triangles = vertices.double().numpy() / mm_per_unit, faces.numpy()
    if kind == "obj":
        lines = ["mtllib m.mtl", *("v {:.6f} {:.6f} {:.6f}".format(*p) for p in points)]
        lines += [*("vt {:.7f} {:.7f}".format(*t) for t in uv), "usemtl skin"]
        lines += ["f " + " ".join(f"{k + 1}/{k + 1}" for k in corners) for corners in triangles.tolist()]
        (folder / "head.obj").write_text("\n".join(lines) + "\n")
        (folder / "m.mtl").write_text("newmtl skin\nmap_Kd paint.png\n")
        picture.save(folder / "paint.png")
        return folder
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    trimesh.Trimesh(points, triangles, visual=visual, process=False).export(folder / f"head.{kind}")
    return folder


@pytest.fixture(scope="module")
def studio(head: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_head(tmp_path_factory.mktemp("studio") / "ann", head)


@pytest.fixture(scope="module")
def sample(studio: Path) -> Sample:
    return make_sample(studio, "studio/ann", ScanSettings(SIZE, RING, mean_head=True), load_face_model())


def test_a_scans_depth_is_that_of_its_mesh(sample: Sample, studio: Path) -> None:
    """The stored pose and camera, the mesh of the OBJ file, and a ray caster give the stored depth."""
    record = sample.record
    assert (record.depth_source, record.frames, record.fps) == (STUDIO, 2, 0.0)
    assert record.person_id == "ann"
    mesh = trimesh.load(studio / "head.obj", process=False)
    corners = np.asarray(mesh.faces)
    # The mesh is a head in head axes, so what brought it there is next to nothing.
    placed = scan.place(read_scan(studio), load_face_model().model, load_face_model().correspondence)
    head_mm = np.asarray(mesh.vertices) @ placed.turn_33.numpy() + placed.shift_mm_3.numpy()
    np.testing.assert_allclose(placed.turn_33, np.eye(3), atol=0.05)
    for i, yaw in enumerate(RING.yaws):
        arrays = {name: values[i] for name, values in sample.arrays.items()}
        matrix = axis_angle_to_matrix(torch.from_numpy(arrays["rotation"])[None])[0].numpy()
        # Positive yaw turns the face to its right, the picture's left … and positive pitch nods it down.
        assert np.sign((matrix @ [0, 0, -1])[0]) == -np.sign(yaw)
        assert (matrix @ [0, 0, -1])[1] > 0.1
        posed = (head_mm * HEAD_TO_VIEWER) @ matrix.T + arrays["translation_mm"]
        f, cx, cy = arrays["camera_px"]
        rows, columns = np.nonzero(sample.skin_FHW[i])
        pick = np.random.default_rng(0).choice(len(rows), 15, replace=False)
        for v, u in zip(rows[pick], columns[pick], strict=True):
            nearest = cast(posed[corners], np.array([(u + 0.5 - cx) / f, (v + 0.5 - cy) / f, 1.0]))
            assert sample.depth_mm_FHW[i, v, u] == pytest.approx(nearest, abs=0.08)


def test_the_skin_is_the_face_and_landmarks_lie_on_it(sample: Sample) -> None:
    for i in range(2):
        seen = sample.depth_mm_FHW[i] > 0
        assert not sample.skin_FHW[i][~seen].any()
        assert 0.3 < sample.skin_FHW[i].sum() / seen.sum() < 0.8
        nose = sample.arrays["landmarks_px"][i, 4].astype(int)
        assert sample.skin_FHW[i, nose[1], nose[0]]
        depth = np.where(sample.skin_FHW[i], sample.depth_mm_FHW[i], np.inf)
        v, u = np.unravel_index(depth.argmin(), depth.shape)
        assert np.hypot(u - nose[0], v - nose[1]) < 6
        # The mean head lies on the mean head.
        assert sample.mean_head_mm_FHW is not None
        apart = (sample.mean_head_mm_FHW[i] - sample.depth_mm_FHW[i])[sample.skin_FHW[i]]
        assert np.median(np.abs(apart)) < 2


@pytest.mark.parametrize(("kind", "unit"), [("glb", 1000.0), ("ply", 1.0)])
def test_other_files_give_the_same(
    sample: Sample, head: MorphableModel, tmp_path: Path, kind: str, unit: float
) -> None:
    """GLB in metres as its standard has it; PLY with a texture is written by hand, as trimesh writes none."""
    if kind == "glb":
        write_head(tmp_path / "ann", head, "glb", unit)
    else:
        write_ply(write_head(tmp_path / "obj", head), tmp_path / "ann")
    other = make_sample(tmp_path / "ann", "studio/ann", ScanSettings(SIZE, RING), load_face_model())
    both = other.skin_FHW & sample.skin_FHW
    assert both.sum() > 0.98 * sample.skin_FHW.sum()
    assert np.median(np.abs(other.depth_mm_FHW - sample.depth_mm_FHW)[both]) < 0.1
    assert np.median(np.abs(other.rgb_FHW3.astype(int) - sample.rgb_FHW3)[both]) <= 2


def write_ply(obj: Path, folder: Path) -> None:
    folder.mkdir()
    lines = [line.split() for line in (obj / "head.obj").read_text().splitlines()]
    vertices = [line[1:] for line in lines if line[0] == "v"]
    uv = [line[1:] for line in lines if line[0] == "vt"]
    faces = [[int(c.split("/")[0]) - 1 for c in line[1:]] for line in lines if line[0] == "f"]
    shutil.copy(obj / "paint.png", folder / "paint.png")
    header = ["ply", "format ascii 1.0", "comment TextureFile paint.png", f"element vertex {len(vertices)}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "s", "t")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    body = [" ".join((*v, *t)) for v, t in zip(vertices, uv, strict=True)]
    body += [" ".join(map(str, (3, *face))) for face in faces]
    (folder / "head.ply").write_text("\n".join(header + body) + "\n")


@pytest.mark.slow
def test_cameras_of_a_scan_are_used(sample: Sample, studio: Path, tmp_path: Path) -> None:
    """The ring's second view, written as a camera in the mesh's axes, gives the same picture of depth."""
    shutil.copytree(studio, tmp_path / "ann")
    placed = scan.place(read_scan(studio), load_face_model().model, load_face_model().correspondence)
    turned = axis_angle_to_matrix(torch.from_numpy(sample.arrays["rotation"][1:]))[0].numpy() * HEAD_TO_VIEWER
    matrix = turned @ placed.turn_33.numpy().T
    shift = turned @ placed.shift_mm_3.numpy() + sample.arrays["translation_mm"][1]
    photo = scan.PHOTO
    camera = {"f_px": photo.f_px, "cx_px": photo.cx_px, "cy_px": photo.cy_px, "width": 1024, "height": 1024}
    camera |= {"rotation": Rotation.from_matrix(matrix).as_rotvec().tolist(), "translation_mm": shift.tolist()}
    notes = {"cameras": [camera], "person_id": "Ann B."}
    (tmp_path / "ann" / "scan.json").write_text(json.dumps(notes))
    one = make_sample(tmp_path / "ann", "x", ScanSettings(SIZE, RING), load_face_model())
    assert one.record.frames == 1
    assert one.record.person_id.startswith("Ann-B-")
    np.testing.assert_allclose(one.arrays["rotation"][0], sample.arrays["rotation"][1], atol=1e-4)
    np.testing.assert_allclose(one.depth_mm_FHW[0], sample.depth_mm_FHW[1], atol=0.2)
    (tmp_path / "ann" / "scan.json").write_text(json.dumps({"cameras": [camera | {"translation_mm": [0, 0, -800]}]}))
    with pytest.raises(ScanError, match="whole mesh in front"):
        make_sample(tmp_path / "ann", "x", ScanSettings(SIZE, RING), load_face_model())


def test_a_mask_or_the_whole_mesh_is_skin(sample: Sample, studio: Path, tmp_path: Path) -> None:
    whole = make_sample(studio, "x", ScanSettings(SIZE, RING, region="mesh"), load_face_model())
    assert np.array_equal(whole.skin_FHW, whole.depth_mm_FHW > 0)
    shutil.copytree(studio, tmp_path / "ann")
    grey = np.zeros((64, 64), np.uint8)
    grey[:, 32:] = 255  # u over a half: the head's left, the picture's right
    Image.fromarray(grey).save(tmp_path / "ann" / "mask.png")
    (tmp_path / "ann" / "scan.json").write_text('{"mask": "mask.png"}')
    masked = make_sample(tmp_path / "ann", "x", ScanSettings(SIZE, Ring((0.0,))), load_face_model())
    at = np.nonzero(masked.skin_FHW[0])[1]
    seen = np.nonzero(masked.depth_mm_FHW[0])[1]
    assert at.min() == pytest.approx(sample.record.size_px / 2, abs=2)
    assert len(at) == pytest.approx(len(seen) / 2, rel=0.1)


def test_the_distance_changes_perspective_not_size(studio: Path) -> None:
    near, far = (
        make_sample(studio, "x", ScanSettings(SIZE, Ring((0.0,), (0.0,), (mm,))), load_face_model())
        for mm in (600.0, 3000.0)
    )
    assert far.arrays["translation_mm"][0, 2] == 3000
    assert (near.depth_mm_FHW > 0).sum() == pytest.approx((far.depth_mm_FHW > 0).sum(), rel=0.15)
    spread = [np.ptp(s.depth_mm_FHW[s.skin_FHW]) for s in (near, far)]
    assert spread[0] == pytest.approx(spread[1], rel=0.25)


def spoil(folder: Path, name: str) -> None:
    """Make a copy of a good scan bad in one way."""
    obj = folder / "head.obj"
    if name == "no texture":
        (folder / "m.mtl").unlink()
    elif name == "lost picture":
        (folder / "paint.png").unlink()
    elif name == "no picture":
        (folder / "paint.png").write_bytes(b"hello")
    elif name == "empty file":
        obj.write_bytes(b"")
    elif name == "no faces":
        obj.write_text("\n".join(line for line in obj.read_text().splitlines() if not line.startswith("f ")))
    elif name == "cut":
        obj.write_bytes(obj.read_bytes()[: -obj.stat().st_size // 2])
    elif name == "two meshes":
        (folder / "more.ply").write_text("ply")
    elif name == "metres":
        (folder / "scan.json").write_text('{"mm_per_unit": 0.001}')
    elif name == "bad json":
        (folder / "scan.json").write_text('{"mm_per_unit": ')
    elif name == "unknown":
        (folder / "scan.json").write_text('{"milimetres": 1}')
    elif name == "no mask":
        (folder / "scan.json").write_text('{"mask": "none.png"}')
    elif name == "upside down":
        lines = [line.split() for line in obj.read_text().splitlines()]
        lines = [[a[0], a[1], str(-float(a[2])), str(-float(a[3]))] if a[0] == "v" else a for a in lines]
        obj.write_text("\n".join(" ".join(a) for a in lines))
    elif name == "not finite":
        obj.write_text(obj.read_text().replace("\nv ", "\nv nan 0 0\nv ", 1))
    elif name == "glb":
        obj.rename(folder / "head.glb")


BAD = {
    "no texture": "no texture: it names no material file",
    "lost picture": "the texture of head.obj cannot be read",
    "no picture": "the texture of head.obj cannot be read",
    "empty file": "holds no faces",
    "no faces": "holds no faces",
    "cut": "no face is found on it",
    "two meshes": "holds one mesh (.obj, .ply, .glb), found 2",
    "metres": "mm across, not a head's size, as if it were in metres; set mm_per_unit",
    "bad json": "scan.json cannot be used: JSONDecodeError",
    "unknown": "nothing is known of milimetres",
    "no mask": "none.png: the texture of none.png cannot be read",
    "upside down": "no face is found on it",
    "not finite": "coordinates that are not finite",
    "glb": "cannot be read",
}


@pytest.mark.slow
def test_every_bad_scan_is_a_row_and_good_ones_stay(studio: Path, tmp_path: Path, capsys) -> None:
    for name in BAD:
        shutil.copytree(studio, tmp_path / "in" / name)
        spoil(tmp_path / "in" / name, name)
    shutil.copytree(studio, tmp_path / "in" / "zoë 1")
    out = tmp_path / "out"
    command = ["scans", str(tmp_path / "in"), "--out", str(out), "--size", "32", "--yaws", "0"]
    assert main(command) == 0
    assert f"1 of {len(BAD) + 1} scans kept, 1 pictures" in capsys.readouterr().out
    rows = {Path(row["source"]).name: row for row in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}
    assert set(rows) == {*BAD, "zoë 1"}
    for name, says in BAD.items():
        assert rows[name]["status"] == "failed", name
        assert says in rows[name]["reason"], name
        assert "\n" not in rows[name]["reason"]
    assert rows["zoë 1"]["status"] == "kept"
    assert verify(out) == []
    sidecar = json.loads((out / "scans-000000.json").read_text())
    assert sum(sidecar["rejected"].values()) == len(BAD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    # What is there is not overwritten, unless asked for.
    assert main(command) == 2
    assert "exists and is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "none: no such folder of scans"),
        (["empty"], "empty: no scan in it: a scan is a folder with a mesh (.obj, .ply, .glb)"),
        (["empty", "--size", "33"], "--size must be a multiple of 8"),
        (["empty", "--yaws", "95"], "--yaws must be -89 … 89, got 95"),
        (["empty", "--distances-mm", "10"], "--distances-mm must be 250 … 5000, got 10"),
        (["empty", "--mm-per-unit", "0"], "--mm-per-unit must be positive"),
        (["empty", "--seed", "-1"], "--seed must not be negative"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["scans", *arguments, "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert says in said
    assert said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
def test_shards_do_not_depend_on_the_scans_beside_them(studio: Path, tmp_path: Path) -> None:
    shutil.copytree(studio, tmp_path / "in" / "ann")
    settings = ScanSettings(32, Ring((0.0,)))
    prepare_scans(tmp_path / "in", tmp_path / "one", settings)
    shutil.copytree(studio, tmp_path / "in" / "aaron")
    prepare_scans(tmp_path / "in", tmp_path / "two", settings)
    (alone,) = read_samples(tmp_path / "one" / "scans-000000.tar")
    beside = {s.record.person_id: s for s in read_samples(tmp_path / "two" / "scans-000000.tar")}
    assert np.array_equal(alone.rgb_FHW3, beside["ann"].rgb_FHW3)
    assert not np.array_equal(alone.rgb_FHW3, beside["aaron"].rgb_FHW3)


def test_nothing_is_left_of_a_run_that_breaks(studio: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jdap.shards.writer.tarfile.TarFile.addfile", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_scans(studio, tmp_path / "out", ScanSettings(32, Ring((0.0,))))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_real_scan_becomes_a_shard(assets: Path, tmp_path: Path) -> None:
    if not (assets / "scans" / "james").is_dir():
        pytest.skip("needs scans/james")
    assert main(["scans", str(assets / "scans"), "--out", str(tmp_path / "out"), "--size", "48", "--yaws", "-31"]) == 0
    (sample,) = read_samples(tmp_path / "out" / "scans-000000.tar")
    assert sample.record.person_id == "james"
    placed = scan.place(
        read_scan(assets / "scans" / "james"), load_face_model().model, load_face_model().correspondence
    )
    view = scan.render_view(placed, -31.0, 48, np.random.default_rng(0))
    np.testing.assert_allclose(sample.depth_mm_FHW[0], view.depth_mm_SS, atol=0.051)
    assert np.array_equal(sample.skin_FHW[0], view.skin_SS)


def test_notes_without_a_file_are_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    assert read_notes(tmp_path / "p1").person_id == "p1"
    assert read_notes(tmp_path / "p1").cameras == ()


@pytest.mark.slow
def test_facescape_is_read_as_it_is_laid_out(head: MorphableModel, tmp_path: Path) -> None:
    """``PERSON/models_reg/NUMBER_EXPRESSION.obj`` beside a ``.jpg`` of that name: each a scan, one person."""
    drawn = write_head(tmp_path / "drawn", head)
    models = tmp_path / "TU" / "12" / "models_reg"
    models.mkdir(parents=True)
    for name in ("1_neutral", "2_smile"):
        text = (drawn / "head.obj").read_text().replace("mtllib m.mtl", f"mtllib {name}.obj.mtl")
        (models / f"{name}.obj").write_text(text)
        Image.open(drawn / "paint.png").save(models / f"{name}.jpg", quality=95)
    (models / "2_smile.jpg").unlink()
    rows = prepare_scans(tmp_path / "TU", tmp_path / "out", ScanSettings(SIZE, Ring(yaws=(0.0,))))
    assert [Path(row["source"]).name for row in rows] == ["1_neutral.obj", "2_smile.obj"]
    assert [row["status"] for row in rows] == ["kept", "failed"]
    assert "2_smile.jpg" in rows[1]["reason"]
    (sample,) = read_samples(next((tmp_path / "out").glob("*.tar")))
    assert sample.record.person_id == "12"
    expected = make_sample(drawn, "x", ScanSettings(SIZE, Ring(yaws=(0.0,))), load_face_model())
    both = expected.skin_FHW & sample.skin_FHW
    assert both.sum() > 0.98 * expected.skin_FHW.sum()
    # paint as JPEG moves the landmarks by which a head is placed a little
    assert np.median(np.abs(expected.depth_mm_FHW - sample.depth_mm_FHW)[both]) < 1.0
