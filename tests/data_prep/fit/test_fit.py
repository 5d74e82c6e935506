"""The fit: depth of heads that are known, what each term does, and how far depth may be off."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from data_prep.fit.fit import Fit, FitSettings, Observed, default_camera, expression_prior, fit, fit_tracks, jitter_mm
from data_prep.fit.points import LIDS, HeadPoints
from data_prep.fit.render import HeadRenderer
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence, load_correspondence
from data_prep.head.model import MorphableModel, head_to_camera
from data_prep.video.faces import FaceFinder
from jdap.geometry import PinholeCamera, project
from jdap.shape.rasterise import interpolate, rasterise


@pytest.fixture(scope="module")
def ict(model: MorphableModel) -> MorphableModel:
    return model


def test_camera_by_field_of_view_but_not_too_near() -> None:
    wide = default_camera(1920, 1080, face_px=200)
    assert wide.f_px == pytest.approx(960 / np.tan(np.deg2rad(20)), rel=1e-5)
    assert (wide.cx_px, wide.cy_px) == (960, 540)
    tight = default_camera(512, 512, face_px=300)
    assert tight.f_px == pytest.approx(300 * 600 / 143)
    assert default_camera(512, 512, 300, nearest_mm=2000).f_px == pytest.approx(300 * 2000 / 143)
    # A group in a large photo: its depth must still be storable.
    assert default_camera(6000, 4000, face_px=50).f_px == pytest.approx(50 * 5500 / 143)


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

    result = fit(landmarks, prior, camera, ict, correspondence, FitSettings(landmark_sd=0.003).unordered())
    assert result.cost[-1] < result.cost[0] / 5
    assert (np.diff(result.cost) < 0).all()
    assert float(result.error_FN.median()) < 0.005

    renderer, few = HeadRenderer(ict, correspondence), [0, 6, 11]
    cameras = camera.as_tensor().expand(3, -1)
    truth = renderer.render(identity, expression[few], rotation[few], translation[few], cameras, 256)
    fitted = renderer.render(
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


def turning(
    ict: MorphableModel, frames: int, seed: int, correspondence: Correspondence, slid_mm: float = 0.0
) -> tuple[Observed, torch.Tensor]:
    """A drawn head that turns and talks as at 25 fps, seen without noise, and its camera points (frames, V, 3).

    ``slid_mm``: how far the landmarks of the face oval are moved along the contour.
    """
    generator = torch.Generator().manual_seed(seed)
    camera, time = PinholeCamera(900.0, 200.0, 200.0, 400, 400), torch.arange(frames) / 25
    identity = 0.5 * torch.randn(1, 20, generator=generator)
    amplitude = 0.3 * torch.rand(1, len(ict.expression_names), generator=generator)
    expression = amplitude * torch.sin(3 * time)[:, None].square()
    rotation = torch.stack([0.1 * torch.cos(2 * time), 0.4 * torch.sin(2 * time + seed), 0.05 * time], -1)
    vertices = ict.vertices(identity, expression)
    place = torch.tensor([[0.0, 0.0, 700.0]])
    tangents = HeadPoints.of(ict, correspondence, 1).tangents_N23[:, 0]
    seen = head_to_camera(correspondence.points(vertices) + slid_mm * tangents, rotation, place)
    pixels = project(seen, camera.as_tensor().expand(frames, -1))
    landmarks = torch.cat([pixels, seen[..., 2:] * 900 / 700], -1)
    return Observed(landmarks, expression, camera), head_to_camera(vertices, rotation, place)


def with_noise(seen: Observed, pixels: float) -> Observed:
    noise = torch.randn(seen.landmarks_px_FN3.shape, generator=torch.Generator().manual_seed(9))
    return replace(seen, landmarks_px_FN3=seen.landmarks_px_FN3 + noise * torch.tensor([pixels, pixels, 0.0]))


def relief(posed_FV3: torch.Tensor, correspondence: Correspondence) -> torch.Tensor:
    """Depth of the landmarks' points (F, N) against its mean, mm."""
    depth = correspondence.points(posed_FV3)[..., 2]
    return depth - depth.mean(1, keepdim=True)


def posed(fitted: Fit, ict: MorphableModel) -> torch.Tensor:
    vertices = ict.vertices(fitted.identity_K[None], fitted.expression_FE)
    return head_to_camera(vertices, fitted.rotation_F3, fitted.translation_mm_F3)


def test_several_tracks_are_fitted_as_one_by_one(ict: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relief within 0.02 mm, rotation within 1e-4: sums are rounded otherwise, nothing else differs."""
    correspondence, settings = load_correspondence(), FitSettings(iterations=4)
    lengths = ((7, 0), (1, 1), (5, 2))
    tracks = [with_noise(turning(ict, frames, seed, correspondence)[0], 1.0) for frames, seed in lengths]
    alone = [fit_tracks([track], ict, correspondence, settings)[0] for track in tracks]
    monkeypatch.setattr("data_prep.fit.equations.EQUATIONS_AT_ONCE", 4)  # chunks then hold frames of two tracks
    together = fit_tracks(tracks, ict, correspondence, settings)
    for one, same in zip(alone, together, strict=True):
        assert len(one.cost) == len(same.cost)
        assert one.residual_px_FN2.shape == (len(one.rotation_F3), LANDMARK_COUNT, 2)
        torch.testing.assert_close(one.rotation_F3, same.rotation_F3, rtol=0, atol=1e-4)
        reliefs = [relief(posed(fitted, ict), correspondence) for fitted in (one, same)]
        torch.testing.assert_close(*reliefs, rtol=0, atol=0.02)
        assert same.focal_px == pytest.approx(one.focal_px, rel=1e-3)
        assert same.identity_spread == pytest.approx(one.identity_spread, rel=1e-3)


def test_smoothness_takes_noise_out_of_relief(ict: MorphableModel) -> None:
    correspondence, settings = load_correspondence(), FitSettings(iterations=4)
    clean, _ = turning(ict, 12, 3, correspondence)
    noisy = with_noise(clean, 2.0)
    smooth, free = (fit_tracks([noisy], ict, correspondence, s)[0] for s in (settings, settings.unordered()))
    assert float(smooth.jitter_mm_F.mean()) < 0.6 * float(free.jitter_mm_F.mean())
    # Noise goes, movement stays: the fit to landmarks without noise is nearer.
    still = relief(posed(fit_tracks([clean], ict, correspondence, settings)[0], ict), correspondence)
    off_smooth, off_free = ((relief(posed(f, ict), correspondence) - still).square().mean() for f in (smooth, free))
    assert off_smooth < off_free


def test_jitter_is_the_noise_of_a_still_relief() -> None:
    noise = 0.3 * torch.randn(400, 50, generator=torch.Generator().manual_seed(0))
    curve = 10 * torch.sin(torch.arange(400) / 25)[:, None]  # a movement of one radian a second
    assert float(jitter_mm(noise + curve).square().mean().sqrt()) == pytest.approx(0.3, rel=0.05)
    assert float(jitter_mm(curve + torch.zeros(1, 50)).max()) < 0.001
    assert jitter_mm(noise[:3]).tolist() == [0, 0, 0]


def test_priors_hold_what_landmarks_do_not_say(ict: MorphableModel) -> None:
    """With landmarks that weigh nothing the fit is its priors: mean identity, the scores, the camera's lens."""
    correspondence = load_correspondence()
    seen, _ = turning(ict, 3, 4, correspondence)
    weightless = FitSettings(landmark_sd=1e3, opening_sd=math.inf, focal_sd=0.02).unordered()
    fitted = fit_tracks([seen], ict, correspondence, weightless)[0]
    torch.testing.assert_close(fitted.expression_FE, seen.prior_FE, rtol=0, atol=1e-3)
    assert float(fitted.identity_K.abs().max()) < 1e-3
    assert fitted.focal_px == pytest.approx(900, rel=1e-3)
    # Their posterior is then the prior, and landmarks that weigh something make it narrower.
    assert fitted.identity_spread == pytest.approx(1.0, rel=1e-2)
    assert fit_tracks([seen], ict, correspondence)[0].identity_spread < 0.9


def test_a_landmark_slides_along_the_contour(ict: MorphableModel) -> None:
    """An oval whose landmarks all lie 6 mm farther round: with sliding the depth is nearer to the truth."""
    shipped = load_correspondence()
    trusted = replace(shipped, trust_N=torch.ones(LANDMARK_COUNT))
    seen, true = turning(ict, 2, 5, shipped, slid_mm=6.0)
    off = []
    for along in (0.0, 10.0):
        fitted = fit_tracks([seen], ict, trusted, FitSettings(along_mm=along).unordered())[0]
        off.append(float((relief(posed(fitted, ict), shipped) - relief(true, shipped)).square().mean().sqrt()))
    assert off[1] < 0.6 * off[0]


def test_openings_follow_the_lids(ict: MorphableModel) -> None:
    """Lids that the landmarks show half shut, of which the scores say nothing, are followed where openings weigh."""
    correspondence = load_correspondence()
    seen, _ = turning(ict, 1, 6, correspondence)
    upper, lower = (list(ends) for ends in zip(*LIDS, strict=True))
    points = seen.landmarks_px_FN3.clone()
    points[:, upper, 1] += 4.0
    moved, errors = replace(seen, landmarks_px_FN3=points), []
    for sd in (math.inf, 0.002):
        residual = fit_tracks([moved], ict, correspondence, FitSettings(opening_sd=sd))[0].residual_px_FN2
        errors.append(float((residual[:, upper] - residual[:, lower]).norm(dim=-1).mean()))
    assert errors[1] < 0.7 * errors[0]


def test_confidence_ranks_errors_of_a_drawn_clip(ict: MorphableModel) -> None:
    """Where the spread says that depth is uncertain, it is off by more (rank correlation, pixels of three frames)."""
    correspondence, few = load_correspondence(), [2, 5, 9]
    seen, true = turning(ict, 10, 7, correspondence)
    fitted, renderer = fit_tracks([with_noise(seen, 2.0)], ict, correspondence)[0], HeadRenderer(ict, correspondence)
    camera = seen.camera.as_tensor().expand(3, -1)
    pose = (fitted.rotation_F3[few], fitted.translation_mm_F3[few])
    maps = renderer.render(fitted.identity_K, fitted.expression_FE[few], *pose, camera, 400, fitted.covariance_KK)
    truth = rasterise(true[few], renderer.model.faces_T3, camera, 400, 400, cull_back_faces=True).depth_mm.numpy()
    spread, trust, ranks = maps.spread_mm_FHW, maps.confidence_FHW, []
    assert spread is not None
    assert trust is not None
    assert ((spread > 0) == maps.skin_FHW).all()
    assert ((trust > 0) <= maps.skin_FHW).all()
    assert 0.3 < trust[maps.skin_FHW].mean() < 0.9
    for i in range(3):
        on = maps.skin_FHW[i] & (truth[i] > 0)
        columns = np.stack([maps.depth_mm_FHW[i][on], np.ones(on.sum())], 1)
        off = np.abs(columns @ np.linalg.lstsq(columns, truth[i][on], rcond=None)[0] - truth[i][on])
        ranks.append(spearmanr(spread[i][on], off)[0])
        assert spearmanr(trust[i][on], spread[i][on])[0] < -0.95
    assert np.mean(ranks) > 0.1
    assert renderer.render(fitted.identity_K, fitted.expression_FE[few], *pose, camera, 64).confidence_FHW is None


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
        found = [face for picture in pictures.numpy() for face in finder.find(picture)]
    assert len(found) == 8

    correspondence = load_correspondence()
    prior = expression_prior(torch.tensor(np.stack([f.blendshapes_B for f in found])), found[0].names, ict)
    landmarks = torch.from_numpy(np.stack([face.landmarks_px_N3[:LANDMARK_COUNT] for face in found]))
    result = fit(landmarks, prior, camera, ict, correspondence, FitSettings().unordered())
    assert float(result.error_FN.median()) < 0.008
    few = [1, 4, 6]
    cameras = camera.as_tensor().expand(3, -1)
    pose = (result.rotation_F3[few], result.translation_mm_F3[few])
    maps = HeadRenderer(ict, correspondence).render(result.identity_K, result.expression_FE[few], *pose, cameras, 360)
    for i, k in enumerate(few):
        truth = seen.depth_mm[k].numpy()
        both = maps.skin_FHW[i] & (truth > 0)
        error = maps.depth_mm_FHW[i][both] - truth[both]
        assert both.sum() > 5000
        assert error.std() < 5.5
        assert truth[both].std() > 2 * error.std()
