"""``jdap export`` with untrained networks: files that trimesh and PyAV read, and what goes wrong."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import trimesh
from command_line import jdap
from PIL import Image

from jdap.faces.crop import crop_frame
from jdap.media.video import VideoWriter
from jdap.pipelines.portrait import PortraitPipeline
from jdap.shape.assumed import assumed_camera, assumed_range_mm


def photo(path: Path, size: int = 96, seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def asked(small_weights: Path) -> list[object]:
    return ["--weights", small_weights, "--no-crop", "--device", "cpu", "--size", 32]


@pytest.mark.parametrize("end", [".glb", ".ply", ".obj"])
def test_geometry_is_the_depth_before_the_assumed_camera(
    tmp_path: Path, asked: list[object], small_weights: Path, end: str
) -> None:
    source, out = photo(tmp_path / "a.png"), tmp_path / "made" / f"face{end}"
    assert jdap("export", source, "-o", out, *asked, "--seed", 3) == 0
    loaded = trimesh.load_scene(out, process=False).dump()[0]
    mm = np.asarray(loaded.vertices) * (1000 if end == ".glb" else 1)

    pipeline = PortraitPipeline.from_pretrained(small_weights)
    rgb = torch.from_numpy(crop_frame(np.asarray(Image.open(source)), np.array([0, 0, 96]), 32).copy())
    depth = pipeline.image_to_depth(
        rgb.permute(2, 0, 1)[None] / 127.5 - 1, generator=torch.Generator().manual_seed(3)
    ).depth
    near, far = assumed_range_mm()
    f, cx, cy = assumed_camera(32).tolist()
    # Each vertex projects to a pixel's centre, where the depth is its own.
    u, v = f * mm[:, 0] / -mm[:, 2] + cx - 0.5, f * -mm[:, 1] / -mm[:, 2] + cy - 0.5
    column, row = np.rint(u).astype(int), np.rint(v).astype(int)
    assert max(np.abs(u - column).max(), np.abs(v - row).max()) < 0.02
    z = (depth[0, 0].numpy()[row, column] + 1) / 2 * (far - near) + near
    np.testing.assert_allclose(-mm[:, 2], z, atol=0.1)
    data = json.loads((tmp_path / "made" / "face.mesh.json").read_text())
    assert data["mesh"]["camera_px"] == {"f": round(f, 3), "cx": 16.0, "cy": 16.0, "size": 32}
    assert data["mesh"]["triangles"] == len(loaded.faces)


@pytest.mark.slow
def test_points_normals_and_a_turntable(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "face.ply"
    how = [*asked, "--points", "--viewer", "--normals", "--turntable", "--json"]
    assert jdap("export", photo(tmp_path / "a.png"), "-o", out, *how) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["files"] == [
        "face.ply",
        "face.mesh.html",
        "face.mesh.normals.png",
        "face.mesh.turn.mp4",
        "face.mesh.json",
    ]
    assert isinstance(trimesh.load(out), trimesh.PointCloud)
    normals = np.asarray(Image.open(tmp_path / "face.mesh.normals.png")).astype(float) / 127.5 - 1
    length = np.linalg.norm(normals, axis=2)
    some = length > 0.5
    assert some.any()
    np.testing.assert_allclose(length[some], 1, atol=0.02)
    assert (normals[some][:, 2] > -0.01).all()  # all face the viewer
    with av.open(str(tmp_path / "face.mesh.turn.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 75
    assert np.abs(frames[19].astype(int) - frames[56]).mean() > 1


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 10, sound=False) as video:
        for k in range(5):
            video.frame(np.asarray(Image.open(photo(tmp_path / "frame.png", seed=k))))
    return path


def test_a_clip_is_a_sequence_of_meshes(tmp_path: Path, asked: list[object], clip: Path) -> None:
    out = tmp_path / "made" / "face.glb"
    assert jdap("export", clip, "-o", out, *asked, "--max-frames", 3) == 0
    names = [f"face.{k:06d}.glb" for k in range(3)]
    assert sorted(p.name for p in out.parent.iterdir()) == [*names, "face.mesh.json"]
    assert all(len(trimesh.load_scene(out.parent / name).dump()[0].faces) for name in names)
    data = json.loads((out.parent / "face.mesh.json").read_text())
    assert (data["frames"], data["fps"]) == (3, 10.0)


def test_a_clip_is_an_rgbd_video(tmp_path: Path, asked: list[object], clip: Path) -> None:
    assert jdap("export", clip, "-o", tmp_path / "made" / "face.glb", *asked, "--rgbd") == 0
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [
        "face.mesh.depth.mkv",
        "face.mesh.json",
        "face.mesh.rgbd.mp4",
    ]
    with av.open(str(tmp_path / "made" / "face.mesh.rgbd.mp4")) as container:
        assert [(f.width, f.height) for f in container.decode(video=0)] == [(64, 32)] * 5
    with av.open(str(tmp_path / "made" / "face.mesh.depth.mkv")) as container:
        depth = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(depth) == 5
    assert depth[0].dtype == np.uint16
    assert not np.array_equal(depth[0], depth[1])


@pytest.mark.parametrize(
    ("out", "options", "says"),
    [
        ("face.stl", [], ".glb, .ply, .obj"),
        ("face.obj", ["--points"], "--points"),
        ("face.glb", ["--rgbd"], "--rgbd is of a video"),
        ("face.glb", ["--several", "all", "--no-crop"], "--several"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    tmp_path: Path, small_weights: Path, capsys: pytest.CaptureFixture[str], out: str, options: list[str], says: str
) -> None:
    options = [o for o in options if o != "--no-crop"]
    assert jdap("export", photo(tmp_path / "a.png"), "-o", tmp_path / out, "--weights", small_weights, *options) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert len(error.splitlines()) == 1


def test_files_that_are_no_picture_or_video(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 20)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    for name, says in (("broken.mp4", "video"), ("phone.heic", "HEIC"), ("nowhere.png", "no such file")):
        assert jdap("export", tmp_path / name, "-o", tmp_path / "face.glb", *asked) == 2
        error = capsys.readouterr().err
        assert name in error
        assert says in error


def test_a_head_that_is_all_transparent_is_no_mesh(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGBA", (64, 64), (200, 100, 50, 0)).save(tmp_path / "empty.png")
    assert jdap("export", tmp_path / "empty.png", "-o", tmp_path / "face.glb", *asked) == 2
    assert "no depth to make a mesh of" in capsys.readouterr().err
    assert not (tmp_path / "face.glb").exists()


def test_without_trimesh_the_extra_is_named(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    assert jdap("export", photo(tmp_path / "a.png"), "-o", tmp_path / "face.glb", *asked) == 2
    assert "jdap[mesh]" in capsys.readouterr().err
