"""The benchmark of fits: its measures on errors that are known, and its parts on a few frames."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.fit.data import TrueDepth, held_out, part, read_clips, rendered_clips, scan_views, studio_clips
from benchmarks.fit.measure import ScanFigures, aligned_error, clip_figures, rendered_figures, trust_figures
from data_prep.fit.fit import FitSettings, fit_tracks
from data_prep.fit.render import DepthMaps
from data_prep.head.landmarks import load_correspondence
from data_prep.head.model import MorphableModel, load_ict
from data_prep.video.video import UnreadableVideo


@pytest.fixture(scope="module")
def ict(assets: Path) -> MorphableModel:
    return load_ict()


def test_scale_and_shift_are_no_error() -> None:
    truth = np.random.default_rng(0).normal(700, 15, (8, 8))
    where = np.ones((8, 8), bool)
    assert np.abs(aligned_error(0.9 * truth + 40, truth, where)).max() < 1e-9
    wrong = truth + np.where(np.arange(8) % 2, 3.0, -3.0)
    assert np.sqrt(np.square(aligned_error(wrong, truth, where)).mean()) == pytest.approx(3, rel=0.1)


def test_trust_is_measured_by_rank_and_by_fifths() -> None:
    """Errors whose size is drawn by the spread: their rank correlation with it is that of the normal law."""
    rng = np.random.default_rng(1)
    truth = rng.normal(700, 15, (1, 100, 100)).astype(np.float32)
    spread = rng.uniform(1, 5, truth.shape).astype(np.float32)
    depth = truth + (spread * rng.standard_normal(truth.shape)).astype(np.float32)
    everywhere = np.ones(truth.shape, bool)
    maps, known = DepthMaps(depth, everywhere, spread), TrueDepth(truth, everywhere, torch.zeros(1, 3))
    figures = trust_figures(maps, known)[0]
    assert figures["rmse_mm"] == pytest.approx(figures["predicted_mm"], rel=0.05)
    assert figures["spearman"] == pytest.approx(0.41, abs=0.05)
    assert figures["most_fifth_mm"] == pytest.approx(1.4, abs=0.15)
    assert figures["least_fifth_mm"] == pytest.approx(4.6, abs=0.3)
    blind = DepthMaps(depth, everywhere, rng.permutation(spread.ravel()).reshape(spread.shape))
    assert abs(trust_figures(blind, known)[0]["spearman"]) < 0.05


def test_drawn_clips_are_fitted_within_a_millimetre(ict: MorphableModel) -> None:
    correspondence = load_correspondence()
    clips = rendered_clips(1, 4, 512, 1.0, ict, correspondence)
    ours = rendered_figures(clips, ict, correspondence, FitSettings()).max()
    assert ours < 1.0
    [(seen, _)] = clips.values()
    figures = clip_figures(fit_tracks([seen], ict, correspondence)[0])
    # One pixel of noise each way, less what the fit follows, of a face's width of some 200 pixels.
    assert 0.2 < figures["rms"] < 1.0
    assert figures["rms"] < figures["p95"]
    # The mean head in its best pose is farther off: the measure tells them apart.
    assert rendered_figures(clips, ict, correspondence, FitSettings(identity_sd=1e-3)).max() > 1.3 * ours


@pytest.mark.slow
def test_a_scan_is_measured_beside_baselines(ict: MorphableModel, assets: Path) -> None:
    correspondence = load_correspondence()
    seen, truth = scan_views(assets / "scans" / "james", (-25.0, 25.0), 96, ict, correspondence)
    methods = ScanFigures(seen, truth, ict, correspondence).methods(FitSettings())
    ours, flat = methods["fit, identity shared by the views"][0], methods["flat plane"][0]
    assert ours.shape == (2,)
    assert ours.max() < 5
    assert flat.min() > 8
    assert methods["mediapipe's z"][0].max() < flat.min()
    assert all(share > 0.85 for _, share in methods.values())


@pytest.mark.slow
def test_held_out_correspondences_do_not_know_the_clip(ict: MorphableModel, assets: Path) -> None:
    """Changing a clip's landmarks changes the correspondences of the other fold alone."""
    grid = assets / "videos" / "grid"
    two = read_clips([grid / "bbaf2n.mpg", grid / "brbk7n.mpg"], 8, ict)
    first, second = two
    found = held_out(two, 2, ict)
    shifted = part(two[first], list(range(8)))
    shifted.landmarks_px_FN3[:, 280:300, 1] += 4
    moved = held_out({first: shifted, second: two[second]}, 2, ict)
    assert torch.equal(moved[first].weights_N3, found[first].weights_N3)
    assert not torch.equal(moved[second].weights_N3, found[second].weights_N3)


def test_mistakes_are_told_in_a_line(tmp_path: Path, ict: MorphableModel, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--parts", "clips,hair", "--out", str(tmp_path)])
    assert "there is no 'hair'" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableVideo, match="holds no video file"):
        read_clips([tmp_path / "empty"], 8, ict)
    with pytest.raises(BenchmarkError, match="holds no shards"):
        studio_clips(tmp_path / "empty", ict)
    assert main(["fit", "--parts", "scan", "--scan", str(tmp_path / "empty"), "--out", str(tmp_path)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert str(tmp_path / "empty") in told[0]
