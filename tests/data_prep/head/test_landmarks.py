"""Registration and refinement: geometry against independent references, and the shipped file's sanity."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.convert.derive import ICT_SHARED, MEDIAPIPE_SHARED, mirror_pairs, read_obj, similarity
from data_prep.convert.refine import common_shift
from data_prep.fit.fit import FitSettings, Observed
from data_prep.head import assets as asset_files
from data_prep.head.closest import closest_points
from data_prep.head.landmarks import (
    FACE_OVAL,
    LANDMARK_COUNT,
    Correspondence,
    encode_correspondence,
    load_correspondence,
    oval_region,
)
from data_prep.head.model import MorphableModel, head_to_camera
from jdap.geometry import PinholeCamera, axis_angle_to_matrix, project, vertex_normals


@pytest.fixture(scope="module")
def ict(model: MorphableModel) -> MorphableModel:
    return model


def test_similarity_recovers_scale_turn_and_shift() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    turn = axis_angle_to_matrix(torch.tensor([0.4, -0.9, 0.2])).numpy()
    matrix = similarity(points, 2.5 * points @ turn.T + [1, 2, 3])
    np.testing.assert_allclose(matrix, np.column_stack([2.5 * turn, [1, 2, 3]]), atol=1e-5)
    # A mirrored target is met by a proper rotation, never by a reflection.
    assert np.linalg.det(similarity(points, points * [-1, 1, 1])[:, :3]) > 0


def test_closest_points_agree_with_trimesh() -> None:
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=50)
    points = np.random.default_rng(1).normal(size=(60, 3)) * 60
    closest, triangle, weights = closest_points(points, np.asarray(sphere.vertices), np.asarray(sphere.faces))
    _, distance, _ = trimesh.proximity.closest_point_naive(sphere, points)
    np.testing.assert_allclose(np.linalg.norm(closest - points, axis=1), distance, atol=1e-9)
    corners = np.asarray(sphere.vertices)[np.asarray(sphere.faces)[triangle]]
    np.testing.assert_allclose((corners * weights[..., None]).sum(1), closest, atol=1e-9)
    assert (weights >= -1e-12).all()


def test_shipped_correspondence_lies_on_the_face(ict: MorphableModel) -> None:
    correspondence = load_correspondence()
    points = correspondence.points(ict.mean_V3[None])[0]
    assert points.shape == (LANDMARK_COUNT, 3)
    torch.testing.assert_close(correspondence.weights_N3.sum(1), torch.ones(LANDMARK_COUNT))
    assert (correspondence.weights_N3 >= -1e-6).all()
    assert ((correspondence.trust_N > 0) & (correspondence.trust_N <= 1)).all()
    # Every triangle is skin, and the points that 68-point sets share are within a fingernail of each other.
    skin = {tuple(sorted(face)) for face in ict.skin_faces().tolist()}
    assert all(tuple(sorted(corners)) in skin for corners in correspondence.corners_N3.tolist())
    apart = (points[list(MEDIAPIPE_SHARED)] - ict.mean_V3[list(ICT_SHARED)]).norm(dim=1)
    assert float(apart.median()) < 4
    # The subject's left is +x; mirrored landmarks lie at mirrored places.
    pairs = mirror_pairs(read_obj(asset_files.fetch("canonical_face"))[0])
    mirrored = points[pairs] * torch.tensor([-1.0, 1.0, 1.0])
    assert float((points - mirrored).norm(dim=1).max()) < 0.6
    assert points[263, 0] > 20
    assert points[152, 1] < points[1, 1] < points[10, 1]


def test_oval_region_is_face_without_ears(ict: MorphableModel) -> None:
    correspondence = load_correspondence()
    region = oval_region(ict, correspondence)
    assert (region <= ict.skin_T).all()
    centres = ict.mean_V3[ict.faces_T3].mean(1)
    oval = correspondence.points(ict.mean_V3[None])[0, list(FACE_OVAL)]
    assert 2000 < int(region.sum()) < int(ict.skin_T.sum())
    assert centres[region][:, 1].max() < oval[:, 1].max() + 1
    assert centres[region][:, 1].min() > oval[:, 1].min() - 1
    tip = int((ict.mean_V3 - correspondence.points(ict.mean_V3[None])[0, 1]).norm(dim=1).argmin())
    assert region[(ict.faces_T3 == tip).any(1)].all()


def test_refinement_finds_a_known_bias(ict: MorphableModel) -> None:
    """Landmarks drawn 3 mm off along the skin, on all people alike: the common shift is those 3 mm."""
    correspondence, camera = load_correspondence(), PinholeCamera(1500.0, 400.0, 400.0, 800, 800)
    pairs = mirror_pairs(read_obj(asset_files.fetch("canonical_face"))[0])
    normals = vertex_normals(ict.mean_V3[None], ict.skin_faces())
    moved = correspondence.points(ict.mean_V3[None])
    left, right = 280, 50  # the cheeks' middles, mirror images
    assert pairs[left] == right
    moved[0, [left, right], 1] += 3.0
    generator = torch.Generator().manual_seed(0)
    people = []
    for _ in range(3):
        rotation = 0.15 * torch.randn(4, 3, generator=generator)
        posed = head_to_camera(moved, rotation, torch.tensor([[0.0, 0.0, 800.0]]))
        pixels = project(posed, camera.as_tensor().expand(4, -1))
        landmarks = torch.cat([pixels, posed[..., 2:] * 1500 / 800], -1)
        people.append(Observed(landmarks, torch.zeros(4, 53), camera))
    settings = FitSettings(identity_sd=1e-3, expression_sd=1e-3).unordered()
    shift, spread = common_shift(correspondence, people, ict, normals, settings, pairs)
    assert shift[left, 1] == pytest.approx(3.0, abs=0.8)
    np.testing.assert_allclose(shift[left], shift[right] * [-1, 1, 1], atol=1e-4)
    rest = np.delete(np.linalg.norm(shift, axis=1), [left, right])
    assert np.median(rest) < 0.1
    assert spread[left] > 5 * np.median(spread)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="correspond"):
        load_correspondence(tmp_path / "none.safetensors")
    small = Correspondence(torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3) / 3, torch.ones(2))
    (tmp_path / "small.safetensors").write_bytes(encode_correspondence(small))
    with pytest.raises(ValueError, match="no correspondence file"):
        load_correspondence(tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match="corners and weights"):
        Correspondence(torch.zeros(2, 3, dtype=torch.long), torch.ones(3, 3), torch.ones(2))
