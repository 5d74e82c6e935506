"""The rasteriser against analytic surfaces, trimesh's ray casting, and itself in other pieces."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from trimesh.ray.ray_triangle import ray_triangle_id

from data_prep.head.model import head_to_camera, load_ict
from jdap.geometry import unproject
from jdap.shape import compiled
from jdap.shape.rasterise import Fragments, interpolate, per_face, rasterise

CAMERA = torch.tensor([[70.3, 23.7, 24.9]])
SIZE = 48


def quad(z_of, reach=400.0):
    """Two triangles that hold a square in x and y, with depth by ``z_of(x, y)``."""
    xy = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * reach
    vertices = torch.cat([xy, z_of(xy[:, :1], xy[:, 1:])], 1)[None]
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]])


def sphere(subdivisions, centre=(12.0, -7.0, 600.0), radius=150.0):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(mesh.vertices + np.array(centre), dtype=torch.float32)[None]
    return vertices, torch.tensor(mesh.faces.copy(), dtype=torch.int64)


def rays(camera_px, height, width):
    v, u = torch.meshgrid(torch.arange(height).double() + 0.5, torch.arange(width).double() + 0.5, indexing="ij")
    f, cx, cy = camera_px.double()
    return torch.stack([(u - cx) / f, (v - cy) / f, torch.ones_like(u)], -1)


def cast(vertices_V3, faces_T3, directions_N3):
    """Nearest z and triangle of rays from the origin, by trimesh; z is inf where nothing is hit."""
    triangles = vertices_V3.double().numpy()[faces_T3.numpy()]
    low, high = triangles.min(1), triangles.max(1)

    def overlapping(box):
        return ((low <= box[3:]) & (high >= box[:3])).all(1).nonzero()[0]

    # trimesh wants an R-tree only to find candidates; testing every triangle's box finds the same ones.
    tree = SimpleNamespace(bounds=np.concatenate([low.min(0), high.max(0)]), intersection=overlapping)
    face, ray, location = ray_triangle_id(triangles, np.zeros_like(directions_N3), directions_N3, tree=tree)
    z, nearest = np.full(len(directions_N3), np.inf), np.full(len(directions_N3), -1)
    for i in np.argsort(-location[:, 2]):
        z[ray[i]], nearest[ray[i]] = location[i, 2], face[i]
    return z, nearest


def test_tilted_plane_has_its_analytic_depth_at_every_pixel():
    a, b, c = 0.31, -0.17, 500.0
    vertices, faces = quad(lambda x, y: a * x + b * y + c)
    fragments = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    direction = rays(CAMERA[0], SIZE, SIZE)
    # (x, y, z) = z d on z = a x + b y + c.
    expected = c / (1 - a * direction[..., 0] - b * direction[..., 1])
    assert fragments.mask.all()
    torch.testing.assert_close(fragments.depth_mm[0].double(), expected, rtol=0, atol=1e-4)


def test_sphere_has_its_analytic_depth_and_outline():
    size, camera = 96, torch.tensor([[180.0, 47.3, 48.6]])
    radius, centre = 150.0, torch.tensor([12.0, -7.0, 600.0], dtype=torch.float64)
    vertices, faces = sphere(6, centre.tolist(), radius)
    depth = rasterise(vertices, faces, camera, size, size).depth_mm[0].double()
    d = rays(camera[0], size, size)
    # |z d - centre| = radius: z = (d.c - sqrt((d.c)^2 - |d|^2 (|c|^2 - r^2))) / |d|^2.
    dc, dd = (d * centre).sum(-1), (d * d).sum(-1)
    root = dc**2 - dd * (centre @ centre - radius**2)
    inner = root > 0.2 * root.max()
    z = (dc - root.clamp_min(0).sqrt()) / dd
    assert inner.sum() > 1000
    # Inscribed triangles lie under the sphere, by no more than their middles do, seen at cos >= sqrt(0.2).
    under = radius - (vertices[0].double()[faces].mean(1) - centre).norm(dim=1).min()
    assert under < 0.02
    assert (depth - z)[inner].min() > -1e-4
    assert (depth - z)[inner].max() < under / 0.2**0.5 + 1e-4
    # The outline: a tenth of a pixel in or out decides nothing else than the mask's own edge.
    for pixels, sign in ((0.1, 1), (-0.1, -1)):
        shrunk = radius - pixels * 600 / 180
        beyond = dc**2 - dd * (centre @ centre - shrunk**2)
        certain = beyond > 0 if sign > 0 else beyond < 0
        assert ((depth > 0) == (sign > 0))[certain].all()


def test_agrees_with_ray_casting_on_a_small_mesh():
    torch.manual_seed(3)
    vertices, faces = sphere(2)
    vertices = vertices + torch.randn_like(vertices) * 25  # folded over itself
    fragments = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    z, face = cast(vertices[0], faces, rays(CAMERA[0], SIZE, SIZE).reshape(-1, 3).numpy())
    seen = fragments.mask.flatten().numpy()
    assert 300 < seen.sum() < SIZE * SIZE - 300
    np.testing.assert_array_equal(seen, np.isfinite(z))
    np.testing.assert_array_equal(fragments.face.flatten().numpy(), face)
    np.testing.assert_allclose(fragments.depth_mm.flatten().numpy()[seen], z[seen], rtol=0, atol=2e-4)


def test_agrees_with_ray_casting_on_the_head(assets):
    model = load_ict(assets / "ict_facekit").drawn()
    expression = torch.zeros(1, len(model.expression_names))
    expression[0, model.expression_names.index("jawOpen")] = 0.7
    vertices = head_to_camera(
        model.vertices(torch.randn(1, 100), expression),
        torch.tensor([[0.2, 0.5, -0.1]]),
        torch.tensor([[5.0, 10.0, 700.0]]),
    )
    size, camera = 256, torch.tensor([[520.3, 127.1, 128.8]])
    fragments = rasterise(vertices, model.faces_T3, camera, size, size)
    seen = fragments.mask[0]
    # Half of the rays anywhere, half along the outline, where a shift would show.
    edge = torch.nn.functional.avg_pool2d(seen.float()[None], 3, 1, 1)[0]
    outline = ((edge > 0) & (edge < 1)).flatten().nonzero()[:, 0]
    chosen = torch.cat([torch.randint(size * size, (120,)), outline[torch.randperm(len(outline))[:120]]])
    z, face = cast(vertices[0], model.faces_T3, rays(camera[0], size, size).reshape(-1, 3)[chosen].numpy())
    np.testing.assert_array_equal(seen.flatten()[chosen].numpy(), np.isfinite(z))
    hit = np.isfinite(z)
    assert hit.sum() > 60
    assert (~hit).sum() > 60
    drawn = fragments.depth_mm.flatten()[chosen].numpy()
    same = fragments.face.flatten()[chosen].numpy() == face
    assert same.mean() > 0.99
    assert np.abs(drawn - z)[hit & same].max() < 0.01


def test_barycentric_is_perspective_correct():
    torch.manual_seed(1)
    vertices, faces = sphere(2)
    fragments = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    points = interpolate(fragments, faces, vertices)
    # The camera's own unprojection of the depth must land on the interpolated corners, in x, y and z.
    expected = unproject(fragments.depth_mm[:, None], CAMERA).permute(0, 2, 3, 1)
    torch.testing.assert_close(points, expected, rtol=0, atol=2e-3)
    seen = fragments.barycentric[fragments.mask]
    assert seen.min() >= 0
    torch.testing.assert_close(seen.sum(-1), torch.ones(len(seen)))
    assert not points[~fragments.mask].any()
    assert not fragments.barycentric[~fragments.mask].any()


def test_interpolate_is_differentiable_in_the_attributes():
    vertices, faces = quad(lambda x, y: 500 + 0 * x)
    fragments = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    colour = torch.rand(1, 4, 3, requires_grad=True)
    interpolate(fragments, faces, colour).sum().backward()
    # The weights of a pixel sum to 1, so all gradients together count the pixels.
    torch.testing.assert_close(colour.grad.sum(), torch.tensor(3.0 * SIZE * SIZE), rtol=1e-5, atol=0)


def test_interpolate_takes_another_indexing_of_the_triangles():
    vertices, faces = quad(lambda x, y: 500 + 0 * x)
    fragments = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    flat = interpolate(fragments, torch.tensor([[0, 0, 0], [1, 1, 1]]), torch.tensor([[[2.0], [7.0]]]))
    torch.testing.assert_close(flat[..., 0], torch.where(fragments.face == 0, 2.0, 7.0))


def test_per_face():
    fragments = Fragments(torch.zeros(1, 1, 3), torch.tensor([[[1, -1, 0]]]), torch.zeros(1, 1, 3, 3))
    assert per_face(fragments, torch.tensor([False, True])).tolist() == [[[True, False, False]]]
    assert per_face(fragments, torch.tensor([4, 5]), outside=-1).tolist() == [[[5, -1, 4]]]
    assert per_face(fragments, torch.eye(2)).shape == (1, 1, 3, 2)


def test_seams_have_no_holes_and_ties_go_to_the_lower_triangle():
    # A grid whose corners are exactly pixel centres, so that every pixel is on a corner of up to six triangles.
    n = SIZE
    v, u = torch.meshgrid(torch.arange(n) + 0.5, torch.arange(n) + 0.5, indexing="ij")
    vertices = torch.stack([u, v, torch.ones_like(u)], -1).reshape(1, -1, 3) * 64
    corner = torch.arange(n * n).reshape(n, n)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = torch.cat([torch.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    camera = torch.tensor([[1.0, 0.0, 0.0]])
    fragments = rasterise(vertices, faces, camera, n, n)
    assert fragments.mask.all()
    lowest = torch.full((n * n,), len(faces)).scatter_reduce(
        0, faces.flatten(), torch.arange(len(faces)).repeat_interleave(3), "amin"
    )
    torch.testing.assert_close(fragments.face.flatten(), lowest)
    # And with corners at odd places, shared only by their coordinates, nothing shines through either.
    torch.manual_seed(0)
    soup = (vertices + torch.randn_like(vertices) * torch.tensor([12.0, 12.0, 0.0]))[0][faces].reshape(1, -1, 3)
    fragments = rasterise(soup, torch.arange(soup.shape[1]).reshape(-1, 3), camera, n, n)
    assert fragments.mask[:, 3:-3, 3:-3].all()


def test_a_shared_edge_through_a_pixel_centre_leaves_no_hole():
    # The centre is on the edge but for rounding, which must not put it outside of both triangles.
    torch.manual_seed(0)
    many = 2000
    angle, (ahead, behind) = torch.rand(many).double() * 6.3, torch.rand(2, many, 1).double() * 3 + 1
    along = torch.stack([angle.cos(), angle.sin()], -1)
    across = torch.stack([-angle.sin(), angle.cos()], -1)
    corners = torch.stack([along * ahead, along * -behind, across * 3, across * -3], 1) + 4.5
    vertices = torch.cat([corners, torch.ones_like(corners[..., :1])], -1)
    camera = torch.tensor([[1.0, 0.0, 0.0]]).expand(many, 3)
    fragments = rasterise(vertices, torch.tensor([[0, 1, 2], [1, 0, 3]]), camera, 9, 9)
    assert fragments.mask[:, 4, 4].all()


def test_nearer_wins_in_any_order():
    near, faces = quad(lambda x, y: 400 + 0 * x, reach=60.0)
    far, _ = quad(lambda x, y: 500 + 0 * x)
    for pair in ((near, far), (far, near)):
        depth = rasterise(torch.cat(pair, 1), torch.cat([faces, faces + 4]), CAMERA, SIZE, SIZE).depth_mm
        u = torch.arange(SIZE) + 0.5
        inside = ((u - CAMERA[0, 1]).abs() < 60 * CAMERA[0, 0] / 400)[None, :] & (
            (u - CAMERA[0, 2]).abs() < 60 * CAMERA[0, 0] / 400
        )[:, None]
        torch.testing.assert_close(depth[0], torch.where(inside, 400.0, 500.0))
        assert 100 < inside.sum() < 1000


def test_batch_and_pieces_equal_singles():
    torch.manual_seed(2)
    vertices, faces = sphere(2)
    vertices = vertices + torch.randn(3, 1, 3) * 40
    cameras = CAMERA + torch.tensor([[0.0, 0.0, 0.0], [20.0, 3.0, -2.0], [-9.0, 0.0, 5.0]])
    whole = rasterise(vertices, faces, cameras, 40, SIZE)
    assert whole.depth_mm.shape == (3, 40, SIZE)
    small = rasterise(vertices, faces, cameras, 40, SIZE, max_pairs=150)
    singles = [rasterise(vertices[i : i + 1], faces, cameras[i : i + 1], 40, SIZE) for i in range(3)]
    for name in ("depth_mm", "face", "barycentric"):
        assert torch.equal(getattr(whole, name), getattr(small, name))
        assert torch.equal(getattr(whole, name), torch.cat([getattr(s, name) for s in singles]))


@pytest.mark.parametrize("culled", [False, True])
def test_compiled_loops_give_the_same_bits(assets, culled):
    """A head in two poses, near enough to leave the picture, with a part of it left out in one of them."""
    pytest.importorskip("numba")
    model = load_ict(assets / "ict_facekit")
    rotation, place = torch.tensor([[0.1, 0.4, 0.1], [0.0, -0.7, 0.2]]), torch.tensor([[30.0, 9.0, 400.0], [0, 0, 700]])
    vertices = head_to_camera(model.mean_V3[None], rotation, place)
    drawn = torch.stack([model.drawn_T, model.skin_T])
    pictures = [
        rasterise(
            vertices, model.faces_T3, CAMERA.repeat(2, 1) * 4, 190, 220,
            drawn_BT=drawn, z_near_mm=330.0, cull_back_faces=culled, by_numba=by_numba,
        )
        for by_numba in (False, True)
    ]  # fmt: skip
    assert 0.1 < pictures[0].mask.float().mean() < 0.9
    for name in ("depth_mm", "face", "barycentric"):
        assert torch.equal(*(getattr(picture, name) for picture in pictures)), name


@pytest.mark.parametrize("by_numba", [False, True])
def test_samples_of_some_triangles_are_those_among_all(monkeypatch, by_numba):
    if by_numba:
        pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "is_there", lambda: by_numba)
    generator = torch.Generator().manual_seed(0)
    face = torch.randint(-1, 6, (2, 5, 7), generator=generator)
    fragments = Fragments(torch.zeros(2, 5, 7), face, torch.rand(2, 5, 7, 3, generator=generator))
    wanted = torch.tensor([True, False, True, False, False, True])
    some, whole = fragments.samples(wanted), fragments.samples()
    kept = wanted[whole.face_N]
    for name in ("pixel_N", "picture_N", "face_N", "barycentric_N3"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[kept]), name
    assert 0 < len(some.pixel_N) < len(whole.pixel_N)


def test_back_faces():
    vertices, faces = sphere(3)
    open_, culled = (rasterise(vertices, faces, CAMERA, SIZE, SIZE, cull_back_faces=c) for c in (False, True))
    assert torch.equal(open_.face, culled.face)
    # Turned inside out, only the far side of the sphere is left.
    inside = rasterise(vertices, faces.flip(1), CAMERA, SIZE, SIZE, cull_back_faces=True)
    assert torch.equal(inside.mask, open_.mask)
    # Straight ahead, the two sides are a diameter apart.
    middle = (0, SIZE // 2, SIZE // 2)
    assert 290 < inside.depth_mm[middle] - open_.depth_mm[middle] <= 300


def test_what_is_not_in_view_is_not_drawn():
    vertices, faces = quad(lambda x, y: 500 + 0 * x, reach=50.0)
    for moved in (vertices + torch.tensor([900.0, 0, 0]), vertices * torch.tensor([1.0, 1.0, -1.0])):
        fragments = rasterise(moved, faces, CAMERA, SIZE, SIZE)
        assert not fragments.mask.any()
        assert not fragments.depth_mm.any()
        assert (fragments.face == -1).all()
    # A triangle with one corner behind the camera is dropped whole; the other stays.
    behind = vertices.clone()
    behind[0, 3, 2] = -5
    fragments = rasterise(behind, faces, CAMERA, SIZE, SIZE)
    assert fragments.face.unique().tolist() == [-1, 0]
    # Edge-on triangles and no triangles at all.
    flat = vertices * torch.tensor([1.0, 0.0, 1.0])
    assert not rasterise(flat, faces, torch.tensor([[70.0, 24.0, 24.5]]), SIZE, SIZE).mask.any()
    assert not rasterise(vertices, faces[:0], CAMERA, SIZE, SIZE).mask.any()


def test_bad_input_is_refused():
    vertices, faces = quad(lambda x, y: 500 + 0 * x)
    with pytest.raises(ValueError, match="name vertices 0 … 9"):
        rasterise(vertices, torch.tensor([[0, 1, 9]]), CAMERA, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"needs vertices \(B, V, 3\)"):
        rasterise(vertices[0], faces, CAMERA, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"cameras \(B, 3\), got"):
        rasterise(vertices, faces, CAMERA.repeat(2, 1), SIZE, SIZE)
    with pytest.raises(ValueError, match="must be positive"):
        rasterise(vertices, faces, CAMERA, 0, SIZE)
    with pytest.raises(ValueError, match="finite"):
        rasterise(vertices * torch.nan, faces, CAMERA, SIZE, SIZE)


@pytest.mark.gpu
def test_cuda_equals_cpu():
    torch.manual_seed(3)
    vertices, faces = sphere(4)
    vertices = vertices + torch.randn_like(vertices) * 5
    cpu = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    gpu = rasterise(vertices.cuda(), faces.cuda(), CAMERA.cuda(), SIZE, SIZE)
    assert torch.equal(cpu.mask, gpu.mask.cpu())
    assert (cpu.face == gpu.face.cpu()).float().mean() > 0.999
    torch.testing.assert_close(cpu.depth_mm, gpu.depth_mm.cpu(), rtol=0, atol=1e-3)
