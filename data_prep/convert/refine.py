"""Refining :mod:`data_prep.head.landmarks` on real faces: what all people's residuals have in common is no person's
shape.

mediapipe was trained on its own idea of where a landmark lies, which differs from the registered canonical face by some
millimetres. A fit explains such a bias by identity, expression and pitch, and depth suffers. So: fit several people,
collect in head space the shift along the surface that would take each landmark's residual away, over all people and
views (least squares, symmetric to the face's middle plane), move the landmark's point on the skin by it, and repeat.

The first round fits pose alone, so that the bias cannot hide in shapes; residuals of a least-squares pose hold no
turn or shift of the head, so the refinement cannot tilt faces.

Shapes: F frames, N landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_prep.fit.fit import CHEEKS, FitSettings, Observed, default_camera, expression_prior, fit_tracks
from data_prep.head.closest import closest_points
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence
from data_prep.head.model import MorphableModel, head_to_camera
from data_prep.video.faces import FaceFinder
from data_prep.video.video import FrameReader, open_video
from jdap.geometry import project, vertex_normals

#: How a round fits: pose alone at first, then shapes with priors so tight that they follow only what is a person's own.
#: Nothing but landmarks and priors: looks do not follow one another in time.
_ROUND = FitSettings(identity_modes=80, landmark_sd=0.03, focal_sd=0, opening_sd=math.inf).unordered()
REFINEMENTS = (
    *(replace(_ROUND, identity_sd=1e-3, expression_sd=1e-3),) * 2,
    *(replace(_ROUND, identity_sd=0.15, expression_sd=0.05),) * 2,
)
#: Landmarks count in views that see their surface at less than about 72 degrees.
FACING = 0.3
#: A shift that fewer looks support is held back: this many frames' worth of weight pulls it to zero.
HOLD = 0.5
#: A person is this many frames out of at most so many.
LOOKS, SPAN = 8, 250
#: The least trust of a landmark.
LEAST_TRUST = 0.2


def person_of(video_path: Path, model: MorphableModel) -> Observed:
    """A few frames of the face in a video, spread over its first :data:`SPAN` frames at 25 fps.

    Raises ValueError for a video with fewer faces than :data:`LOOKS`.
    """
    video = open_video(video_path)
    with FaceFinder() as finder:
        faces = [finder.find(frame) for frame in FrameReader(video).read(0, min(video.frames, SPAN))]
    alone = [found[0] for found in faces if len(found) == 1]
    if len(alone) < LOOKS:
        raise ValueError(f"{video_path}: a single face is in {len(alone)} frames only; give videos of one person each")
    chosen = [alone[i] for i in np.linspace(0, len(alone) - 1, LOOKS).round().astype(int)]
    landmarks = torch.from_numpy(np.stack([face.landmarks_px_N3[:LANDMARK_COUNT] for face in chosen]))
    scores = torch.from_numpy(np.stack([face.blendshapes_B for face in chosen]))
    prior = expression_prior(scores, chosen[0].names, model)
    across = float((landmarks[:, CHEEKS[0], :2] - landmarks[:, CHEEKS[1], :2]).norm(dim=-1).max())
    return Observed(landmarks, prior, default_camera(video.width, video.height, across))


def refine(
    correspondence: Correspondence, people: Sequence[Observed], model: MorphableModel, pairs: np.ndarray
) -> Correspondence:
    """The refined correspondence; ``pairs`` (N,) is each landmark's mirror image. Every person counts alike."""
    vertices, skin = model.mean_V3.double().numpy(), model.skin_faces().numpy()
    normals = vertex_normals(model.mean_V3[None], model.skin_faces())
    for settings in REFINEMENTS:
        shift_mm, _ = common_shift(correspondence, people, model, normals, settings, pairs)
        moved = correspondence.points(model.mean_V3[None])[0].double().numpy() + shift_mm
        _, triangle, weights = closest_points(moved, vertices, skin)
        correspondence = replace(
            correspondence,
            corners_N3=torch.from_numpy(skin[triangle]),
            weights_N3=torch.from_numpy(weights).float(),
        )
    _, spread = common_shift(correspondence, people, model, normals, REFINEMENTS[-1], pairs)
    trust = np.clip(np.median(spread) / spread, LEAST_TRUST, 1)
    return replace(correspondence, trust_N=torch.from_numpy(trust).float())


def common_shift(
    correspondence: Correspondence,
    people: Sequence[Observed],
    model: MorphableModel,
    normals_1V3: Tensor,
    settings: FitSettings,
    pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) mm: the shift along the skin that takes away what residuals have in common; (N,) what is left, as a
    share of the face's width (root mean square over people and mirror images).
    """
    frames = torch.nn.functional.normalize(correspondence.points(normals_1V3)[0], dim=-1).double()
    tangent = _tangents(frames)
    matrix = torch.zeros(len(tangent), 2, 2, dtype=torch.float64)
    right = torch.zeros(len(tangent), 2, dtype=torch.float64)
    squares, looks = np.zeros(len(tangent)), np.zeros(len(tangent))
    for person in people:
        fitted = fit_tracks([person], model, correspondence, settings)[0]
        # How a step along the skin moves the projected landmark, by central differences of a rigid head.
        points = correspondence.points(model.vertices(fitted.identity_K[None], fitted.expression_FE))
        camera_px = person.camera.as_tensor().expand(len(points), -1)

        moved = torch.cat([points + sign * tangent[:, i].float() for i in (0, 1) for sign in (1, -1)], 1)
        posed = head_to_camera(moved, fitted.rotation_F3, fitted.translation_mm_F3)
        ahead, back, up, down = project(posed, camera_px).double().chunk(4, dim=1)
        steps = [ahead - back, up - down]
        by_step = torch.stack(steps, -1) / 2 / fitted.width_px_F[:, None, None, None]
        residual = fitted.residual_px_FN2.double() / fitted.width_px_F[:, None, None]
        turned = head_to_camera(frames.float()[None], fitted.rotation_F3, torch.zeros(1, 3))
        facing = (-turned[..., 2] > FACING).double() / len(points)
        matrix += torch.einsum("fn,fnij,fnik->njk", facing, by_step, by_step)
        right -= torch.einsum("fn,fnij,fni->nj", facing, by_step, residual)
        squares += ((facing * residual.square().sum(-1)).sum(0) / facing.sum(0).clamp_min(1e-6)).numpy()
        looks += (facing.sum(0) > 0).numpy()
    # A mirrored landmark sees the mirrored residuals: its frame of tangents is the mirror image, so the systems add up.
    matrix, right = matrix + matrix[pairs], right + right[pairs]
    hold = HOLD * torch.eye(2, dtype=torch.float64) * matrix.diagonal(dim1=1, dim2=2).mean() / len(people)
    step = torch.linalg.solve(matrix + hold, right[..., None])[..., 0]
    shift = torch.einsum("ni,nid->nd", step, tangent)
    shift = (shift + shift[pairs] * torch.tensor([-1.0, 1.0, 1.0])) / 2  # the middle line stays in the middle
    squares, looks = squares + squares[pairs], looks + looks[pairs]
    # Where nobody's skin was seen nothing is known: such a landmark gets the least trust.
    spread = np.sqrt(np.divide(squares, looks, out=np.full(len(looks), np.inf), where=looks > 0))
    return shift.numpy(), spread


def _tangents(normals_N3: Tensor) -> Tensor:
    """Two unit tangents (N, 2, 3) of each normal: across (away from the face's middle plane on both sides) and up.

    They are mirror images for mirrored normals, so that sums over pairs mean the same shift on both sides.
    """
    side = torch.where(normals_N3[:, :1] >= 0, 1.0, -1.0).double()
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    across = torch.nn.functional.normalize(torch.linalg.cross(up.expand_as(normals_N3), normals_N3), dim=-1) * side
    upward = torch.linalg.cross(normals_N3, across) * side
    return torch.stack([across, upward], 1)
