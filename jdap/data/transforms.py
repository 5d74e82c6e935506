"""What is done to a decoded example before it is batched: resize, crop, flip, colour. Pure functions.

Every function takes an :class:`Example` and returns a new one, whose pictures, depth, skin and camera agree again.
Chance enters by a ``torch.Generator`` that is passed in, never by a global seed.

Shapes: F frames (1 for the image stage), H = W pixels (square), N audio samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from jdap.data.pose import mirror
from jdap.srgb import RGB_TO_YIQ

_RGB_TO_YIQ = torch.tensor(RGB_TO_YIQ)
_YIQ_TO_RGB = torch.linalg.inv(_RGB_TO_YIQ)


@dataclass(frozen=True)
class Example:
    """A reference picture and F target frames of one person, decoded.

    * ``reference_3HW`` float32 in [0, 1]
    * ``rgb_F3HW`` float32 in [0, 1]
    * ``depth_mm_F1HW`` float32 z-depth in millimetres, 0 = no value
    * ``skin_F1HW`` bool
    * ``confidence_F1HW`` float32 in [0, 1]: how far the depth is trusted
    * ``camera_px_F3`` float32 (f, cx, cy) in pixels of these frames
    * ``pose_F6`` float32: head to camera, axis-angle (rad) and translation (mm), :mod:`jdap.data.pose`
    * ``reference_camera_px_3``, ``reference_pose_6`` float32: the same of the reference
    * ``lip_opening_mm_F`` float32, NaN where it is not known
    * ``mean_head_mm_F1HW`` float32 millimetres, 0 = no value, or None
    * ``source``: name of the set that it was drawn of
    * ``audio`` (N,) float32 in [-1, 1], mono 16 kHz, or None: from ``audio_margin`` frames before the first frame to as
      many after the last one; ``fps`` of these frames, 0 for stills
    """

    key: str
    person_id: str
    depth_source: str
    source: str
    reference_3HW: Tensor
    rgb_F3HW: Tensor
    depth_mm_F1HW: Tensor
    skin_F1HW: Tensor
    confidence_F1HW: Tensor
    camera_px_F3: Tensor
    pose_F6: Tensor
    reference_camera_px_3: Tensor
    reference_pose_6: Tensor
    lip_opening_mm_F: Tensor
    mean_head_mm_F1HW: Tensor | None = None
    audio: Tensor | None = None
    audio_margin: int = 0
    fps: float = 0.0

    @property
    def size_px(self) -> int:
        """Side of the target frames in pixels."""
        return self.rgb_F3HW.shape[-1]


def resize(example: Example, size_px: int) -> Example:
    """The example at ``size_px`` pixels: reference and target, with the camera scaled exactly.

    RGB is filtered (bilinear with antialiasing); depth, its confidence and skin take the nearest pixel, for an average
    of a depth and a neighbour's "no value" would be a depth that nothing has.
    """
    scale = size_px / example.reference_3HW.shape[-1]
    example = replace(
        example,
        reference_3HW=_resize_rgb(example.reference_3HW[None], size_px)[0],
        reference_camera_px_3=example.reference_camera_px_3 * scale,
    )
    if example.size_px == size_px:
        return example
    return replace(
        example,
        rgb_F3HW=_resize_rgb(example.rgb_F3HW, size_px),
        camera_px_F3=example.camera_px_F3 * (size_px / example.size_px),
        **_each_map(example, lambda m: F.interpolate(m.float(), size=size_px, mode="nearest-exact").to(m.dtype)),
    )


def crop(example: Example, left: int, top: int, side: int) -> Example:
    """The target frames' square [left, left + side) x [top, top + side) pixels, which must lie inside of them.

    The reference stays as it is. The camera's principal point moves with the square, its focal length stays:
    :func:`resize` afterwards scales both.
    """
    if not (0 <= left <= left + side <= example.size_px and 0 <= top <= top + side <= example.size_px and side > 0):
        raise ValueError(f"crop {left, top, side} is not inside of {example.size_px} pixels")
    rows, columns = slice(top, top + side), slice(left, left + side)
    return replace(
        example,
        rgb_F3HW=example.rgb_F3HW[..., rows, columns],
        camera_px_F3=example.camera_px_F3 - torch.tensor([0.0, left, top]),
        **_each_map(example, lambda m: m[..., rows, columns]),
    )


def flip(example: Example) -> Example:
    """Left and right exchanged in reference and target, camera and pose with them: cx' = W − cx."""
    return replace(
        example,
        reference_3HW=example.reference_3HW.flip(-1),
        rgb_F3HW=example.rgb_F3HW.flip(-1),
        camera_px_F3=_flip_camera(example.camera_px_F3, example.size_px),
        pose_F6=mirror(example.pose_F6),
        reference_camera_px_3=_flip_camera(example.reference_camera_px_3, example.reference_3HW.shape[-1]),
        reference_pose_6=mirror(example.reference_pose_6),
        **_each_map(example, lambda m: m.flip(-1)),
    )


@dataclass(frozen=True)
class Colour:
    """One change of colour; the defaults change nothing.

    In this order: hue turned by ``hue`` radians and saturation multiplied in YIQ, contrast multiplied about mid-grey,
    brightness multiplied, clipped to [0, 1], raised to ``gamma``. No step depends on the picture, so the same change
    of two pictures keeps a person's colours the same in both.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    gamma: float = 1.0


def draw_colour(strength: float, generator: Generator) -> Colour:
    """Factors uniform in 1 ± strength, hue in ± strength / 2 radians, gamma in exp(± strength)."""
    brightness, contrast, saturation, hue, gamma = (2 * torch.rand(5, generator=generator) - 1).mul(strength).tolist()
    return Colour(1 + brightness, 1 + contrast, 1 + saturation, hue / 2, math.exp(gamma))


def recolour(example: Example, colour: Colour) -> Example:
    """The same :class:`Colour` on the reference and every target frame; depth is untouched."""
    return replace(
        example,
        reference_3HW=recoloured(example.reference_3HW, colour),
        rgb_F3HW=recoloured(example.rgb_F3HW, colour),
    )


def recoloured(rgb: Tensor, colour: Colour) -> Tensor:
    """A :class:`Colour` on pictures (..., 3, H, W) in [0, 1]; the same shape and range."""
    c, s = math.cos(colour.hue) * colour.saturation, math.sin(colour.hue) * colour.saturation
    turn = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    # Everything up to the clipping is one affine map of RGB: contrast (x − ½) + ½, times brightness.
    matrix = colour.brightness * colour.contrast * (_YIQ_TO_RGB @ turn @ _RGB_TO_YIQ)
    offset = colour.brightness * (1 - colour.contrast) / 2
    mixed = (matrix @ rgb.flatten(-2)).add_(offset).clamp_(0, 1)
    # x^gamma as exp(gamma log x), which takes half the time; log 0 = −inf comes back as 0.
    return mixed.log_().mul_(colour.gamma).exp_().clamp_(0, 1).reshape(rgb.shape)


def augment(
    example: Example,
    generator: Generator,
    flip_: bool = True,
    jitter: float = 0.0,
    zoom: float = 0.0,
    gain_db: float = 0.0,
) -> Example:
    """Training's augmentation, drawn from ``generator``.

    A flip with probability ½ if ``flip_``; colour of strength ``jitter`` in [0, 1), see :func:`draw_colour`; a random
    square of the target with a side of at least 1 − ``zoom`` of the picture's, scaled back to its size; sound louder or
    quieter by up to ``gain_db`` decibels, uniformly, but no louder than full scale.
    """
    size_px = example.size_px
    # All chances are drawn whatever is switched on, so that one switch does not change another's draws.
    heads, share, across, down = torch.rand(4, generator=generator).tolist()
    colour = draw_colour(jitter, generator)
    louder_db = gain_db * (2 * torch.rand((), generator=generator).item() - 1)
    if zoom > 0:
        side = max(1, round(size_px * (1 - zoom * share)))
        rest = size_px - side + 1
        example = resize(crop(example, int(across * rest), int(down * rest), side), size_px)
    if flip_ and heads < 0.5:
        example = flip(example)
    if gain_db > 0 and example.audio is not None:
        example = replace(example, audio=amplify(example.audio, louder_db))
    return recolour(example, colour) if jitter > 0 else example


def amplify(audio: Tensor, gain_db: float) -> Tensor:
    """Sound in [-1, 1] times 10^(gain_db / 20), or as much of it as does not clip; its waveform keeps its form."""
    loudest = audio.abs().max().clamp_min(1e-6).item()
    return (audio * min(10 ** (gain_db / 20), 1 / loudest)).clamp(-1, 1)


def _resize_rgb(rgb: Tensor, size_px: int) -> Tensor:
    if rgb.shape[-1] == size_px:
        return rgb
    return F.interpolate(rgb, size=(size_px, size_px), mode="bilinear", antialias=True).clamp(0, 1)


def _flip_camera(camera_px: Tensor, size_px: int) -> Tensor:
    f_px, cx, cy = camera_px.unbind(-1)
    return torch.stack([f_px, size_px - cx, cy], -1)


def _each_map(example: Example, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The same change of every map that is not a colour."""
    mean_head = example.mean_head_mm_F1HW
    return {
        "depth_mm_F1HW": change(example.depth_mm_F1HW),
        "skin_F1HW": change(example.skin_F1HW),
        "confidence_F1HW": change(example.confidence_F1HW),
        "mean_head_mm_F1HW": None if mean_head is None else change(mean_head),
    }
