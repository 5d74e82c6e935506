"""Renders of a scan, against an ellipsoid whose depth and texture are known in closed form, and of a real one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rays import cast

from data_prep.fit.render import HeadRenderer
from data_prep.head.landmarks import LANDMARK_COUNT, load_correspondence
from data_prep.head.model import load_ict
from data_prep.scans import place as scan
from data_prep.scans.files import read_scan
from jdap.faces import crop
from jdap.geometry import HEAD_TO_VIEWER, axis_angle_to_matrix

RADII = np.array([75.0, 110.0, 95.0])
SIZE = 48


def write_ellipsoid(folder: Path, radii: np.ndarray = RADII, bands: int = 160) -> Path:
    """An ellipsoid as a scan; red grows with longitude, green with height, blue is 0.5 (linear)."""
    folder.mkdir(parents=True, exist_ok=True)
    v, u = (x.flatten() for x in np.meshgrid(*[np.linspace(0, 1, bands + 1)] * 2, indexing="ij"))
    longitude, latitude = (2 * u - 1) * np.pi, (v - 0.5) * np.pi
    points = np.stack([np.sin(longitude) * np.cos(latitude), np.sin(latitude), np.cos(longitude) * np.cos(latitude)], 1)
    lines = ["mtllib m.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points * radii)]
    lines += [*(f"vt {a:.6f} {b:.6f}" for a, b in zip(u, v, strict=True)), "usemtl skin"]
    for j in range(bands):
        for i in range(bands):
            a = j * (bands + 1) + i + 1
            lines.append("f " + " ".join(f"{k}/{k}" for k in (a, a + 1, a + bands + 2, a + bands + 1)))
    (folder / "head.obj").write_text("\n".join(lines) + "\n")
    (folder / "m.mtl").write_text("newmtl skin\nKd 1 1 1\nmap_Kd paint.png\n")
    side = 256
    ramp = (np.arange(side) + 0.5) / side
    linear = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[::-1, None], (1, side)), np.full((side, side), 0.5)], 2)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    Image.fromarray(np.rint(encoded * 255).astype(np.uint8)).save(folder / "paint.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipsoid(tmp_path_factory.mktemp("scans") / "egg")


@pytest.fixture(scope="module")
def egg(folder: Path) -> scan.Head:
    """The ellipsoid as a placed head: landmarks over its front, the face is z > 40 mm."""
    found = read_scan(folder)
    spread = np.random.default_rng(0).uniform(-0.6, 0.6, (LANDMARK_COUNT, 2))
    z = np.sqrt(1 - (spread**2).sum(1, keepdims=True).clip(0, 0.99))
    landmarks = torch.from_numpy(np.concatenate([spread, z], 1) * RADII).float()
    centres = found.vertices_mm_V3[found.faces_T3].mean(1)
    return scan.Head(found, landmarks, centres[:, 2] > 40)


def hit(view: scan.View) -> tuple[np.ndarray, np.ndarray]:
    """z-depth (S, S) where the ray through each pixel's centre enters the ellipsoid (NaN: misses), and the point in
    head axes."""
    f, cx, cy = view.camera_px_3.tolist()
    v, u = np.meshgrid(*[np.arange(SIZE) + 0.5] * 2, indexing="ij")
    rays = np.stack([(u - cx) / f, (v - cy) / f, np.ones_like(u)], -1)
    turn = axis_angle_to_matrix(view.rotation_3[None].double())[0].numpy() * HEAD_TO_VIEWER
    origin, direction = -view.translation_mm_3.numpy() @ turn / RADII, rays @ turn / RADII
    a, b, c = (direction**2).sum(-1), direction @ origin, origin @ origin - 1
    with np.errstate(invalid="ignore"):
        s = (-b - np.sqrt(b * b - a * c)) / a
    return s, (origin + s[..., None] * direction) * RADII


def _cosine(view: scan.View, point: np.ndarray) -> np.ndarray:
    """Between the ellipsoid's normal and the way to the camera."""
    turn = axis_angle_to_matrix(view.rotation_3[None].double())[0].numpy() * HEAD_TO_VIEWER
    normal, way = point / RADII**2, -view.translation_mm_3.numpy() @ turn - point
    return (normal * way).sum(-1) / np.linalg.norm(normal, axis=-1) / np.linalg.norm(way, axis=-1)


@pytest.mark.parametrize("yaw", [-40.0, 0.0, 25.0])
def test_depth_and_texture_of_an_ellipsoid_are_those_of_the_closed_form(egg: scan.Head, yaw: float) -> None:
    view = scan.render_view(egg, yaw, SIZE, np.random.default_rng(1))
    depth, point = hit(view)
    seen = view.depth_mm_SS > 0
    # The mesh lies within the ellipsoid, so its rim may miss a pixel that the ellipsoid just covers; nothing else.
    assert not (seen & np.isnan(depth)).any()
    assert (~seen & ~np.isnan(depth)).sum() <= 8
    facing = seen & (_cosine(view, point) > 0.35)
    assert facing.sum() > 300
    assert np.abs(view.depth_mm_SS - depth)[facing].max() < 0.15
    share = np.arctan2(point[..., 0] / RADII[0], point[..., 2] / RADII[2]) / (2 * np.pi) + 0.5
    height = np.arcsin((point[..., 1] / RADII[1]).clip(-1, 1)) / np.pi + 0.5
    rgb = view.rgb_SS3 / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # A pixel's mean over the curved surface is not its centre's value.
    assert np.abs(linear[..., 0] - share)[facing].max() < 0.02
    assert np.abs(linear[..., 1] - height)[facing].max() < 0.02
    assert np.abs(linear[..., 2] - 0.5)[facing].max() < 0.01


def test_the_region_is_the_face_that_is_seen(egg: scan.Head) -> None:
    view = scan.render_view(egg, 30, SIZE, np.random.default_rng(1))
    _, point = hit(view)
    sure = (view.depth_mm_SS > 0) & (np.abs(point[..., 2] - 40) > 3)
    assert (view.skin_SS[sure] == (point[..., 2] > 40)[sure]).all()


def test_the_crop_is_that_of_preparation(egg: scan.Head) -> None:
    view = scan.render_view(egg, 0, SIZE, np.random.default_rng(1))
    points = egg.landmarks_mm_N3.numpy() * HEAD_TO_VIEWER + view.translation_mm_3.numpy()
    # The rule: a window of 1.9 faces, its middle a tenth of a face above the landmarks' box.
    f, cx, cy = view.camera_px_3.tolist()
    px = points[:, :2] / points[:, 2:] * f + [cx, cy]
    low, high = px.min(0), px.max(0)
    face = (high - low).max()
    assert face == pytest.approx(SIZE / crop.HEAD_OVER_FACE, rel=1e-4)
    assert (low + high) / 2 - [0, crop.RISE * face] == pytest.approx([SIZE / 2] * 2, abs=1e-3)


def test_pictures_are_seeded_and_plain_ones_have_one_background(egg: scan.Head) -> None:
    first, same, other = (
        scan.render_view(egg, 0, SIZE, np.random.default_rng(s), plain=True).rgb_SS3 for s in (1, 1, 2)
    )
    assert (first == same).all()
    outside = scan.render_view(egg, 0, SIZE, np.random.default_rng(1)).depth_mm_SS == 0
    outside &= np.roll(outside, 1, 0) & np.roll(outside, -1, 0) & np.roll(outside, 1, 1) & np.roll(outside, -1, 1)
    assert len(np.unique(first[outside], axis=0)) == 1
    assert (first[outside][0] != other[outside][0]).any()


def test_the_silhouette_is_smooth(egg: scan.Head) -> None:
    # Along a row, a pixel that the edge crosses is a mixture of both sides.
    view = scan.render_view(egg, 0, SIZE, np.random.default_rng(3), plain=True)
    row = SIZE // 2
    blue = view.rgb_SS3[row, :, 2].astype(int)
    background, head = blue[0], blue[SIZE // 2]
    mixed = (np.abs(blue - background) > 5) & (np.abs(blue - head) > 5)
    assert 1 <= mixed.sum() <= 2


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "head.obj").unlink(), "holds one mesh"),
        (lambda f: (f / "second.obj").write_text(""), "found 2"),
        (lambda f: (f / "m.mtl").unlink(), "no texture"),
        (lambda f: (f / "m.mtl").write_text("newmtl skin\n"), "no texture"),
        (lambda f: (f / "paint.png").unlink(), "paint.png: the texture of head.obj cannot be read"),
        (lambda f: (f / "paint.png").write_bytes(b"no picture"), "paint.png: the texture of head.obj cannot be read"),
        (lambda f: (f / "head.obj").write_text("mtllib m.mtl\nv 0 0 0\nvt 0 0\nusemtl a\nf 1/1 2/1 3/1\n"), "head.obj"),
        (lambda f: (f / "head.obj").write_text("v 0 0 0\n"), "head.obj"),
    ],
)
def test_a_broken_scan_is_named(tmp_path: Path, break_it, says: str) -> None:
    folder = write_ellipsoid(tmp_path / "egg", bands=4)
    break_it(folder)
    with pytest.raises(scan.ScanError, match=says):
        read_scan(folder)


def test_a_scan_without_a_face_is_refused(assets: Path, folder: Path) -> None:
    with pytest.raises(scan.ScanError, match="egg: no face is found"):
        scan.place(read_scan(folder), load_ict(), load_correspondence())


@pytest.fixture(scope="module")
def james(assets: Path) -> scan.Head:
    folder = assets / "scans" / "james"
    if not folder.is_dir():
        pytest.skip("needs scans/james")
    return scan.place(read_scan(folder), load_ict(), load_correspondence())


def test_a_real_scan_is_placed_as_a_head(james: scan.Head) -> None:
    model, points = load_ict(), james.landmarks_mm_N3
    # Landmarks of both lie together: people differ by some millimetres.
    mean = load_correspondence().points(model.mean_V3[None])[0]
    assert (points - mean).norm(dim=1).median() < 7
    # It looks ahead: the eyes' outer corners are level and equally far, and the nose's tip stands out.
    right, left = points[33], points[263]
    assert left[0] - right[0] > 70
    assert abs(left[1] - right[1]) < 4
    assert abs(left[2] - right[2]) < 4
    assert points[:, 2].argmax() in (1, 4)
    assert 0.1 < james.face_T.float().mean() < 0.6


def test_a_real_scan_has_the_depth_that_a_ray_caster_finds(james: scan.Head) -> None:
    view = scan.render_view(james, -31, SIZE, np.random.default_rng(0))
    f, cx, cy = view.camera_px_3.tolist()
    turn = axis_angle_to_matrix(view.rotation_3[None])[0].numpy() * HEAD_TO_VIEWER
    vertices = james.scan.vertices_mm_V3.numpy() @ turn.T + view.translation_mm_3.numpy()
    rows, columns = np.nonzero(view.skin_SS)
    for pick in np.random.default_rng(0).choice(len(rows), 20, replace=False):
        v, u = rows[pick], columns[pick]
        nearest = cast(vertices[james.scan.faces_T3.numpy()], np.array([(u + 0.5 - cx) / f, (v + 0.5 - cy) / f, 1.0]))
        assert view.depth_mm_SS[v, u] == pytest.approx(nearest, abs=0.02)


def test_the_mean_head_has_the_scans_pose(james: scan.Head) -> None:
    views = [scan.render_view(james, yaw, SIZE, np.random.default_rng(0)) for yaw in (-40, 40)]
    mean_mm = scan.mean_heads(views, HeadRenderer(load_ict(), load_correspondence()))
    for view, mean in zip(views, mean_mm, strict=True):
        both = view.skin_SS & (mean > 0)
        assert both.sum() > 0.9 * view.skin_SS.sum()
        assert np.abs(np.median((view.depth_mm_SS - mean)[both])) < 6
        assert np.corrcoef(view.depth_mm_SS[both], mean[both])[0, 1] > 0.8
        # Posed the other way round it would not fit.
        assert np.corrcoef(view.depth_mm_SS[both], mean[:, ::-1][both])[0, 1] < 0.5
