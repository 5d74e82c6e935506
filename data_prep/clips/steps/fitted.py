"""From a fit to what is stored: the sample of some frames with their depth, and a frame's row of the contact sheet.

Frames of videos and photos of one person go the same way.

Shapes: F frames, N landmarks, S = size of the stored frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from data_prep.clips import contact_sheet
from data_prep.clips.steps.bare import keep_bare
from data_prep.clips.steps.job import Stopwatch, Tools
from data_prep.fit.fit import Fit
from data_prep.head.landmarks import LANDMARK_COUNT
from jdap.faces import crop
from jdap.shards.sample import Sample
from jdap.shards.schema import Record


@dataclass(frozen=True, eq=False)
class Framed:
    """Frames with their fit: ``landmarks_px_FN3`` in pixels of the whole pictures, as are the fit's residuals; the
    windows (F, 3; left, top, size) that are cut out of them, and the cameras (F, 3) of these."""

    fit: Fit
    landmarks_px_FN3: np.ndarray
    window_px_F3: np.ndarray
    camera_px_F3: np.ndarray


def frame_scores(scores: Mapping[str, np.ndarray], part: slice | list[int]) -> dict[str, list[float]]:
    """Scores of some frames, as a record has them."""
    return {name: [round(float(x), 4) for x in values[part]] for name, values in scores.items()}


def fitted_sample(
    record: Record,
    seen: Framed,
    part: slice | list[int],
    rgb_FSS3: np.ndarray,
    tools: Tools,
    watch: Stopwatch,
    audio: np.ndarray | None = None,
) -> Sample:
    """The sample of frames ``part``, whose crops are given: depth, skin, confidence, and what was fitted."""
    fitted, size = seen.fit, record.size_px
    cameras = torch.from_numpy(seen.camera_px_F3[part])
    expression, rotation, translation = (
        values[part] for values in (fitted.expression_FE, fitted.rotation_F3, fitted.translation_mm_F3)
    )
    with watch.timed("render"):
        pose, covariance = (expression, rotation, translation, cameras), fitted.covariance_KK
        maps = tools.renderer.render(fitted.identity_K, *pose, size, covariance)
        mean = tools.renderer.render_mean(rotation, translation, cameras, size) if tools.settings.mean_head else None
    skin, confidence = maps.skin_FHW, maps.confidence_FHW
    if tools.parser is not None:
        with watch.timed("parse"):
            skin, confidence = keep_bare(tools.parser, rgb_FSS3, skin, confidence)
    # All of the model's modes, as the studio stores them; those that were not fitted are 0.
    modes = len(tools.model.identity_KV3)
    identity = np.pad(fitted.identity_K.cpu().numpy(), (0, modes - len(fitted.identity_K)))
    landmarks = crop.to_window(seen.landmarks_px_FN3[part, :, :2], seen.window_px_F3[part], size)
    arrays = {
        "camera_px": seen.camera_px_F3[part],
        "rotation": rotation.cpu().numpy(),
        "translation_mm": translation.cpu().numpy(),
        "identity": identity[None].repeat(record.frames, 0),
        "expression": expression.cpu().numpy(),
        "landmarks_px": landmarks.astype(np.float32),
    }
    return Sample(record, rgb_FSS3, maps.depth_mm_FHW, skin, arrays, audio, mean, confidence)


def sheet_row(label: str, sample: Sample, seen: Framed, frame: int, index: int) -> contact_sheet.SheetFrame:
    """``frame`` of what is seen, which is ``index`` of the sample, for the sheet."""
    landmarks = sample.arrays["landmarks_px"][index, :LANDMARK_COUNT]
    zoom = sample.record.size_px / seen.window_px_F3[frame, 2]
    return contact_sheet.SheetFrame(
        label,
        sample.rgb_FHW3[index],
        sample.depth_mm_FHW[index],
        sample.skin_FHW[index],
        sample.arrays["camera_px"][index],
        landmarks,
        landmarks + seen.fit.residual_px_FN2[frame].cpu().numpy() * zoom,
    )
