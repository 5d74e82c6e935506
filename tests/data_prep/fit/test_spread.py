"""The spread of depth against columns of displacements that are fitted and taken away one by one."""

import math

import numpy as np
import torch
import trimesh
from scipy.linalg import expm

from data_prep.fit.spread import FLOOR_MM, LEAST_COSINE, TILT_DEG, VISIBLE, SpreadOf
from data_prep.head.normals import VertexNormals


def test_scale_and_shift_of_the_seen_face_are_taken_out_of_every_cause() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=80.0)
    points, faces = torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces.copy())
    posed = (points * torch.tensor([1.0, -1.2, 0.8]) + torch.tensor([10.0, 20.0, 600.0]))[None]
    generator = torch.Generator().manual_seed(0)
    which = torch.arange(0, len(points), 2)
    loose = 2 * torch.randn(len(which), 3, 5, generator=generator)
    normals = VertexNormals(faces.flip(1), len(points))  # the pose above mirrors the mesh
    spread = SpreadOf(which, normals, loose, loose @ loose.transpose(1, 2))
    rotation = torch.tensor([[0.1, -0.3, 0.05]])
    found = spread(posed, rotation)[0]

    at, normal = posed[0, which].double().numpy(), normals(posed)[0, which].double().numpy()
    ray = at / np.linalg.norm(at, axis=1, keepdims=True)
    facing = -(normal * ray).sum(1)
    along = ray[:, 2] / facing.clip(LEAST_COSINE)
    turn = expm(np.array([[0, -0.05, -0.3], [0.05, 0, -0.1], [0.3, 0.1, 0]]))
    in_head = normal @ (turn * np.array([1.0, -1.0, -1.0]))
    tilts = np.cross(at - at.mean(0), normal)[:, :2] * math.radians(TILT_DEG)
    moves = np.concatenate([np.einsum("ri,rik->rk", in_head, loose.double().numpy()), tilts], 1) * along[:, None]
    seen = facing > VISIBLE
    columns = np.stack([np.ones(len(at)), at[:, 2]], 1)
    left = moves - columns @ np.linalg.lstsq(columns[seen], moves[seen], rcond=None)[0]
    expected = np.sqrt(np.square(left).sum(1) + np.square(FLOOR_MM * along))
    assert seen.sum() > 20
    np.testing.assert_allclose(found[which].numpy(), expected, rtol=1e-3)
    assert found[1::2].abs().max() == 0
