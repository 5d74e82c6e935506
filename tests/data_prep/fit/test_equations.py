"""The fit's equations: derivatives, elimination and bounds against independent ones; two tracks of unequal length."""

from dataclasses import replace

import pytest
import torch

from data_prep.fit.equations import POSE, FitProblem, FitState, Weights
from data_prep.fit.layout import Layout
from data_prep.fit.points import HeadPoints
from jdap.geometry import axis_angle_to_matrix

MODES, EXPRESSIONS, POINTS, LENGTHS = 4, 3, 20, (5, 3)
FRAMES, TRACKS, OWN = sum(LENGTHS), len(LENGTHS), POSE + EXPRESSIONS


def small_problem(huber: float = 1e9, smooth: float = 0.0) -> tuple[FitProblem, FitState]:
    """A random linear head of 20 points, two pairs of them, in five frames of one track and three of another."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    basis, pairs = 5 * normal(POINTS, 3, MODES + EXPRESSIONS), torch.tensor([[0, 1], [2, 3]])
    head = HeadPoints(60 * normal(POINTS, 3), basis, MODES, torch.zeros(POINTS, 2, 3), pairs)
    state = FitState(
        normal(TRACKS, MODES),
        0.02 * normal(TRACKS),
        torch.rand(FRAMES, EXPRESSIONS, generator=generator) * 0.6 + 0.2,
        axis_angle_to_matrix(0.2 * normal(FRAMES, 3)) * torch.tensor([1.0, -1.0, -1.0]),
        torch.tensor([0.0, 0.0, 700.0]) + 10 * normal(FRAMES, 3),
    )
    whiten = 0.3 * torch.eye(2) + 0.1 * normal(FRAMES, POINTS, 2, 2)
    weights = Weights(
        whiten_MN22=(whiten + whiten.transpose(-1, -2)) / 2,
        opening_MD=0.2 + torch.rand(FRAMES, 2, generator=generator),
        huber=huber,
        identity_B=torch.tensor([2.0, 3.0], dtype=torch.float64),
        log_f=50.0,
        expression=3.0,
        prior_ME=torch.full((FRAMES, EXPRESSIONS), 0.5),
        smooth_P=smooth * torch.rand(OWN, generator=generator),
    )
    camera = torch.tensor([[900.0, 320.0, 240.0], [700.0, 100.0, 120.0]])
    mean = head.mean_N3.expand(TRACKS, -1, -1)
    problem = FitProblem(
        Layout(LENGTHS, torch.device("cpu")), torch.zeros(FRAMES, POINTS, 2), camera, head, weights, mean
    )
    return replace(problem, landmarks_px_MN2=problem.residuals_px(state) + 2 * normal(FRAMES, POINTS, 2)), state


def test_jacobian_is_the_derivative() -> None:
    problem, state = small_problem()
    analytic = problem.jacobian(state, slice(None))
    for column in range(OWN + MODES + 1):
        size = 1e-3 if column < 3 or column == OWN + MODES else 1e-2
        frames, shared = torch.zeros(FRAMES, OWN), torch.zeros(TRACKS, MODES + 1)
        if column < OWN:
            frames[:, column] = size
        else:
            shared[:, column - OWN] = size
        ahead, back = state.step(shared, frames, problem.layout), state.step(-shared, -frames, problem.layout)
        numeric = (problem.residuals_px(ahead) - problem.residuals_px(back)) / (2 * size)
        torch.testing.assert_close(analytic[..., column], numeric, rtol=2e-2, atol=0.15)


@pytest.mark.parametrize("openings", [True, False])
def test_products_are_those_of_the_residuals_derivatives(openings: bool) -> None:
    """By automatic differentiation of a step, frame by frame and track by track; Huber's weights are 1."""
    problem, state = small_problem()
    if not openings:
        problem = replace(problem, weights=replace(problem.weights, opening_MD=None))
    layout, weights = problem.layout, problem.weights

    def residuals(shared: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return problem.residuals(state.step(shared, frames, layout), slice(None)).flatten(1)

    at = torch.zeros(TRACKS, MODES + 1), torch.zeros(FRAMES, OWN)
    by_shared, by_frame = (found.double() for found in torch.autograd.functional.jacobian(residuals, at))
    right, equations = residuals(*at).double(), problem.linearise(state)
    shared = torch.einsum("mxbq,mxbr->bqr", by_shared, by_shared)
    prior = torch.nn.functional.pad(weights.identity_B[:, None].expand(-1, MODES), (0, 1), value=weights.log_f)
    torch.testing.assert_close(equations.shared_BQQ, shared + torch.diag_embed(prior), rtol=1e-4, atol=1e-2)
    now = torch.cat([state.identity_BK, state.log_f_B[:, None]], 1)
    expected = -torch.einsum("mxbq,mx->bq", by_shared, right) - prior * now
    torch.testing.assert_close(equations.right_BQ, expected, rtol=1e-4, atol=1e-1)
    for m in range(FRAMES):
        own, track = by_frame[m, :, m], by_shared[m, :, layout.track_M[m]]
        place = layout.track_M[m], layout.slot_M[m]
        block = equations.frame_BFPP[place] - torch.diag(
            torch.tensor([0.0] * POSE + [weights.expression] * EXPRESSIONS)
        )
        torch.testing.assert_close(block, own.T @ own, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(equations.cross_BFPQ[place], own.T @ track, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("smooth", [0.0, 40.0])
def test_elimination_solves_the_whole_system(smooth: float) -> None:
    problem, state = small_problem(huber=2.0, smooth=smooth)
    equations = problem.linearise(state)
    damping = torch.tensor([0.1, 0.3], dtype=torch.float64)
    shared, frames = equations.solve(damping)
    for track, length in enumerate(LENGTHS):
        own, held = length * OWN, MODES + 1
        whole, right = (torch.zeros(*shape, dtype=torch.float64) for shape in ((held + own,) * 2, (held + own,)))
        whole[:held, :held], right[:held] = equations.shared_BQQ[track], equations.right_BQ[track]
        for f in range(length):
            rows = slice(held + f * OWN, held + (f + 1) * OWN)
            whole[rows, rows], right[rows] = equations.frame_BFPP[track, f], equations.right_BFP[track, f]
            whole[rows, :held] = equations.cross_BFPQ[track, f]
            whole[:held, rows] = equations.cross_BFPQ[track, f].T
        take = torch.zeros(length - 2, length, dtype=torch.float64)
        for f in range(length - 2):
            take[f, f : f + 3] = torch.tensor([1.0, -2.0, 1.0])
        whole[held:, held:] += torch.kron(take.T @ take, torch.diag(problem.weights.smooth_P.double()))
        inverse = torch.linalg.inv(whole)[:held, :held]
        torch.testing.assert_close(equations.covariance()[track], inverse, rtol=1e-6, atol=1e-12)
        whole += damping[track] * torch.diag(whole.diagonal())
        expected = torch.linalg.solve(whole, right)
        torch.testing.assert_close(shared[track].double(), expected[:held], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(frames[track, :length].double().flatten(), expected[held:], rtol=1e-3, atol=1e-5)
    # Behind a track's end nothing moves.
    assert frames[1, LENGTHS[1] :].abs().max() == 0


def test_gradient_is_that_of_the_robust_cost() -> None:
    problem, state = small_problem(huber=1.0)
    equations, nothing, layout = problem.linearise(state), torch.zeros(FRAMES, OWN), problem.layout
    for mode in range(MODES + 1):
        size = 1e-2 if mode < MODES else 1e-3
        step = torch.zeros(TRACKS, MODES + 1)
        step[:, mode] = size
        slope = (problem.cost(state.step(step, nothing, layout)) - problem.cost(state.step(-step, nothing, layout))) / (
            2 * size
        )
        torch.testing.assert_close(-equations.right_BQ[:, mode], slope, rtol=1e-2, atol=0.5)


def test_smoothness_pulls_frames_onto_a_line() -> None:
    """The gradient of the second differences, by the cost's own differences; turns are small, as they are in a clip."""
    problem, state = small_problem(smooth=1e4)
    turns = 0.02 * torch.arange(FRAMES)[:, None] * torch.tensor([0.3, 1.0, -0.5]) + 0.003 * torch.rand(FRAMES, 3)
    state = replace(state, rotation_M33=axis_angle_to_matrix(turns) * torch.tensor([1.0, -1.0, -1.0]))
    without = replace(problem, weights=replace(problem.weights, smooth_P=torch.zeros(OWN)))
    pull = problem.layout.flat(problem.linearise(state).right_BFP - without.linearise(state).right_BFP)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        step = 1e-3 * torch.randn(FRAMES, OWN, generator=generator)
        none = torch.zeros(TRACKS, MODES + 1)
        ahead, back = state.step(none, step, problem.layout), state.step(none, -step, problem.layout)
        slope = (problem.cost(ahead) - without.cost(ahead) - problem.cost(back) + without.cost(back)).sum() / 2
        assert float(slope) == pytest.approx(-float((pull * step).sum()), rel=0.05)


def test_coefficients_at_a_bound_are_held_there() -> None:
    problem, state = small_problem()
    damping = torch.full((TRACKS,), 1e-3, dtype=torch.float64)
    weights = replace(problem.weights, prior_ME=torch.full((FRAMES, 3), -5.0), expression=1e6)
    problem = replace(problem, weights=weights)
    state = replace(state, expression_ME=torch.zeros(FRAMES, EXPRESSIONS))
    _, frames = problem.linearise(state).solve(damping)
    assert frames[..., POSE:].abs().max() < 1e-5
    # Pushed into the allowed range, they move.
    weights = replace(weights, prior_ME=torch.full((FRAMES, 3), 0.5))
    _, frames = replace(problem, weights=weights).linearise(state).solve(damping / 1e3)
    torch.testing.assert_close(problem.layout.flat(frames)[:, POSE:], torch.full((FRAMES, 3), 0.5), rtol=0.05, atol=0)
