"""Batches of stills whose depth was measured: each its own reference, and all of its depth trusted alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jdap.depth import normalise, skin_range_mm


def stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape as a tensor."""
    return torch.from_numpy(np.stack(arrays))


def measured_fields(rgb_BSS3: Tensor, depth_mm_B1SS: Tensor, skin_B1SS: Tensor, source: str) -> dict[str, Any]:
    """Fields of :class:`jdap.batch.ImageBatch` that follow from pictures (uint8) and their depth."""
    rgb = rgb_BSS3.permute(0, 3, 1, 2) / 127.5 - 1
    range_mm = skin_range_mm(depth_mm_B1SS, skin_B1SS)
    sources = (source,) * len(rgb)
    return {
        "reference_rgb": rgb,
        "rgb": rgb,
        "depth_mm": depth_mm_B1SS,
        "depth": normalise(depth_mm_B1SS, range_mm),
        "skin": skin_B1SS,
        "confidence": torch.ones_like(depth_mm_B1SS),
        "range_mm": range_mm,
        "depth_source": sources,
        "source": sources,
    }
