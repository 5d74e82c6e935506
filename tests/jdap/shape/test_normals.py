"""Normals and meshes of depth maps against a ball and a step."""

import numpy as np
import pytest
import torch
from shapes import CAMERA, sphere

from jdap.geometry import unproject
from jdap.shape.mesh import TO_VIEWER, ShapeError, mesh_of, normal_picture
from jdap.shape.normals import edge_normals


def step() -> torch.Tensor:
    """Two planes that face the camera, 40 mm apart, and nothing in the last columns."""
    depth = torch.full((1, 1, 64, 64), 600.0)
    depth[..., 32:] = 640.0
    depth[..., 56:] = 0
    return depth


@pytest.mark.parametrize("smooth", [0, 1])
def test_those_of_a_ball_are_its_own(smooth: int) -> None:
    depth, true = sphere()
    found = edge_normals(depth, CAMERA, smooth)
    facing = true[:, 2] < -0.5
    assert torch.rad2deg((found * true).sum(1)[facing].clamp(-1, 1).acos()).max() < 4


def test_no_normal_crosses_a_jump() -> None:
    found = edge_normals(step(), CAMERA)
    assert (found[:, 2, :, :56] < -0.99).all()
    assert (found[..., 56:] == 0).all()


def test_a_single_pixel_has_no_normal() -> None:
    depth = torch.zeros(1, 1, 8, 8)
    depth[..., 4, 4] = 600
    assert (edge_normals(depth, CAMERA) == 0).all()


def test_a_mesh_is_the_unprojected_map_cut_at_the_jump() -> None:
    depth = step()
    mesh = mesh_of(depth, CAMERA, np.zeros((64, 64, 3), np.uint8))
    z = -mesh.vertices_mm_V3[mesh.faces_T3][..., 2]
    assert (np.ptp(z, axis=1) == 0).all()
    assert len(mesh.faces_T3) == 2 * 63 * (31 + 23)
    points = unproject(depth, CAMERA)[0].flatten(1).T.numpy() * np.array(TO_VIEWER)
    points = points[depth.flatten().numpy() > 0]
    np.testing.assert_allclose(mesh.vertices_mm_V3, points, atol=1e-3)
    a, b, c = (mesh.vertices_mm_V3[mesh.faces_T3[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # counter-clockwise to the viewer


def test_three_of_four_pixels_are_one_triangle() -> None:
    depth = torch.full((1, 1, 2, 2), 600.0)
    for v, u in np.ndindex(2, 2):
        cut = depth.clone()
        cut[..., v, u] = 0
        mesh = mesh_of(cut, CAMERA, np.zeros((2, 2, 3), np.uint8))
        assert len(mesh.faces_T3) == 1
        a, b, c = mesh.vertices_mm_V3[mesh.faces_T3[0]]
        assert np.cross(b - a, c - a)[2] > 0


@pytest.mark.parametrize("depth", [torch.zeros(1, 1, 8, 8), torch.eye(8)[None, None] * 600])
def test_a_mesh_without_faces_is_refused(depth: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="no depth"):
        mesh_of(depth, CAMERA, np.zeros((8, 8, 3), np.uint8))


def test_a_normal_map_is_blue_where_it_faces_the_viewer() -> None:
    picture = normal_picture(edge_normals(step(), CAMERA))
    torch.testing.assert_close(picture[0, :, 10, 10], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
