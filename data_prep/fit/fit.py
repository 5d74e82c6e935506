"""Fitting the morphable head to landmarks: batched Levenberg-Marquardt over whole tracks, identity and lens shared.

Unknown are one identity (K numbers) and one focal length f for a track, and for each frame a pose (rotation,
translation) and 53 expressions. The objective, in standard deviations, is

    sum_fn rho(|C_fn^-1/2 (project(x_fn) - landmark_fn)|) + sum_fd rho(|opening_fd - landmarks' opening_fd| / sd_o)
    + sum_f |expression_f - score_f|^2 / sd_e^2 + sum_f |D2 frame_f|^2 / sd_s^2
    + (F / views) |identity|^2 / sd_i^2 + log(f / f0)^2 / sd_f^2

with rho Huber's function (by iteratively reweighted least squares), C_fn a landmark's covariance (its own error by its
trust; landmarks of the face oval may slide, :func:`data_prep.fit.start.whiten`), openings the vectors between facing
points of eyelids and lips, whose errors partly cancel, ``score`` mediapipe's blendshapes and D2 second differences of
rotation, translation and expressions over time. Expressions stay within 0 … 1: at a bound that the gradient pushes
against, a coefficient is frozen. What landmarks say of identity is mostly the same in neighbouring frames, errors
included, so F frames count as ``views`` independent ones.

A track that follows time is fitted in two parts: identity and focal length by some of its frames, in which the head is
turned as differently as can be (:func:`data_prep.fit.seen.key_frames`), without smoothness; then, these held, pose and
expressions of all.

The Jacobian is analytic (:mod:`data_prep.fit.equations`); frames are eliminated, which leaves one small system a track
(:mod:`data_prep.fit.solve`). Work goes by chunks of frames, so memory does not grow with a track but for about a
quarter of a megabyte a frame. What each term gives was measured: docs/fitting.md.

Shapes: B tracks, M frames of all of them, F frames of one, N landmarks, K identity modes, E expressions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_prep.fit.equations import HOLD_FAST, FitProblem, FitState, Weights
from data_prep.fit.points import HeadPoints
from data_prep.fit.seen import Observed, SeenTracks
from data_prep.fit.start import whiten
from data_prep.head.landmarks import Correspondence
from data_prep.head.model import MorphableModel
from jdap.geometry import PinholeCamera, head_axis_angle

#: Default lens: this field of view across the longer side of the picture, degrees (a phone's or camera's portrait) …
FIELD_OF_VIEW_DEG = 40.0
#: … but a face is not nearer than this: videos that were cropped to the face would put it under the lens.
NEAREST_FACE_MM = 600.0
#: Of a photo: who takes a portrait stands farther off (docs/fitting.md says what that gives).
PHOTO_FACE_MM = 2400.0
#: A small face in a large picture is not farther than this, or files could not hold its depth.
FARTHEST_FACE_MM = 5500.0
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
    * ``focal_sd``: of the focal length around the camera's, as a share of it; 0 holds it
    * ``along_mm``, ``across_mm``: how far a landmark of the face oval slides along the contour and round it
    * ``opening_sd``: of the opening between eyelids or lips, as a share of the face's width; infinity leaves them out
    * ``turn_sd_deg``, ``shift_sd_mm``, ``change_sd``: of the second differences, frame to frame at 25 fps, of rotation,
      translation and expressions; infinity leaves them free
    * ``iterations``: at most; a track's steps end earlier when its cost falls by less than ``tolerance`` of itself
    * ``key_frames``: by at most so many frames of a track its identity and lens are fitted
    """

    identity_modes: int = 100
    identity_sd: float = 1.0
    expression_sd: float = 0.15
    landmark_sd: float = 0.0075
    huber: float = 1.5
    views: float = 4.0
    focal_sd: float = 0.0
    along_mm: float = 0.0
    across_mm: float = 0.0
    opening_sd: float = 0.004
    turn_sd_deg: float = 0.25
    shift_sd_mm: float = 3.0
    change_sd: float = 0.05
    iterations: int = 8
    tolerance: float = 1e-3
    key_frames: int = 24

    @property
    def ordered(self) -> bool:
        """Whether frames follow one another in time."""
        return min(self.turn_sd_deg, self.shift_sd_mm, self.change_sd) < math.inf

    def unordered(self) -> FitSettings:
        """The same for pictures of one person that do not follow one another in time."""
        return replace(self, turn_sd_deg=math.inf, shift_sd_mm=math.inf, change_sd=math.inf)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted clip, in the conventions of :func:`data_prep.head.model.head_to_camera`.

    * ``identity_K`` (K,), ``expression_FE`` (F, E) in [0, 1], ``rotation_F3`` (F, 3) axis-angle,
      ``translation_mm_F3`` (F, 3)
    * ``residual_px_FN2`` (F, N, 2): projected model point minus landmark, pixels
    * ``width_px_F`` (F,): the face's width, cheek to cheek, as it would be seen frontally at its distance, pixels
    * ``covariance_KK`` (K, K): of the posterior of the identity, from the Gauss-Newton Hessian
    * ``jitter_mm_F`` (F,): the relief's third differences over time (jerk), root mean square over landmarks, as the
      standard deviation of a white noise that had such; relief is depth against its mean over the face
    * ``focal_px``: focal length in pixels of the camera's picture
    * ``cost``: the objective before each accepted step and at the end
    """

    identity_K: Tensor
    expression_FE: Tensor
    rotation_F3: Tensor
    translation_mm_F3: Tensor
    residual_px_FN2: Tensor
    width_px_F: Tensor
    covariance_KK: Tensor
    jitter_mm_F: Tensor
    focal_px: float
    cost: tuple[float, ...] = ()

    @property
    def error_FN(self) -> Tensor:
        """(F, N) reprojection error of each landmark as a share of the face's width."""
        return self.residual_px_FN2.norm(dim=-1) / self.width_px_F[:, None]

    @property
    def identity_spread(self) -> float:
        """Standard deviation of the identity's posterior, root mean square over the modes, in the model's ones."""
        return float(self.covariance_KK.diagonal().mean().sqrt())


def default_camera(width: int, height: int, face_px: float, nearest_mm: float = NEAREST_FACE_MM) -> PinholeCamera:
    """The camera of a picture of which nothing is known but how wide (pixels) its face is.

    :data:`FIELD_OF_VIEW_DEG` across the longer side, longer where the face would be nearer than ``nearest_mm``,
    shorter where it would be farther than :data:`FARTHEST_FACE_MM`; the principal point is the centre.
    """
    half = torch.deg2rad(torch.tensor(FIELD_OF_VIEW_DEG / 2))
    by_view = max(width, height) / 2 / float(torch.tan(half))
    nearest, farthest = (face_px * distance / FACE_WIDTH_MM for distance in (nearest_mm, FARTHEST_FACE_MM))
    return PinholeCamera(min(max(by_view, nearest), farthest), width / 2, height / 2, width, height)


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
    """Fit the head to one track (:class:`Observed`), on the model's device.

    Raises ValueError for landmarks that are not finite.
    """
    return fit_tracks([Observed(landmarks_px_FN3, prior_FE, camera)], model, correspondence, settings)[0]


def fit_tracks(
    tracks: Sequence[Observed],
    model: MorphableModel,
    correspondence: Correspondence,
    settings: FitSettings | None = None,
) -> list[Fit]:
    """Fit the head to several tracks at once, each with an identity and a focal length of its own.

    A track's result is what it would be alone, up to rounding. Raises ValueError for landmarks that are not finite.
    """
    settings = settings or FitSettings()
    seen = SeenTracks.of(tracks, model.device)
    head = HeadPoints.of(model, correspondence, settings.identity_modes)
    shared = _fit_shared(seen, head, correspondence, settings)
    problem, state, costs_B = shared.problem, shared.state, shared.costs_B
    if settings.ordered:
        shape_BN3 = head.mean_N3 + torch.einsum("njk,bk->bnj", head.basis_N3C[..., : head.modes], state.identity_BK)
        camera_px_B3 = torch.cat([shared.focal_px_B[:, None], seen.camera_px_B3[:, 1:]], 1)
        held = replace(head, basis_N3C=head.basis_N3C[..., head.modes :].contiguous(), modes=0)
        moves = replace(settings, focal_sd=0.0)
        problem, state = pose_problem(replace(seen, camera_px_B3=camera_px_B3), held, correspondence, moves, shape_BN3)
        state, costs_B = _descend(problem, state, settings)
    points = torch.cat([problem.camera_points(state, part)[1] for part in problem.chunks()])
    across = (points[:, CHEEKS[0]] - points[:, CHEEKS[1]]).norm(dim=-1)
    turn = head_axis_angle(state.rotation_M33)
    width_px = across * problem.focal_px(state) / points[:, CHEEKS].mean(1)[:, 2]
    relief_MN = points[..., 2] - points[..., 2].mean(1, keepdim=True)
    residual_px = problem.residuals_px(state)
    fits = []
    covariance_BKK = shared.covariance_BQQ[:, :-1, :-1].float()
    for b, (own, focal_px) in enumerate(zip(problem.layout.slices(), shared.focal_px_B.tolist(), strict=True)):
        pose = (state.expression_ME[own], turn[own], state.translation_mm_M3[own])
        around = (residual_px[own], width_px[own], covariance_BKK[b], jitter_mm(relief_MN[own]))
        fits.append(Fit(shared.state.identity_BK[b], *pose, *around, focal_px, costs_B[b]))
    return fits


@dataclass(frozen=True, eq=False)
class _Shared:
    """What the frames of each track share, fitted by all of them or by some: ``state`` holds it; its posterior
    ``covariance_BQQ`` (identity, then the logarithm of the focal length), ``focal_px_B``, ``costs_B``."""

    problem: FitProblem
    state: FitState
    costs_B: list[tuple[float, ...]]
    covariance_BQQ: Tensor

    @property
    def focal_px_B(self) -> Tensor:
        return self.problem.camera_px_B3[:, 0] * self.state.log_f_B.exp()


def _fit_shared(seen: SeenTracks, head: HeadPoints, correspondence: Correspondence, settings: FitSettings) -> _Shared:
    kept = seen.keys(head, settings.key_frames) if settings.ordered else seen
    problem, state = pose_problem(kept, head, correspondence, settings.unordered())
    state, costs_B = _descend(problem, state, settings)
    # Frames tell of what they share as if they were ``views`` only, and so does their Hessian.
    alike_B = (problem.layout.lengths_B / settings.views).clamp_min(1)
    covariance_BQQ = problem.linearise(state).covariance() * alike_B[:, None, None]
    return _Shared(problem, state, costs_B, covariance_BQQ)


def fit_focal(
    tracks: Sequence[Observed], model: MorphableModel, correspondence: Correspondence, settings: FitSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each track (B,) what its key frames say of the lens: log of its focal length over the camera's, the variance
    of that, and how far away the face then is, mm (median over frames)."""
    head = HeadPoints.of(model, correspondence, settings.identity_modes)
    shared = _fit_shared(SeenTracks.of(tracks, model.device), head, correspondence, settings)
    slices = shared.problem.layout.slices()
    far_mm_B = torch.stack([shared.state.translation_mm_M3[own, 2].median() for own in slices])
    return shared.state.log_f_B, shared.covariance_BQQ[:, -1, -1].float(), far_mm_B


def jitter_mm(relief_mm_FN: Tensor) -> Tensor:
    """(F,): root mean square over points of third differences over time, over the square root of 20.

    That is the standard deviation of a white noise with such differences. Three frames at a track's ends repeat their
    neighbour; 0 for tracks of under four frames.
    """
    if len(relief_mm_FN) < 4:
        return relief_mm_FN.new_zeros(len(relief_mm_FN))
    jerk_FN = relief_mm_FN.diff(n=3, dim=0)
    size_F = (jerk_FN.square().mean(1) / 20).sqrt()
    return torch.cat([size_F[:1], size_F, size_F[-1:].expand(2)])


def pose_problem(
    seen: SeenTracks,
    head: HeadPoints,
    correspondence: Correspondence,
    settings: FitSettings,
    mean_BN3: Tensor | None = None,
) -> tuple[FitProblem, FitState]:
    """The objective of some tracks, and where descent starts; ``mean_BN3``: each track's points, if not the mean's."""
    layout, prior, camera_M3 = seen.layout, seen.prior_ME, seen.camera_px_B3[seen.layout.track_M]
    mean_BN3 = head.mean_N3.expand(len(seen.camera_px_B3), -1, -1) if mean_BN3 is None else mean_BN3
    state = seen.start(head, mean_BN3)
    scale_M = camera_M3[:, 0] / state.translation_mm_M3[:, 2]
    width_px_M = scale_M * (head.mean_N3[CHEEKS[0]] - head.mean_N3[CHEEKS[1]]).norm()
    sd_px_MN = settings.landmark_sd * width_px_M[:, None] / correspondence.trust_N
    smooth = [_precision(math.radians(settings.turn_sd_deg))] * 3 + [_precision(settings.shift_sd_mm)] * 3
    opening = (1 / (settings.opening_sd * width_px_M))[:, None].expand(-1, len(head.pairs_D2))
    weights = Weights(
        whiten_MN22=whiten(state, head, camera_M3, sd_px_MN, (settings.along_mm, settings.across_mm)),
        opening_MD=opening if math.isfinite(settings.opening_sd) else None,
        huber=settings.huber,
        identity_B=(layout.lengths_B / settings.views).clamp_min(1).double() / settings.identity_sd**2,
        log_f=_precision(settings.focal_sd) if settings.focal_sd else HOLD_FAST,
        expression=1 / settings.expression_sd**2,
        prior_ME=prior,
        smooth_P=prior.new_tensor([*smooth, *[_precision(settings.change_sd)] * prior.shape[1]])
        if settings.ordered
        else None,
    )
    return FitProblem(layout, seen.landmarks_px_MN3[..., :2], seen.camera_px_B3, head, weights, mean_BN3), state


def _precision(sd: float) -> float:
    return 1 / sd**2


def _descend(problem: FitProblem, state: FitState, settings: FitSettings) -> tuple[FitState, list[tuple[float, ...]]]:
    """Levenberg-Marquardt, every track by itself: damping falls tenfold after a step that helps and rises tenfold until
    one does. On a GPU each round tries one step and all rounds are run: nothing is waited for.
    """
    waits = problem.landmarks_px_MN2.device.type == "cpu"
    cost_B = problem.cost(state)
    damping_B, going_B = torch.full_like(cost_B, FIRST_DAMPING), torch.ones_like(cost_B, dtype=torch.bool)
    costs = [cost_B]
    for _ in range(settings.iterations):
        equations, before_B, from_state, trying_B = problem.linearise(state), cost_B, state, going_B
        while True:
            shared, frames = equations.solve(damping_B)
            trial = from_state.step(shared, problem.layout.flat(frames), problem.layout)
            trial_B = problem.cost(trial)
            helps_B = trying_B & (trial_B < before_B)
            state, cost_B = state.where(helps_B, trial, problem.layout), torch.where(helps_B, trial_B, cost_B)
            trying_B = trying_B & ~helps_B & (damping_B < MOST_DAMPING)
            damping_B = torch.where(trying_B, damping_B * 10, torch.where(helps_B, damping_B / 10, damping_B))
            if not (waits and bool(trying_B.any())):
                break
        costs.append(cost_B)
        # Where no step has helped yet (on a GPU), the next round tries a smaller one.
        going_B = going_B & (trying_B | (before_B - cost_B >= settings.tolerance * cost_B))
        if waits and not bool(going_B.any()):
            break
    return state, [tuple(dict.fromkeys(track)) for track in torch.stack(costs, 1).tolist()]
