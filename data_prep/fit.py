"""Fitting the morphable head to landmarks: batched Levenberg-Marquardt over a whole clip, identity shared.

Unknown are one identity (K numbers) and for each frame a pose (rotation, translation) and 53 expressions. The
objective, in standard deviations, is

    sum_fn trust_n rho(|project(x_fn) - landmark_fn| / (landmark_sd * width_f)) + sum_f |expression_f - score_f|^2 /
    sd_e^2 + (F / views) |identity|^2 / sd_i^2

with rho Huber's function (by iteratively reweighted least squares), ``score`` mediapipe's blendshapes and expressions
held within 0 … 1 (at a bound that the gradient pushes against, a coefficient is frozen). What landmarks say of identity
is mostly the same in neighbouring frames, errors included, so F frames count as ``views`` independent ones. The focal
length is fixed: free, it drifts, and depth up to scale and shift hardly feels it (:func:`default_camera`).

The Jacobian is analytic (:mod:`data_prep.fit_equations`). Given the identity frames are independent: each frame's 59
unknowns are eliminated by a Schur complement, which leaves one K x K system for the clip (Triggs et al., "Bundle
adjustment", 2000, section 6). Work goes by chunks of frames, so memory does not grow with the clip but for a few kB a
frame.

Shapes: F frames, N landmarks, K identity modes, E expressions, P = 6 + E unknowns of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.correspondence import Correspondence
from data_prep.fit_equations import HeadPoints, Problem, State, Weights
from data_prep.morphable import HEAD_TO_VIEWER, MorphableModel
from jdap.geometry import PinholeCamera, matrix_to_axis_angle

#: Default lens: this field of view across the longer side of the picture, degrees (a phone's or camera's portrait) …
FIELD_OF_VIEW_DEG = 40.0
#: … but a face is not nearer than this: videos that were cropped to the face would put it under the lens.
NEAREST_FACE_MM = 600.0
#: Width of an average face between mediapipe's outermost cheek landmarks (234, 454) on the mean head, mm.
FACE_WIDTH_MM = 143.0
CHEEKS = (234, 454)
#: mediapipe's scores of a face at rest (10 % quantile of a clip, median over 14 people; all others are under 0.06).
#: They are taken off, or every eye would be squeezed.
AT_REST = {"eyeSquint": 0.3, "eyeBlink": 0.06}
FIRST_DAMPING, MOST_DAMPING = 1e-3, 1e6


@dataclass(frozen=True)
class FitSettings:
    """Weights of the objective (see the module).

    * ``identity_modes``: how many modes are fitted
    * ``identity_sd``: of the identity prior, in the model's standard deviations
    * ``expression_sd``: of the expression prior around the blendshape scores
    * ``landmark_sd``: of a landmark, as a share of the face's width; errors of mediapipe and of the model together
    * ``huber``: residual, in landmark_sd, from which the cost grows linearly
    * ``views``: how many independent frames a clip is worth for its identity
    * ``iterations``: at most; steps end earlier when the cost falls by less than ``tolerance`` of itself
    """

    identity_modes: int = 80
    identity_sd: float = 0.5
    expression_sd: float = 0.1
    landmark_sd: float = 0.0075
    huber: float = 1.5
    views: float = 4.0
    iterations: int = 8
    tolerance: float = 1e-3


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted clip, in the conventions of :func:`data_prep.morphable.head_to_camera`.

    * ``identity_K`` (K,), ``expression_FE`` (F, E) in [0, 1], ``rotation_F3`` (F, 3) axis-angle,
      ``translation_mm_F3`` (F, 3)
    * ``residual_px_FN2`` (F, N, 2): projected model point minus landmark, pixels
    * ``width_px_F`` (F,): the face's width, cheek to cheek, as it would be seen frontally at its distance, pixels
    * ``cost``: the objective before each accepted step and at the end
    """

    identity_K: Tensor
    expression_FE: Tensor
    rotation_F3: Tensor
    translation_mm_F3: Tensor
    residual_px_FN2: Tensor
    width_px_F: Tensor
    cost: tuple[float, ...] = ()

    @property
    def error_FN(self) -> Tensor:
        """(F, N) reprojection error of each landmark as a share of the face's width."""
        return self.residual_px_FN2.norm(dim=-1) / self.width_px_F[:, None]


def default_camera(width: int, height: int, face_px: float) -> PinholeCamera:
    """The camera of a picture of which nothing is known but how wide (pixels) its face is.

    :data:`FIELD_OF_VIEW_DEG` across the longer side, longer where the face would be nearer than
    :data:`NEAREST_FACE_MM`; the principal point is the centre.
    """
    half = torch.deg2rad(torch.tensor(FIELD_OF_VIEW_DEG / 2))
    by_view = max(width, height) / 2 / float(torch.tan(half))
    by_distance = face_px * NEAREST_FACE_MM / FACE_WIDTH_MM
    return PinholeCamera(max(by_view, by_distance), width / 2, height / 2, width, height)


def expression_prior(scores_FB: Tensor, names: tuple[str, ...], model: MorphableModel) -> Tensor:
    """mediapipe's blendshape scores (F, 52) in the order of the model's expressions → (F, E) in [0, 1].

    ARKit's names differ in spelling only: ``eyeBlinkLeft`` is ``eyeBlink_L``; what mediapipe has undivided
    (``browInnerUp``, ``cheekPuff``) goes to both sides. Scores of a face at rest (:data:`AT_REST`) become 0, and 1
    stays 1. Raises ValueError for an expression that has no score.
    """
    place = {name: i for i, name in enumerate(names)}
    columns, rest = [], []
    for name in model.expression_names:
        stem, _, side = name.partition("_")
        options = (stem + {"L": "Left", "R": "Right", "": ""}[side], stem)
        column = next((place[option] for option in options if option in place), None)
        if column is None:
            raise ValueError(f"no blendshape score for the expression {name}: got {', '.join(names)}")
        columns.append(column)
        rest.append(AT_REST.get(stem, 0.0))
    at_rest = scores_FB.new_tensor(rest)
    return ((scores_FB[:, columns] - at_rest) / (1 - at_rest)).clamp(0, 1)


def fit(
    landmarks_px_FN3: Tensor,
    prior_FE: Tensor,
    camera: PinholeCamera,
    model: MorphableModel,
    correspondence: Correspondence,
    settings: FitSettings | None = None,
) -> Fit:
    """Fit the head to a clip.

    * ``landmarks_px_FN3`` (F, 468, 3) float: x, y in pixels of the camera's picture, z as mediapipe gives it (it
      starts the pose and does not enter the objective)
    * ``prior_FE`` (F, E): expression prior (:func:`expression_prior`)

    Runs on the model's device. Raises ValueError for landmarks that are not finite.
    """
    settings = settings or FitSettings()
    landmarks = landmarks_px_FN3.to(model.device, torch.float32)
    if not landmarks.isfinite().all():
        raise ValueError("landmarks must be finite: fill gaps before fitting")
    prior = prior_FE.to(model.device, torch.float32).clamp(0, 1)
    head = HeadPoints.of(model, correspondence, settings.identity_modes)
    camera_px = camera.as_tensor().to(model.device)
    state = start(landmarks, prior, camera_px, head)
    width_mm = float((head.mean_N3[CHEEKS[0]] - head.mean_N3[CHEEKS[1]]).norm())
    weights = Weights(
        landmark_FN=correspondence.trust_N / (settings.landmark_sd * width_mm * _scale_px(state, camera_px)[:, None]),
        huber=settings.huber,
        identity_precision=max(1.0, len(landmarks) / settings.views) / settings.identity_sd**2,
        expression_precision=1 / settings.expression_sd**2,
        prior_FE=prior,
    )
    problem = Problem(landmarks[..., :2], camera_px, head, weights)
    state, costs = _descend(problem, state, settings)
    points = torch.cat([problem.camera_points(state, part)[1] for part in problem.chunks()])
    across = (points[:, CHEEKS[0]] - points[:, CHEEKS[1]]).norm(dim=-1)
    flip = state.rotation_F33.new_tensor(HEAD_TO_VIEWER)
    return Fit(
        state.identity_K,
        state.expression_FE,
        matrix_to_axis_angle(state.rotation_F33 * flip),
        state.translation_mm_F3,
        problem.residuals_px(state),
        across * camera_px[0] / points[:, CHEEKS].mean(1)[:, 2],
        costs,
    )


def start(landmarks_px_FN3: Tensor, prior_FE: Tensor, camera_px: Tensor, head: HeadPoints) -> State:
    """Mean identity, expressions at their prior, and the pose that mediapipe's landmarks in 3D suggest.

    Their z is roughly in the scale of x and y, as under weak perspective: a similarity (Umeyama 1991) from the head's
    points to the landmarks gives rotation, scale and place in the picture.
    """
    modes = head.modes
    shape = head.basis_N3C[..., modes:].flatten(0, 1) @ prior_FE.T
    points = head.mean_N3 + shape.T.unflatten(1, (-1, 3))
    a = points - points.mean(1, keepdim=True)
    b = landmarks_px_FN3 - landmarks_px_FN3.mean(1, keepdim=True)
    u, d, vh = torch.linalg.svd(b.transpose(1, 2) @ a)
    sign = torch.ones_like(d)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    rotation = u @ torch.diag_embed(sign) @ vh
    scale = (d * sign).sum(1) / a.square().sum((1, 2))
    place = landmarks_px_FN3.mean(1) - scale[:, None] * (rotation @ points.mean(1)[..., None])[..., 0]
    depth = camera_px[0] / scale
    translation = torch.cat([(place[:, :2] - camera_px[1:]) / scale[:, None], depth[:, None]], 1)
    return State(points.new_zeros(modes), prior_FE, rotation, translation)


def _descend(problem: Problem, state: State, settings: FitSettings) -> tuple[State, tuple[float, ...]]:
    """Levenberg-Marquardt: damping falls tenfold after a step that helps and rises tenfold until one does."""
    costs, damping = [problem.cost(state)], FIRST_DAMPING
    for _ in range(settings.iterations):
        equations = problem.linearise(state)
        trial = state.step(*equations.solve(damping))
        while (cost := problem.cost(trial)) >= costs[-1] and damping < MOST_DAMPING:
            damping *= 10
            trial = state.step(*equations.solve(damping))
        if cost >= costs[-1]:
            break
        state, damping = trial, damping / 10
        costs.append(cost)
        if costs[-2] - cost < settings.tolerance * cost:
            break
    return state, tuple(costs)


def _scale_px(state: State, camera_px: Tensor) -> Tensor:
    """Pixels per millimetre at the head's origin, (F,)."""
    return camera_px[0] / state.translation_mm_F3[:, 2]
