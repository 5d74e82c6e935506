"""What a parser does to fitted depth: held-out studio people, as mediapipe sees and preparation fits them.

The studio knows what lies before the face, and the depth of it; a fitted head has only skin. So the fit is compared
with the truth where its depth is believed: as it is, without what the parser sees on it, and without what is truly on
it. One scale and shift a picture and mask.

Shapes: S x S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.fit.measure import aligned_error
from data_prep.choices import SPLIT_START
from data_prep.clips.steps.bare import keep_bare
from data_prep.fit.fit import CHEEKS, PHOTO_FACE_MM, FitSettings, Observed, default_camera, expression_prior, fit_tracks
from data_prep.fit.render import HeadRenderer
from data_prep.head.landmarks import LANDMARK_COUNT, load_correspondence
from data_prep.studio.people import PersonJob, plan
from data_prep.studio.photograph import Studio
from data_prep.studio.scene import ScenePictures
from jdap.choices import PARSED, SKIN
from jdap.faces.landmarker import Landmarker
from jdap.faces.parsing import Parser
from jdap.metrics.bootstrap import grouped_interval

#: The pictures' side, and people of this seed.
FITTED_PX, FITTED_SEED = 256, 17
#: A face counts as covered where so much of the believed skin is not bare.
COVERED_SHARE = 0.03
#: The masks, in the order of the table.
AS_FITTED, BY_PARSER, BY_TRUTH = "as fitted", "by the parser", "by the truth"
PEOPLE_AT_ONCE = 8


class Masks:
    """Fits and masks pictures of single people. ``rows`` grows by one a person that mediapipe finds."""

    def __init__(self, studio: Studio, parser: Parser, landmarker: Landmarker) -> None:
        self.model, self.correspondence = studio.bust.model, load_correspondence()
        self.renderer = HeadRenderer(self.model, self.correspondence)
        self.parser, self.landmarker = parser, landmarker
        self.rows: list[dict[str, Any]] = []

    def add(self, shot: ScenePictures, name: str) -> None:
        """Measure the first picture of a shoot, if mediapipe finds one face in it."""
        assert shot.truth is not None
        rgb, true_mm = shot.rgb_FSS3[0], shot.depth_mm_FSS[0]
        faces = self.landmarker.find(rgb)
        if len(faces) != 1:
            return
        points = torch.from_numpy(faces[0].landmarks_px_N3[None, :LANDMARK_COUNT])
        across = float((points[0, CHEEKS[0], :2] - points[0, CHEEKS[1], :2]).norm())
        camera = default_camera(FITTED_PX, FITTED_PX, across, PHOTO_FACE_MM)
        prior = expression_prior(torch.from_numpy(faces[0].blendshapes_B[None]), faces[0].names, self.model)
        seen = Observed(points, prior, camera)
        (fit,) = fit_tracks([seen], self.model, self.correspondence, FitSettings().unordered())
        cameras = torch.tensor([[fit.focal_px, camera.cx_px, camera.cy_px]], dtype=torch.float32)
        pose = fit.expression_FE, fit.rotation_F3, fit.translation_mm_F3
        maps = self.renderer.render(fit.identity_K, *pose, cameras, FITTED_PX)
        skin = maps.skin_FHW
        kept, _ = keep_bare(self.parser, rgb[None], skin, None)
        bare = shot.truth.label_FSS[0].numpy() == PARSED.index(SKIN)
        depth = maps.depth_mm_FHW[0]
        there = (true_mm > 0) & skin[0]
        masks = {AS_FITTED: there, BY_PARSER: there & kept[0], BY_TRUTH: there & bare}
        self.rows.append(
            {
                "person": name,
                "covered": float((skin[0] & ~bare).sum() / skin[0].sum()),
                "covered_left": float((kept[0] & ~bare).sum() / max(1, kept[0].sum())),
                "bare_lost": float((skin[0] & bare & ~kept[0]).sum() / max(1, (skin[0] & bare).sum())),
                "kept": float(kept[0].sum() / skin[0].sum()),
                **{way: _rmse(depth, true_mm, mask) for way, mask in masks.items()},
            }
        )


def _rmse(depth_mm_SS: np.ndarray, true_mm_SS: np.ndarray, where_SS: np.ndarray) -> float:
    """mm, after scale and shift; NaN of under a hundred pixels."""
    if where_SS.sum() < 100:
        return float("nan")
    return float(np.sqrt(np.square(aligned_error(depth_mm_SS, true_mm_SS, where_SS)).mean()))


def measure(parser: Parser, people: int, told: Callable[[int], None] = lambda done: None) -> list[dict[str, Any]]:
    """A row a person of the test split: shares of the believed skin, and RMSE in mm by each mask."""
    studio, job = Studio(), PersonJob(FITTED_SEED, 1, FITTED_PX)
    first = SPLIT_START["test"]
    with Landmarker() as landmarker:
        masks = Masks(studio, parser, landmarker)
        for start in range(first, first + people, PEOPLE_AT_ONCE):
            shoots = [plan(studio, job, i)[0] for i in range(start, min(start + PEOPLE_AT_ONCE, first + people))]
            for shoot, shot in zip(shoots, studio.photograph(shoots, FITTED_PX, truth=True), strict=True):
                masks.add(shot, shoot.person.person_id)
            told(len(shoots))
    return masks.rows


def summary(rows: Sequence[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """For everybody, the covered and the bare: means over people with 95 % intervals, and the paired difference."""
    found = []
    for who, some in (
        ("all", list(rows)),
        ("covered", [row for row in rows if row["covered"] > COVERED_SHARE]),
        ("bare", [row for row in rows if row["covered"] <= COVERED_SHARE]),
    ):
        some = [row for row in some if np.isfinite([row[way] for way in (AS_FITTED, BY_PARSER, BY_TRUTH)]).all()]
        if not some:
            continue
        names = [row["person"] for row in some]
        row: dict[str, Any] = {"who": who, "people": len(some)}
        columns = {key: np.array([one[key] for one in some]) for key in some[0] if key != "person"}
        columns["gain"] = columns[BY_PARSER] - columns[AS_FITTED]
        for key, values in columns.items():
            row |= {key: float(values.mean()), f"{key}_ci": list(grouped_interval(values, names, seed=seed))}
        found.append(row)
    return found
