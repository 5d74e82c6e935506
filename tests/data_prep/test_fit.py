"""The fit: its derivatives and elimination against independent ones, and depth of heads that are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.correspondence import LANDMARKS, load_correspondence
from data_prep.depth import HeadRenderer
from data_prep.faces import FaceFinder
from data_prep.fit import FitSettings, default_camera, expression_prior, fit
from data_prep.fit_equations import HeadPoints, Problem, State, Weights
from data_prep.morphable import MorphableModel, head_to_camera, load_ict
from data_prep.render import interpolate, rasterise
from jdap.geometry import PinholeCamera, axis_angle_to_matrix, project

MODES, EXPRESSIONS, POINTS, FRAMES = 4, 3, 20, 5


@pytest.fixture(scope="module")
def ict(request: pytest.FixtureRequest) -> MorphableModel:
    request.getfixturevalue("assets")
    return load_ict()


def small_problem(huber: float = 1e9) -> tuple[Problem, State]:
    """A random linear head of 20 points in five frames."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    head = HeadPoints(60 * normal(POINTS, 3), 5 * normal(POINTS, 3, MODES + EXPRESSIONS), MODES)
    flip = torch.tensor([1.0, -1.0, -1.0])
    state = State(
        normal(MODES),
        torch.rand(FRAMES, EXPRESSIONS, generator=generator) * 0.6 + 0.2,
        axis_angle_to_matrix(0.2 * normal(FRAMES, 3)) * flip,
        torch.tensor([0.0, 0.0, 700.0]) + 10 * normal(FRAMES, 3),
    )
    camera = torch.tensor([900.0, 320.0, 240.0])
    weights = Weights(
        0.3 + torch.rand(FRAMES, POINTS, generator=generator), huber, 2.0, 3.0, torch.full((FRAMES, 3), 0.5)
    )
    problem = Problem(torch.zeros(FRAMES, POINTS, 2), camera, head, weights)
    landmarks = problem.residuals_px(state) + 2 * normal(FRAMES, POINTS, 2)
    return replace(problem, landmarks_px_FN2=landmarks), state


def test_jacobian_is_the_derivative() -> None:
    problem, state = small_problem()
    analytic = problem.jacobian(state, slice(None))
    for column in range(6 + EXPRESSIONS + MODES):
        size = 1e-3 if column < 3 else 1e-2
        frames, identity = torch.zeros(FRAMES, 6 + EXPRESSIONS), torch.zeros(MODES)
        if column < 6 + EXPRESSIONS:
            frames[:, column] = size
        else:
            identity[column - 6 - EXPRESSIONS] = size
        ahead, back = state.step(identity, frames), state.step(-identity, -frames)
        numeric = (problem.residuals_px(ahead) - problem.residuals_px(back)) / (2 * size)
        torch.testing.assert_close(analytic[..., column], numeric, rtol=2e-2, atol=0.15)


def test_schur_complement_solves_the_whole_system() -> None:
    problem, state = small_problem(huber=2.0)
    equations = problem.linearise(state)
    identity, frames = equations.solve(damping=0.1)
    own = 6 + EXPRESSIONS
    size = MODES + FRAMES * own
    whole, right = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    whole[:MODES, :MODES], right[:MODES] = equations.identity_KK, equations.right_K
    for f in range(FRAMES):
        rows = slice(MODES + f * own, MODES + (f + 1) * own)
        whole[rows, rows], right[rows] = equations.frame_FPP[f], equations.right_FP[f]
        whole[rows, :MODES], whole[:MODES, rows] = equations.cross_FPK[f], equations.cross_FPK[f].T
    whole += 0.1 * torch.diag(whole.diagonal())
    expected = torch.linalg.solve(whole, right)
    torch.testing.assert_close(identity.double(), expected[:MODES], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(frames.double().flatten(), expected[MODES:], rtol=1e-3, atol=1e-5)


def test_gradient_is_that_of_the_robust_cost() -> None:
    problem, state = small_problem(huber=1.0)
    equations = problem.linearise(state)
    for mode in range(MODES):
        step = torch.zeros(MODES)
        step[mode] = 1e-2
        nothing = torch.zeros(FRAMES, 6 + EXPRESSIONS)
        slope = (problem.cost(state.step(step, nothing)) - problem.cost(state.step(-step, nothing))) / 2e-2
        assert -float(equations.right_K[mode]) == pytest.approx(slope, rel=1e-2, abs=0.1)


def test_coefficients_at_a_bound_are_held_there() -> None:
    problem, state = small_problem()
    weights = replace(problem.weights, prior_FE=torch.full((FRAMES, 3), -5.0), expression_precision=1e6)
    problem = replace(problem, weights=weights)
    state = replace(state, expression_FE=torch.zeros(FRAMES, EXPRESSIONS))
    _, frames = problem.linearise(state).solve(1e-3)
    assert frames[:, 6:].abs().max() < 1e-5
    # Pushed into the allowed range, they move.
    weights = replace(weights, prior_FE=torch.full((FRAMES, 3), 0.5))
    _, frames = replace(problem, weights=weights).linearise(state).solve(1e-6)
    torch.testing.assert_close(frames[:, 6:], torch.full((FRAMES, 3), 0.5), rtol=0.05, atol=0)


def test_camera_by_field_of_view_but_not_too_near() -> None:
    wide = default_camera(1920, 1080, face_px=200)
    assert wide.f_px == pytest.approx(960 / np.tan(np.deg2rad(20)), rel=1e-5)
    assert (wide.cx_px, wide.cy_px) == (960, 540)
    tight = default_camera(512, 512, face_px=300)
    assert tight.f_px == pytest.approx(300 * 600 / 143)


def test_blendshape_names_find_their_expressions(ict: MorphableModel) -> None:
    stems = {name.replace("_L", "Left").replace("_R", "Right") for name in ict.expression_names}
    stems = {s.replace("browInnerUpLeft", "browInnerUp").replace("cheekPuffLeft", "cheekPuff") for s in stems}
    names = ("_neutral", *sorted(stems - {"browInnerUpRight", "cheekPuffRight"}))
    scores = torch.arange(len(names))[None] / 100
    prior = expression_prior(scores, names, ict)[0]
    place = dict(zip(ict.expression_names, prior.tolist(), strict=True))
    assert place["eyeLookUp_L"] == pytest.approx(names.index("eyeLookUpLeft") / 100)
    assert place["eyeSquint_L"] == pytest.approx(max(0, names.index("eyeSquintLeft") / 100 - 0.3) / 0.7, abs=1e-6)
    assert place["jawOpen"] == pytest.approx(names.index("jawOpen") / 100)
    assert place["browInnerUp_L"] == place["browInnerUp_R"] == pytest.approx(names.index("browInnerUp") / 100)
    with pytest.raises(ValueError, match="no blendshape score"):
        expression_prior(scores[:, 1:], names[2:], ict)


def test_depth_of_known_heads_comes_back_within_a_millimetre(ict: MorphableModel) -> None:
    """Noise of 0.3 % of the face's width, a head that turns by 25 degrees: median depth error under 1 mm."""
    generator = torch.Generator().manual_seed(3)
    correspondence = load_correspondence()
    camera = PinholeCamera(600.0, 128.0, 128.0, 256, 256)
    frames = 12
    identity = 0.7 * torch.randn(60, generator=generator)
    expression = torch.rand(frames, 53, generator=generator) * 0.25
    turn = torch.linspace(-0.45, 0.45, frames)
    rotation = torch.stack([0.1 * torch.sin(5 * turn), turn, 0.05 * torch.cos(3 * turn)], -1)
    translation = torch.tensor([5.0, -10.0, 750.0]) + 8 * torch.randn(frames, 3, generator=generator)
    points = correspondence.points(head_to_camera(ict.vertices(identity[None], expression), rotation, translation))
    pixels = project(points, camera.as_tensor().expand(frames, -1))
    width_px = 0.003 * 143 * 600 / 750
    noisy = pixels + width_px * torch.randn(pixels.shape, generator=generator)
    landmarks = torch.cat([noisy, points[..., 2:] * 600 / 750], -1)
    prior = (expression + 0.08 * torch.randn(expression.shape, generator=generator)).clamp(0, 1)

    result = fit(landmarks, prior, camera, ict, correspondence, FitSettings(landmark_sd=0.003))
    assert result.cost[-1] < result.cost[0] / 5
    assert (np.diff(result.cost) < 0).all()
    assert float(result.error_FN.median()) < 0.005

    renderer, few = HeadRenderer(ict, correspondence), [0, 6, 11]
    cameras = camera.as_tensor().expand(3, -1)
    truth = renderer.draw(identity, expression[few], rotation[few], translation[few], cameras, 256)
    fitted = renderer.draw(
        result.identity_K,
        result.expression_FE[few],
        result.rotation_F3[few],
        result.translation_mm_F3[few],
        cameras,
        256,
    )
    for i in range(3):
        both = truth.skin_FHW[i] & fitted.skin_FHW[i]
        assert both.sum() > 0.9 * truth.skin_FHW[i].sum()
        error = fitted.depth_mm_FHW[i][both] - truth.depth_mm_FHW[i][both]
        assert np.median(np.abs(error - np.median(error))) < 1.0
        assert abs(np.median(error)) < 10  # distance: the size of a head is known to about a percent
    with pytest.raises(ValueError, match="finite"):
        fit(landmarks * float("nan"), prior, camera, ict, correspondence)


def test_long_clips_go_in_chunks_without_changing_the_result(
    ict: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(4)
    correspondence, camera = load_correspondence(), PinholeCamera(900.0, 200.0, 200.0, 400, 400)
    vertices = ict.vertices(torch.randn(1, 20, generator=generator), torch.rand(6, 53, generator=generator) * 0.2)
    posed = head_to_camera(vertices, 0.1 * torch.randn(6, 3, generator=generator), torch.tensor([[0.0, 0.0, 700.0]]))
    points = correspondence.points(posed)
    landmarks = torch.cat([project(points, camera.as_tensor().expand(6, -1)), points[..., 2:] * 900 / 700], -1)
    prior = torch.zeros(6, 53)
    whole = fit(landmarks, prior, camera, ict, correspondence, FitSettings(iterations=2))
    monkeypatch.setattr("data_prep.fit_equations.CHUNK", 4)
    pieces = fit(landmarks, prior, camera, ict, correspondence, FitSettings(iterations=2))
    torch.testing.assert_close(whole.identity_K, pieces.identity_K, rtol=0, atol=2e-3)
    torch.testing.assert_close(whole.rotation_F3, pieces.rotation_F3, rtol=0, atol=1e-4)
    assert whole.residual_px_FN2.shape == (6, LANDMARKS, 2)


def test_depth_of_a_scanned_person(ict: MorphableModel, assets: Path) -> None:
    """A textured scan, seen by mediapipe in eight views: depth up to distance is right within 5.5 mm."""
    trimesh = pytest.importorskip("trimesh")
    scan = trimesh.load(assets / "scans" / "james" / "james.obj", process=False)
    texture = torch.from_numpy(np.array(Image.open(assets / "scans" / "james" / "james.jpg").convert("RGB")))
    vertices = torch.from_numpy(np.asarray(scan.vertices)).float()
    faces = torch.from_numpy(np.asarray(scan.faces)).long()
    uv = torch.from_numpy(np.asarray(scan.visual.uv)).float()
    camera, turn = PinholeCamera(700.0, 180.0, 180.0, 360, 360), torch.linspace(-0.4, 0.4, 8)
    rotation = torch.stack([0.1 * torch.cos(4 * turn), turn, 0 * turn], -1)
    posed = head_to_camera((vertices - vertices.mean(0))[None], rotation, torch.tensor([[0.0, 0.0, 900.0]]))
    seen = rasterise(posed, faces, camera.as_tensor().expand(8, -1), 360, 360)
    place = interpolate(seen, faces, uv[None])
    rows, columns = (((1 - place[..., 1]) * 0.9999 * len(texture)), place[..., 0] * 0.9999 * texture.shape[1])
    pictures = torch.where(seen.mask[..., None], texture[rows.long(), columns.long()], 100).to(torch.uint8)
    with FaceFinder() as finder:
        faces = [face for picture in pictures.numpy() for face in finder.find(picture)]
    assert len(faces) == 8

    correspondence = load_correspondence()
    prior = expression_prior(torch.tensor(np.stack([f.blendshapes_B for f in faces])), faces[0].names, ict)
    landmarks = torch.from_numpy(np.stack([face.landmarks_px_N3[:LANDMARKS] for face in faces]))
    result = fit(landmarks, prior, camera, ict, correspondence)
    assert float(result.error_FN.median()) < 0.008
    few = [1, 4, 6]
    cameras = camera.as_tensor().expand(3, -1)
    pose = (result.rotation_F3[few], result.translation_mm_F3[few])
    maps = HeadRenderer(ict, correspondence).draw(result.identity_K, result.expression_FE[few], *pose, cameras, 360)
    for i, k in enumerate(few):
        truth = seen.depth_mm[k].numpy()
        both = maps.skin_FHW[i] & (truth > 0)
        error = maps.depth_mm_FHW[i][both] - truth[both]
        assert both.sum() > 5000
        assert error.std() < 5.5
        assert truth[both].std() > 2 * error.std()
