"""The blocks of a clip model's UNet: the image model's layers with motion modules between, and without them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from torch import Tensor, nn

from jdap.models.image.plain import sees


def with_motion(plain: UNet2DConditionModel, motion: MotionAdapter) -> UNetMotionModel:
    """The layers of both, with copies of their tensors.

    diffusers takes the time embedding for four times the first width, which it need not be: ours are the plain UNet's.
    """
    made: UNetMotionModel = UNetMotionModel.from_unet2d(plain, motion, load_weights=False)
    for name, layer in plain.named_modules():
        if name == "time_embedding" or name.endswith(".time_emb_proj"):
            made.set_submodule(name, copy.deepcopy(layer))
    made.load_state_dict({**plain.state_dict(), **motion.state_dict()})
    for name, layer in list(made.named_modules()):
        if isinstance(layer, GEGLU):
            made.set_submodule(name, HalvedGEGLU(layer.proj))
    return made


class HalvedGEGLU(nn.Module):
    """diffusers' GEGLU as two products of half the width, rather than one that is cut in two: less memory is moved.

    Args:
        proj: its layer, to both halves.
    """

    def __init__(self, proj: nn.Linear) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., half of what ``proj`` gives)."""
        (weight, gate), (bias, gate_bias) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
        return F.linear(x, weight, bias) * F.gelu(F.linear(x, gate, gate_bias))


def down(block: Any, x: Tensor, emb: Tensor, frames: int, seeing: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
    """A block of the way down, as diffusers has it, and what it leaves for the way up.

    Where ``frames`` is 0 its motion modules stand still. ``seeing`` is what its attention is told.
    """
    left = []
    for resnet, attention, motion in _layers(block, block.resnets, frames):
        x = _motion(motion, _attention(attention, resnet(x, emb), seeing), frames)
        left.append(x)
    for downsampler in block.downsamplers or ():
        x = downsampler(x)
        left.append(x)
    return x, left


def middle(block: Any, x: Tensor, emb: Tensor, frames: int, seeing: dict[str, Any]) -> Tensor:
    """The block between, which may have no motion modules: AnimateDiff's later ones have none there."""
    first, *rest = block.resnets
    x = first(x, emb)
    for resnet, attention, motion in _layers(block, rest, frames):
        x = resnet(_motion(motion, _attention(attention, x, seeing), frames), emb)
    return x


def up(block: Any, x: Tensor, emb: Tensor, skips: list[Tensor], frames: int, seeing: dict[str, Any]) -> Tensor:
    """A block of the way up as it is before its upsampler (:func:`larger`); else as :func:`down`."""
    layers = _layers(block, block.resnets, frames)
    for (resnet, attention, motion), skip in zip(layers, reversed(skips), strict=True):
        x = _motion(motion, _attention(attention, resnet(torch.cat([x, skip], dim=1), emb), seeing), frames)
    return x


def larger(block: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
    """The rest of a block of the way up: its convolution of ``x`` at a larger ``size``, if it has one.

    Where that is twice as large each pixel stands four times over, and nine taps fall on no more than four of them. So
    one transposed convolution, whose 4 x 4 taps are sums of the nine, gives the same by 4/9 of the arithmetic.
    """
    for upsampler in block.upsamplers or ():
        if size == tuple(2 * side for side in x.shape[-2:]):
            taps = upsampler.conv.weight.transpose(0, 1).flip(-2, -1)
            taps = F.pad(taps, (0, 1)) + F.pad(taps, (1, 0))
            taps = F.pad(taps, (0, 0, 0, 1)) + F.pad(taps, (0, 0, 1, 0))
            x = F.conv_transpose2d(x, taps, upsampler.conv.bias, stride=2, padding=1)
        else:
            x = upsampler(x, size)
    return x


def _layers(block: Any, resnets: Sequence[Any], frames: int) -> Iterable[tuple[Any, Any, Any]]:
    """Resnets of a block, each with its attention and motion module, or None where it has no such or stands still."""
    nothing = [None] * len(resnets)
    moved = block.motion_modules if frames and hasattr(block, "motion_modules") else nothing
    return zip(resnets, block.attentions if sees(block) else nothing, moved, strict=True)


def _attention(attention: Any, x: Tensor, seeing: dict[str, Any]) -> Tensor:
    return x if attention is None else attention(x, return_dict=False, **seeing)[0]


def _motion(motion: Any, x: Tensor, frames: int) -> Tensor:
    return x if motion is None else motion(x, num_frames=frames)
