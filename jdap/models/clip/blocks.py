"""The blocks of a clip model's UNet: the image model's layers with motion modules between, and without them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from torch import Tensor


def with_motion(plain: UNet2DConditionModel, motion: MotionAdapter) -> UNetMotionModel:
    """The layers of both, with copies of their tensors.

    diffusers takes the time embedding for four times the first width, which it need not be: ours are the plain UNet's.
    """
    made: UNetMotionModel = UNetMotionModel.from_unet2d(plain, motion, load_weights=False)
    for name, layer in plain.named_modules():
        if name == "time_embedding" or name.endswith(".time_emb_proj"):
            made.set_submodule(name, copy.deepcopy(layer))
    made.load_state_dict({**plain.state_dict(), **motion.state_dict()})
    return made


def still_down(block: Any, x: Tensor, emb: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A block of the way down without its motion modules, as diffusers' ``DownBlock2D`` does it."""
    left = []
    for resnet in block.resnets:
        x = resnet(x, emb)
        left.append(x)
    for downsampler in block.downsamplers or ():
        x = downsampler(x)
        left.append(x)
    return x, tuple(left)


def still_up(block: Any, x: Tensor, emb: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
    """A block of the way up without its motion modules, as diffusers' ``UpBlock2D`` does it."""
    for resnet, skip in zip(block.resnets, reversed(skips), strict=True):
        x = resnet(torch.cat([x, skip], dim=1), emb)
    for upsampler in block.upsamplers or ():
        x = upsampler(x)
    return x


def moves(block: Any) -> bool:
    """Whether the mid block has motion modules; AnimateDiff's later ones have none there."""
    return hasattr(block, "motion_modules")
