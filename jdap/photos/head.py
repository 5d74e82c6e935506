"""A head of a photo as the models see it, and its depth.

Shapes: S x S pixels of a window.
"""

from __future__ import annotations

import numpy as np
import torch

from jdap.faces import crop
from jdap.photos.read import Photo
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline

AnyPipeline = PortraitPipeline | TalkingPipeline


def cropped(pipeline: AnyPipeline, photo: Photo, window_px: np.ndarray) -> torch.Tensor:
    """A window of a photo (1, 3, S, S) in [-1, 1] on the pipeline's device, S its side, cropped as in preparation."""
    return square(photo, window_px, pipeline.size_px).to(pipeline.device)


def square(photo: Photo, window_px: np.ndarray, size: int) -> torch.Tensor:
    """A window of a photo (1, 3, size, size) in [-1, 1], cropped as in preparation."""
    rgb = torch.from_numpy(crop.crop_frame(photo.rgb_HW3, window_px, size).copy())
    return (rgb.permute(2, 0, 1)[None] / 127.5 - 1).clamp(-1, 1)


def depth_of(
    pipeline: PortraitPipeline,
    photo: Photo,
    window_px: np.ndarray,
    steps: int = 1,
    ensemble: int = 1,
    seed: int = 0,
    head: FittedDepth | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Normalised depth (S, S) float32 in [-1, 1] of one window of a photo, S the pipeline's side, and its uncertainty.

    The uncertainty (S, S) is None for a single draw. The noise depends on the seed alone, so that a photo's depth does
    not depend on the others. ``head``: as :meth:`jdap.pipelines.portrait.PortraitPipeline.image_to_depth` has it.
    """
    generator = torch.Generator().manual_seed(seed)
    rgb = cropped(pipeline, photo, window_px)
    found = pipeline.image_to_depth(rgb, head=head, steps=steps, ensemble=ensemble, generator=generator)
    depth, uncertainty = (None if x is None else x[0, 0].float().cpu().numpy() for x in found)
    assert depth is not None
    return depth, uncertainty
