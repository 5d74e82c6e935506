"""What a row of ``python -m benchmarks footprint`` runs: its stage, with random weights, and its batch.

Shapes: pictures of ``size_px``² pixels; clips of ``frames`` drawn frames and two before them.
"""

from __future__ import annotations

import gc
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from jdap.batch import ClipBatch, ImageBatch
from jdap.models.codec import ImageCodec
from jdap.stages.image import ImageStage
from jdap.stages.settings.temporal import WindowSettings
from jdap.stages.temporal import TemporalStage
from jdap.units import FPS, SAMPLE_RATE

#: Frames that a window is shown before those that it draws.
MOTION_FRAMES = 2
#: Frames of sound around a clip; as many as ``mel`` hears.
MARGIN = 4
#: preset → side of its pictures
SIZES_PX = {"tiny": 128, "small": 256, "sd15": 512}


@dataclass(frozen=True)
class Case:
    """One row: what is run, and how."""

    what: str  # "train" or "sample"
    preset: str
    size_px: int
    batch: int
    checkpointing: bool
    compiled: bool
    device: str
    precision: str
    steps: int
    warmup: int
    sampling_steps: int
    threads: int
    frames: int = 0  # drawn of a clip; 0: the image stage's pictures
    targets: int = 1  # pictures of each reference


def stage_of(case: Case) -> ImageStage | TemporalStage:
    """The stage with random weights, float32, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        image = ImageStage(
            preset=case.preset,
            codec=_codec(case.preset, Path(folder)),
            size_px=case.size_px,
            gradient_checkpointing=case.checkpointing,
            compile="inductor" if case.compiled else None,
        )
        if not case.frames:
            return image
        image.pipeline().save_pretrained(Path(folder) / "weights")
        del image
        gc.collect()
        return TemporalStage(
            init=str(Path(folder) / "weights"),
            window=WindowSettings(case.frames, MOTION_FRAMES),
            gradient_checkpointing=case.checkpointing,
        )


def _codec(preset: str, folder: Path) -> str:
    """With random weights: Stable Diffusion's VAE for its preset, our own codec for the others."""
    if preset != "sd15":
        ImageCodec().save_pretrained(folder)
        return str(folder)
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.18215,
    ).save_pretrained(folder)
    return str(folder)


def batch_of(case: Case) -> ImageBatch | ClipBatch:
    """A batch of drawn numbers."""
    b, side, whole = case.batch, case.size_px, case.frames + MOTION_FRAMES
    each = (b, whole) if case.frames else (b,)
    shared: dict[str, Any] = {
        "reference_rgb": torch.rand(b // case.targets, 3, side, side) * 2 - 1,
        "rgb": torch.rand(*each, 3, side, side) * 2 - 1,
        "depth_mm": torch.full((*each, 1, side, side), 500.0),
        "depth": torch.rand(*each, 1, side, side) * 2 - 1,
        "skin": torch.ones(*each, 1, side, side, dtype=torch.bool),
        "confidence": torch.ones(*each, 1, side, side),
        "range_mm": torch.tensor([[450.0, 550.0]]).repeat(b, 1),
        "camera_px": torch.ones(*each, 3),
        "key": ("drawn",) * b,
        "person_id": ("nobody",) * b,
        "depth_source": ("studio",) * b,
        "source": ("studio",) * b,
    }
    if not case.frames:
        return ImageBatch(**shared)
    return ClipBatch(
        **shared,
        pose=torch.zeros(b, whole, 6),
        lip_opening_mm=torch.zeros(b, whole),
        mouth_px=torch.full((b, whole, 3), side / 2),
        audio=torch.rand(b, (whole + 2 * MARGIN) * SAMPLE_RATE // FPS) * 2 - 1,
        has_audio=torch.ones(b, dtype=torch.bool),
        fps=float(FPS),
        audio_margin=MARGIN,
    )
