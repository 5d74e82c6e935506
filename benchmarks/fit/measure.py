"""Figures of fits: reprojection, jitter, depth against truth beside baselines, and what the confidence is worth.

Depth is compared where truth, the fit's believed skin and the method all have it, after the least-squares scale and
shift of each picture.

Shapes: F frames or views, S x S pixels, X pixels that count.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.depth.photo_heads import FAR_MM, HELD_SD
from benchmarks.fit.data import Observed, TrueDepth, few_of, part, render_fit
from data_prep.clips.measures import head_angles_deg
from data_prep.convert.derive import read_obj
from data_prep.fit.fit import Fit, FitSettings, fit_tracks
from data_prep.fit.lens import find_lens
from data_prep.fit.points import LIDS, LIPS
from data_prep.fit.render import DepthMaps, HeadRenderer
from data_prep.head import assets
from data_prep.head.landmarks import Correspondence
from data_prep.head.model import MorphableModel
from jdap.shape.rasterise import rasterise


def clip_figures(fitted: Fit) -> dict[str, float]:
    """``rms``, ``p95``: reprojection over frames and landmarks, and ``opening``: of eyelids and lips, rms; % of the
    face's width. ``jitter_mm``: of relief, rms over frames.
    """
    error = fitted.error_FN.double()
    first, second = torch.tensor([*LIDS, *LIPS]).unbind(1)
    residual = fitted.residual_px_FN2.double() / fitted.width_px_F[:, None, None]
    opening = (residual[:, first] - residual[:, second]).norm(dim=-1)
    return {
        "rms": 100 * float(error.square().mean().sqrt()),
        "p95": 100 * float(np.quantile(error.numpy(), 0.95)),
        "opening": 100 * float(opening.square().mean().sqrt()),
        "jitter_mm": float(fitted.jitter_mm_F.square().mean().sqrt()),
    }


def aligned_error(depth_mm_SS: np.ndarray, truth_mm_SS: np.ndarray, where_SS: np.ndarray) -> np.ndarray:
    """(X,) float64 mm: depth minus truth after the scale and shift that fit best."""
    depth, truth = (values[where_SS].astype(np.float64) for values in (depth_mm_SS, truth_mm_SS))
    columns = np.stack([depth, np.ones_like(depth)], 1)
    return columns @ np.linalg.lstsq(columns, truth, rcond=None)[0] - truth


def rmse_mm(maps_mm_FSS: np.ndarray, truth: TrueDepth, where_FSS: np.ndarray) -> np.ndarray:
    """(F,) root mean square error of each frame, millimetres."""
    return np.array(
        [
            np.sqrt(np.square(aligned_error(maps_mm_FSS[f], truth.depth_mm_FSS[f], where_FSS[f])).mean())
            for f in range(len(maps_mm_FSS))
        ]
    )


def counts(maps: DepthMaps, truth: TrueDepth) -> np.ndarray:
    """(F, S, S) bool: true face with true depth, and skin that the fit believes."""
    return maps.skin_FHW & truth.face_FSS & (truth.depth_mm_FSS > 0)


class ScanFigures:
    """A scan's views: fits that share the identity, fits of single views, and baselines."""

    def __init__(self, seen: Observed, truth: TrueDepth, model: MorphableModel, correspondence: Correspondence):
        self.seen, self.truth, self.model, self.correspondence = seen, truth, model, correspondence
        self.renderer = HeadRenderer(model, correspondence)
        self.size = truth.depth_mm_FSS.shape[1]

    def _render(self, fitted: Fit, frames: slice = slice(None)) -> DepthMaps:
        camera = self.truth.camera_px_F3[frames].clone()
        camera[:, 0] *= fitted.focal_px / self.seen.camera.f_px
        return render_fit(self.renderer, fitted, list(range(len(camera))), camera, self.size)

    def shared(self, settings: FitSettings) -> DepthMaps:
        """One identity for all views."""
        return self._render(fit_tracks([self.seen], self.model, self.correspondence, settings.unordered())[0])

    def single(self, settings: FitSettings) -> DepthMaps:
        """Each view by itself; all in one batch."""
        views = [part(self.seen, [f]) for f in range(len(self.seen.prior_FE))]
        fits = fit_tracks(views, self.model, self.correspondence, settings)
        drawn = [self._render(fitted, slice(f, f + 1)) for f, fitted in enumerate(fits)]
        spread = [maps.spread_mm_FHW for maps in drawn if maps.spread_mm_FHW is not None]
        return DepthMaps(
            np.concatenate([maps.depth_mm_FHW for maps in drawn]),
            np.concatenate([maps.skin_FHW for maps in drawn]),
            np.concatenate(spread),
        )

    def methods(self, settings: FitSettings) -> dict[str, tuple[np.ndarray, float]]:
        """Method → RMSE of each view in mm (F,), and the share of the true face that counts."""
        shared, single = self.shared(settings), self.single(settings)
        where = counts(shared, self.truth)
        mean = replace(settings.unordered(), identity_sd=HELD_SD)
        no_scores = replace(self.seen, prior_FE=torch.zeros_like(self.seen.prior_FE))
        posed = fit_tracks([no_scores], self.model, self.correspondence, replace(mean, expression_sd=HELD_SD))[0]
        talking = fit_tracks([self.seen], self.model, self.correspondence, mean)[0]
        maps = {
            "fit, identity shared by the views": shared.depth_mm_FHW,
            "fit, each view by itself": single.depth_mm_FHW,
            "posed mean head": self._render(posed).depth_mm_FHW,
            "posed mean head with expression": self._render(talking).depth_mm_FHW,
            "mediapipe's z": self.mediapipe_mm(),
            "flat plane": np.full_like(shared.depth_mm_FHW, FAR_MM),
        }
        found = {}
        for name, depth in maps.items():
            own = where & (depth > 0)
            found[name] = (rmse_mm(depth, self.truth, own), float(own.sum() / self.truth.face_FSS.sum()))
        return found

    def mediapipe_mm(self) -> np.ndarray:
        """(F, S, S) the surface of mediapipe's own landmarks: its z is in the scale of x, as under weak perspective."""
        _, faces = read_obj(assets.fetch("canonical_face"))
        points = self.seen.landmarks_px_FN3 * (FAR_MM / self.seen.camera.f_px)
        depth = FAR_MM + points[..., 2:]
        vertices = torch.cat([points[..., :2] * depth / FAR_MM, depth], -1)
        camera = self.truth.camera_px_F3
        return rasterise(vertices, torch.from_numpy(faces).long(), camera, self.size, self.size).depth_mm.numpy()


def rendered_figures(
    clips: dict[str, tuple[Observed, TrueDepth]],
    model: MorphableModel,
    correspondence: Correspondence,
    settings: FitSettings,
) -> np.ndarray:
    """(people,) median absolute depth error after the median shift, mm; no scale is taken out."""
    renderer, medians = HeadRenderer(model, correspondence), []
    for seen, truth in clips.values():
        fitted = fit_tracks([seen], model, correspondence, settings)[0]
        camera = truth.camera_px_F3.clone()
        camera[:, 0] *= fitted.focal_px / seen.camera.f_px
        maps = render_fit(renderer, fitted, few_of(len(seen.prior_FE)), camera, truth.depth_mm_FSS.shape[1])
        where = counts(maps, truth)
        errors = [(maps.depth_mm_FHW[f] - truth.depth_mm_FSS[f])[where[f]] for f in range(len(where))]
        medians.append(np.mean([np.median(np.abs(e - np.median(e))) for e in errors]))
    return np.array(medians)


def lens_figures(
    clips: dict[str, tuple[Observed, TrueDepth]], model: MorphableModel, correspondence: Correspondence
) -> dict[str, np.ndarray]:
    """Of drawn clips whose lens is guessed and then looked for, (people,) each: ``pitch_deg``, the mean absolute error,
    ``rmse_mm`` of depth after scale and shift, ``focal`` over the true one."""
    renderer = HeadRenderer(model, correspondence)
    found: dict[str, list[float]] = {"pitch_deg": [], "rmse_mm": [], "focal": []}
    for seen, truth in clips.values():
        assert truth.rotation_F3 is not None
        seen = replace(seen, camera=find_lens([seen], model, correspondence, seen.camera))
        fitted, few = fit_tracks([seen], model, correspondence)[0], few_of(len(seen.prior_FE))
        pitch, true_pitch = (head_angles_deg(turn)[:, 1] for turn in (fitted.rotation_F3, truth.rotation_F3))
        camera = truth.camera_px_F3.clone()
        ratio = fitted.focal_px / float(camera[0, 0]) * float(camera[0, 1] / seen.camera.cx_px)
        camera[:, 0] *= ratio
        maps = render_fit(renderer, fitted, few, camera, truth.depth_mm_FSS.shape[1])
        found["pitch_deg"].append(float(np.abs(pitch - true_pitch).mean()))
        found["rmse_mm"].append(float(rmse_mm(maps.depth_mm_FHW, truth, counts(maps, truth)).mean()))
        found["focal"].append(ratio)
    return {name: np.array(values) for name, values in found.items()}


def trust_figures(maps: DepthMaps, truth: TrueDepth) -> list[dict[str, float]]:
    """Of each frame: ``spearman`` of spread and error's size, pixel by pixel; ``rmse_mm`` and ``predicted_mm`` (rms of
    the spread); ``least_fifth_mm``, ``most_fifth_mm``: rmse of the fifths of pixels trusted least and most.
    """
    assert maps.spread_mm_FHW is not None
    where, rows = counts(maps, truth), []
    for f in range(len(where)):
        error = aligned_error(maps.depth_mm_FHW[f], truth.depth_mm_FSS[f], where[f])
        spread = maps.spread_mm_FHW[f][where[f]]
        least, most = spread >= np.quantile(spread, 0.8), spread <= np.quantile(spread, 0.2)
        rows.append(
            {
                "spearman": float(spearmanr(spread, np.abs(error))[0]),
                "rmse_mm": _rms(error),
                "predicted_mm": _rms(spread),
                "most_fifth_mm": _rms(error[most]),
                "least_fifth_mm": _rms(error[least]),
            }
        )
    return rows


def studio_trust(
    clips: dict[str, tuple[Observed, TrueDepth]],
    model: MorphableModel,
    correspondence: Correspondence,
    settings: FitSettings,
) -> dict[str, dict[str, float]]:
    """Person → :func:`trust_figures` of two frames of the clip, mean."""
    renderer, found = HeadRenderer(model, correspondence), {}
    for name, (seen, truth) in clips.items():
        fitted, few = fit_tracks([seen], model, correspondence, settings)[0], few_of(len(seen.prior_FE))
        camera: Tensor = truth.camera_px_F3[few].clone()
        camera[:, 0] *= fitted.focal_px / seen.camera.f_px
        maps = render_fit(renderer, fitted, few, camera, truth.depth_mm_FSS.shape[1])
        rows = trust_figures(maps, TrueDepth(truth.depth_mm_FSS[few], truth.face_FSS[few], camera))
        found[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return found


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values.astype(np.float64)).mean()))
