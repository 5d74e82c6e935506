import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from jdap.geometry import (
    PinholeCamera,
    axis_angle_to_matrix,
    head_axis_angle,
    head_rotation,
    matrix_to_axis_angle,
    normals_from_depth,
    project,
    unproject,
    vertex_normals,
)


class TestCamera:
    def test_what_is_seen_does_not_depend_on_the_crop(self):
        camera = PinholeCamera(700.0, 300.0, 250.0, 640, 480)
        cut = camera.crop(100.0, 50.0, 200.0, 128)
        points = torch.randn(1, 50, 3) * 80 + torch.tensor([0.0, 0, 600])
        whole = project(points, camera.as_tensor()[None])
        part = project(points, cut.as_tensor()[None])
        torch.testing.assert_close(part, (whole - torch.tensor([100.0, 50.0])) * 128 / 200, rtol=0, atol=1e-3)
        assert (cut.width, cut.height) == (128, 128)

    def test_a_crop_may_reach_outside(self):
        cut = PinholeCamera(100.0, 50.0, 50.0, 100, 100).crop(-20.0, -10.0, 140.0, 70)
        assert (cut.f_px, cut.cx_px, cut.cy_px) == (50.0, 35.0, 30.0)

    @pytest.mark.parametrize("bad", [(0.0, 1, 1, 4, 4), (-5.0, 1, 1, 4, 4), (math.nan, 1, 1, 4, 4), (9.0, 1, 1, 0, 4)])
    def test_impossible_cameras_are_refused(self, bad):
        with pytest.raises(ValueError, match="positive focal length"):
            PinholeCamera(*bad)


class TestProjection:
    def test_against_the_camera_matrix(self):
        camera = torch.tensor([[500.0, 128.0, 120.0], [650.0, 100.0, 90.0]])
        points = torch.randn(2, 9, 3) * 50 + torch.tensor([0.0, 0, 700])
        for c, p, got in zip(camera.numpy(), points.numpy(), project(points, camera).numpy(), strict=True):
            k = np.array([[c[0], 0, c[1]], [0, c[0], c[2]], [0, 0, 1]])
            homogeneous = p @ k.T
            np.testing.assert_allclose(got, homogeneous[:, :2] / homogeneous[:, 2:], rtol=1e-5)

    def test_a_pixels_point_projects_onto_its_centre(self):
        z = torch.rand(2, 1, 6, 8) * 100 + 500
        camera = torch.tensor([[40.0, 4.2, 2.9], [55.0, 3.0, 3.3]])
        points = unproject(z, camera)
        assert torch.equal(points[:, 2:], z)
        uv = project(points.flatten(2).mT, camera).reshape(2, 6, 8, 2)
        torch.testing.assert_close(uv[0, 0, 0], torch.tensor([0.5, 0.5]))
        torch.testing.assert_close(uv[1, 5, 7], torch.tensor([7.5, 5.5]))
        torch.testing.assert_close(uv[0, 2, 3], torch.tensor([3.5, 2.5]))

    def test_x_is_right_y_is_down(self):
        points = unproject(torch.full((1, 1, 4, 4), 100.0), torch.tensor([[10.0, 2.0, 2.0]]))[0]
        assert points[0, 0, 3] > 0 > points[0, 0, 0]
        assert points[1, 3, 0] > 0 > points[1, 0, 0]

    def test_no_depth_is_the_origin(self):
        z = torch.tensor([[0.0, 600.0]]).reshape(1, 1, 1, 2)
        assert unproject(z, torch.tensor([[10.0, 1.0, 1.0]]))[0, :, 0, 0].tolist() == [0, 0, 0]


class TestNormals:
    @pytest.mark.parametrize("normal", [(0.0, 0.0, -1.0), (0.3, 0.2, -0.9), (-0.5, 0.1, -0.8)])
    def test_of_a_plane(self, normal):
        n = np.array(normal) / np.linalg.norm(normal)
        v, u = np.mgrid[:16, :16] + 0.5
        rays = np.stack([(u - 8) / 60, (v - 8) / 60, np.ones_like(u)], -1)
        z = (n @ np.array([0, 0, 600.0])) / (rays @ n)
        got = normals_from_depth(
            torch.tensor(z, dtype=torch.float32)[None, None], torch.tensor([[60.0, 8.0, 8.0]], dtype=torch.float32)
        )[0, :, 1:-1, 1:-1]
        np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), np.broadcast_to(n, (14, 14, 3)), atol=2e-3)

    def test_of_a_sphere(self):
        centre, radius = np.array([10.0, -15.0, 700.0]), 90.0
        v, u = np.mgrid[:96, :96] + 0.5
        rays = np.stack([(u - 48) / 240, (v - 48) / 240, np.ones_like(u)], -1)
        a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
        root = b * b - a * c
        z = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
        got = normals_from_depth(torch.tensor(z, dtype=torch.float32)[None, None], torch.tensor([[240.0, 48.0, 48.0]]))
        got = got[0].permute(1, 2, 0).numpy()
        exact = (rays * z[..., None] - centre) / radius
        facing = (got != 0).any(-1) & (exact[..., 2] < -0.5)
        assert facing.sum() > 1000
        assert (got * exact).sum(-1)[facing].min() > math.cos(math.radians(2))
        assert (got[facing][:, 2] < 0).all()

    def test_none_at_holes_and_borders(self):
        z = torch.full((1, 1, 7, 7), 500.0)
        z[0, 0, 3, 3] = 0
        lengths = normals_from_depth(z, torch.tensor([[10.0, 3.5, 3.5]])).norm(dim=1)[0]
        expected = torch.zeros(7, 7)
        expected[1:-1, 1:-1] = 1
        for v, u in ((3, 3), (2, 3), (4, 3), (3, 2), (3, 4)):
            expected[v, u] = 0
        torch.testing.assert_close(lengths, expected)

    def test_vertex_normals_of_a_sphere_point_outward(self):
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=50.0)
        got = vertex_normals(
            torch.tensor(mesh.vertices, dtype=torch.float32)[None], torch.tensor(np.asarray(mesh.faces))
        )[0]
        assert torch.allclose(got.norm(dim=-1), torch.ones(len(got)))
        assert (got.numpy() * mesh.vertices / 50).sum(-1).min() > math.cos(math.radians(1))

    def test_vertex_normals_are_weighted_by_area(self):
        # A large triangle in z = 0 and a small one in x = 0 share a vertex.
        vertices = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 1, 0], [0, 0, 1]])[None]
        faces = torch.tensor([[0, 1, 2], [0, 3, 4]])
        shared = vertex_normals(vertices, faces)[0, 0]
        torch.testing.assert_close(shared, torch.tensor([1.0, 0, 16]) / math.sqrt(257))


class TestRotations:
    @pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.3, 1.5, 3.0])
    def test_against_scipy(self, scale):
        vectors = torch.nn.functional.normalize(torch.randn(64, 3, dtype=torch.float64), dim=-1) * scale
        matrices = axis_angle_to_matrix(vectors)
        np.testing.assert_allclose(matrices.numpy(), Rotation.from_rotvec(vectors.numpy()).as_matrix(), atol=1e-9)
        torch.testing.assert_close(matrix_to_axis_angle(matrices), vectors, rtol=1e-5, atol=1e-9)

    def test_float32_round_trip(self):
        vectors = torch.randn(100, 3).clamp(-1.5, 1.5)
        torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(vectors)), vectors, rtol=0, atol=2e-5)

    def test_no_turn(self):
        assert torch.equal(axis_angle_to_matrix(torch.zeros(2, 3)), torch.eye(3).expand(2, 3, 3))
        assert torch.equal(matrix_to_axis_angle(torch.eye(3)), torch.zeros(3))

    def test_gradients_are_right_at_no_turn_and_elsewhere(self):
        for vector in (torch.zeros(3), torch.tensor([0.3, -0.2, 0.9])):
            assert torch.autograd.gradcheck(axis_angle_to_matrix, vector.double().requires_grad_())

    def test_leading_shapes(self):
        vectors = torch.randn(2, 5, 3) * 0.5
        assert axis_angle_to_matrix(vectors).shape == (2, 5, 3, 3)
        assert matrix_to_axis_angle(axis_angle_to_matrix(vectors)).shape == (2, 5, 3)

    def test_heads_look_into_the_camera(self):
        upright = head_rotation(torch.zeros(3)) @ torch.tensor([1.0, 2, 3])
        torch.testing.assert_close(upright, torch.tensor([1.0, -2, -3]))
        vectors = torch.randn(2, 5, 3, dtype=torch.float64) * 0.5
        turns = Rotation.from_rotvec(vectors.flatten(0, 1).numpy()) * Rotation.from_euler("x", 180, degrees=True)
        np.testing.assert_allclose(head_rotation(vectors).flatten(0, 1).numpy(), turns.as_matrix(), atol=1e-9)
        torch.testing.assert_close(head_axis_angle(head_rotation(vectors)), vectors, rtol=1e-5, atol=1e-9)
