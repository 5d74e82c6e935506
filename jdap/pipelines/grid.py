"""Pictures for people: depth and error maps in colour, and labelled grids of pictures.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

#: Errors of this size (in the normalised frame, whose range is 2) get the brightest colour.
ERROR_FULL_SCALE = 0.5
HEADER_PX = 14


def depth_picture(depth_B1HW: Tensor) -> Tensor:
    """Normalised depth (B, 1, H, W) in [-1, 1] → RGB (B, 3, H, W) in [-1, 1], near bright (colour map "inferno")."""
    return _colour(-depth_B1HW / 2 + 0.5, "inferno")


def error_picture(depth_B1HW: Tensor, truth_B1HW: Tensor, mask_B1HW: Tensor) -> Tensor:
    """``|depth − truth|`` inside the mask → RGB (B, 3, H, W) in [-1, 1]; black is none, white 0.5 or more."""
    error = (depth_B1HW - truth_B1HW).abs() / ERROR_FULL_SCALE
    return _colour(torch.where(mask_B1HW, error, torch.zeros_like(error)), "gray")


def labelled_grid(columns: Sequence[Tensor], labels: Sequence[str]) -> Image.Image:
    """Columns of pictures (B, 3, H, W) in [-1, 1] side by side, a row a sample, a label above each column."""
    if len(columns) != len(labels):
        raise ValueError(f"{len(columns)} columns need as many labels, got {len(labels)}")
    rows = torch.cat([c.float().cpu() for c in columns], dim=3)
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).flatten(0, 1).numpy()
    image = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + HEADER_PX), "black")
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, HEADER_PX))
    draw = ImageDraw.Draw(image)
    width = columns[0].shape[-1]
    for i, label in enumerate(labels):
        draw.text((i * width + 3, 1), label, fill="white")
    return image


def _colour(values_B1HW: Tensor, name: str) -> Tensor:
    table = torch.from_numpy(matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]).float()
    index = (values_B1HW[:, 0].float().cpu().clamp(0, 1) * 255).round().long()
    return table[index].permute(0, 3, 1, 2) * 2 - 1
