"""Depth by the models of others, whose checkpoints the user names: Marigold, what transformers calls depth estimation
(Depth Anything, DPT, ZoeDepth, Depth Pro …), and any function by its import path (MoGe: docs/benchmarks.md).

Checkpoints are folders, or repositories ``OWNER/NAME`` of the Hugging Face hub; none comes with this project.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from benchmarks import BenchmarkError
from benchmarks.depth.method import MethodSettings, promises, seeded
from jdap.batch import ImageBatch
from jdap.metrics.depth import METRIC

#: ``model_type`` of transformers' models that give metres, and of those that give disparity, larger = nearer.
METRES, INVERSE = ("zoedepth", "depth_pro", "glpn", "prompt_depth_anything"), ("depth_anything", "dpt")
MM_PER_METRE = 1000.0


class MarigoldDepth:
    """Marigold (Ke et al., arXiv 2312.02145) by diffusers' own pipeline, in the steps and at the size that its weights
    ask for; a member of an ensemble is not aligned to itself, so ``--ensemble`` is not passed on."""

    def __init__(self, name: str, place: str, settings: MethodSettings) -> None:
        from diffusers import MarigoldDepthPipeline  # the baselines need none of it

        self.name, self.settings = name, settings
        self.pipeline = MarigoldDepthPipeline.from_pretrained(place).to(settings.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.sign = -1.0 if self.pipeline.config.prediction_type == "disparity" else 1.0

    def predict(self, batch: ImageBatch) -> Tensor:
        """Depth (B, 1, H, W) in an affine frame; the noise is seeded by the seed and the keys of the batch."""
        found = self.pipeline(
            (batch.rgb.float() + 1) / 2,
            batch_size=len(batch),
            generator=seeded(self.settings.seed, batch.key),
            output_type="pt",
        )
        return self.sign * found.prediction.float()


class TransformersDepth:
    """A checkpoint of ``AutoModelForDepthEstimation``, pictures prepared and answers resized by its own processor.

    What gives metres promises the metric frame, in millimetres; disparity is turned round. Raises
    :class:`BenchmarkError` for a kind of model of which neither is known.
    """

    def __init__(self, name: str, place: str, settings: MethodSettings) -> None:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        self.name, self.device = name, settings.device
        self.model = AutoModelForDepthEstimation.from_pretrained(place).to(settings.device).eval()
        self.processor = AutoImageProcessor.from_pretrained(place)
        config = self.model.config
        metres = config.model_type in METRES or getattr(config, "depth_estimation_type", "") == "metric"
        if not metres and config.model_type not in INVERSE:
            raise BenchmarkError(
                f"{place}: whether a {config.model_type} gives depth or disparity is not known here; use --function"
            )
        self.factor = MM_PER_METRE if metres else -1.0
        self.frames = (METRIC,) if metres else ()

    def predict(self, batch: ImageBatch) -> Tensor:
        """Millimetres (B, 1, H, W), or disparity turned round: larger = farther."""
        pixels = ((batch.rgb.float() + 1) * 127.5).round().byte().cpu()
        given = self.processor(images=list(pixels), return_tensors="pt").to(self.device)
        sizes = [tuple(batch.rgb.shape[-2:])] * len(batch)
        found = self.processor.post_process_depth_estimation(self.model(**given), target_sizes=sizes)
        return self.factor * torch.stack([one["predicted_depth"] for one in found])[:, None].float()


class FunctionDepth:
    """``MODULE:FUNCTION``: pictures (B, 3, H, W) float in [-1, 1] → depth (B, 1, H, W), larger = farther.

    The function may say more by attributes ``frames`` and ``size_px``, as a :class:`benchmarks.depth.method.Method`.
    """

    def __init__(self, name: str, place: str, settings: MethodSettings) -> None:
        module, colon, function = place.partition(":")
        if not (module and colon and function):
            raise BenchmarkError(f"--function {place}: must be MODULE:FUNCTION, as in mine.depth:predict")
        try:
            self.function: Any = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise BenchmarkError(f"--function {place}: {error}") from error
        self.name, self.frames = name, promises(self.function)
        if hasattr(self.function, "size_px"):
            self.size_px: int = self.function.size_px

    def predict(self, batch: ImageBatch) -> Tensor:
        """What the function says, on the batch's device."""
        return torch.as_tensor(self.function(batch.rgb)).to(batch.rgb.device)
