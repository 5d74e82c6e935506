"""What pipelines take and give: pictures, depth and masks as tensors, arrays or PIL images.

One convention everywhere:

===========  ==============================  ==========================================
kind         pictures                        depth (near … far)
===========  ==============================  ==========================================
``"pt"``     (B, 3, H, W) in [-1, 1]         (B, 1, H, W) in [-1, 1]
``"np"``     (B, H, W, 3) in [0, 1]          (B, H, W, 1) in [0, 1]
``"pil"``    a list of RGB images            a list of 16-bit images, :data:`jdap.depth.ENCODING`
===========  ==============================  ==========================================

An answer is of the kind of what was given, unless ``output_type`` says another; where nothing is given it is PIL's.
All must be square. Tensors are taken as they are; arrays and images are brought to the size of the weights.

Shapes: B pictures, R references of a person, C channels, H x W pixels, S pixels the side of the weights' pictures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from jdap import depth as depth_frames
from jdap.diffusion.denoiser import Pair
from jdap.models.codec import Codec

PT, NP, PIL = "pt", "np", "pil"
OUTPUT_TYPES = (PT, NP, PIL)
#: Tensors, arrays, PIL images, or lists of them.
Pictures = Any


class Portrait(NamedTuple):
    """A portrait, ``rgb``, and its normalised ``depth``; as tensors (B, 3, H, W) and (B, 1, H, W) in [-1, 1]."""

    rgb: Any
    depth: Any


class DepthEstimate(NamedTuple):
    """Normalised ``depth``, far largest, and of an ensemble its ``uncertainty`` ≥ 0; as tensors (B, 1, H, W).

    Uncertainty is the standard deviation over the aligned draws, in the depth's unit; None for a single draw.
    """

    depth: Any
    uncertainty: Any = None


def kind_of(given: Pictures, output_type: str | None) -> str:
    """The kind of an answer, one of :data:`OUTPUT_TYPES`. Raises ValueError for another ``output_type``."""
    if output_type is not None:
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        return output_type
    while isinstance(given, list | tuple) and given:
        given = given[0]
    return PT if isinstance(given, Tensor) else NP if isinstance(given, np.ndarray) else PIL


def check_pictures(pictures: Tensor, what: str, channels: int = 3) -> None:
    """Raises ValueError, naming ``what``, unless the pictures are (B, channels, H, W) in [-1, 1], and square."""
    # A NaN fails both comparisons, so it is caught here too.
    right = pictures.ndim == 4 and pictures.shape[1] == channels
    if not right or not (pictures.amin() >= -1 and pictures.amax() <= 1):
        raise ValueError(f"{what} must be (B, {channels}, H, W) in [-1, 1], got {tuple(pictures.shape)}")
    check_square(pictures, what)


def check_square(pictures: Tensor, what: str) -> None:
    """Raises ValueError, naming ``what``, unless the pictures (…, H, W) are square."""
    height, width = pictures.shape[-2:]
    if height != width:
        raise ValueError(f"{what}: {width} x {height} pixels are no square; cut the head out first")


def rgb_of(given: Pictures, what: str, size_px: int) -> Tensor:
    """Pictures of any kind as a tensor (B, 3, H, W), or (B, R, 3, H, W) of lists of lists, in [-1, 1] where right."""
    return _batch(given, what, 3, size_px)


def depth_of(given: Pictures, what: str, size_px: int) -> Tensor:
    """Depth of any kind as a tensor (B, 1, H, W) in [-1, 1] where right; no value is far."""
    return _batch(given, what, 1, size_px)


def depth_at(given: Pictures, size_px: int, count: int) -> Tensor:
    """Depth of ``count`` pictures, tensors too, at the side of the weights' pictures: (B, 1, S, S).

    Raises ValueError unless it is one map for each, square and in [-1, 1].
    """
    depth_B1HW = depth_of(given, "depth", size_px)
    check_pictures(depth_B1HW, "depth", 1)
    if len(depth_B1HW) != count:
        raise ValueError(f"{len(depth_B1HW)} depth maps for {count} pictures: give one for each")
    return torch.stack([sized(one, "depth", size_px) for one in depth_B1HW])


def pictures_of(given: Pictures, what: str, channels: int) -> list[Tensor]:
    """The pictures of a batch, each (C, H, W) of its own size."""
    if isinstance(given, Tensor):
        return list(given)
    return [_stacked(one, what, channels, None) for one in listed(given, channels)]


def listed(given: Pictures, channels: int) -> list[Any]:
    """One picture, or several, as a list."""
    if isinstance(given, np.ndarray) and _is_one(given, channels):
        return [given]
    return [given] if isinstance(given, Image.Image) else list(given)


def _is_one(array: np.ndarray, channels: int) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == channels)


def rgb_as(kind: str, rgb_B3HW: Tensor) -> Pictures:
    """Pictures (B, 3, H, W) in [-1, 1] as a kind."""
    if kind == PT:
        return rgb_B3HW
    array = VaeImageProcessor.pt_to_numpy((rgb_B3HW + 1) / 2)
    return array if kind == NP else VaeImageProcessor.numpy_to_pil(array)


def depth_as(kind: str, depth_B1HW: Tensor) -> Pictures:
    """Depth (B, 1, H, W) in [-1, 1] as a kind."""
    if kind == PT:
        return depth_B1HW
    if kind == NP:
        return VaeImageProcessor.pt_to_numpy((depth_B1HW + 1) / 2)
    return [Image.fromarray(depth_frames.to_uint16(x[0].float().cpu().numpy())) for x in depth_B1HW]


def spread_as(kind: str, spread_B1HW: Tensor) -> Pictures:
    """A standard deviation (B, 1, H, W) of depth as a kind, in its unit; up to 1 (and half of an image's range)."""
    return spread_B1HW if kind == PT else depth_as(kind, 2 * spread_B1HW - 1) if kind == PIL else _half(spread_B1HW)


def decode(codec: Codec, latents: Pair) -> Portrait:
    """The pictures of latents (B, C, h, w) of both halves, float32."""
    rgb, depth = codec.decode(torch.cat(latents)).float().chunk(2)
    return Portrait(rgb.clamp(-1, 1), depth_frames.from_codec(depth))


def _half(spread_B1HW: Tensor) -> np.ndarray:
    return VaeImageProcessor.pt_to_numpy(spread_B1HW / 2)


def _batch(given: Pictures, what: str, channels: int, size_px: int) -> Tensor:
    if isinstance(given, Tensor):
        return given
    made = _stacked(given, what, channels, size_px)
    return made if made.ndim > 3 else made[None]


def _stacked(given: Pictures, what: str, channels: int, size_px: int | None) -> Tensor:
    """One picture → (C, S, S), None: of its own size; several, in whatever lists → one dimension more for each."""
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Image.Image):
        return sized(_of_image(given, channels), what, size_px)
    if isinstance(given, np.ndarray):
        if _is_one(given, channels):
            return sized(_of_array(given, channels), what, size_px)
    elif not isinstance(given, list | tuple):
        raise ValueError(f"{what} must be PIL images, arrays or tensors, got {type(given).__name__}")
    if len(given) == 0 or (isinstance(given, np.ndarray) and given.ndim < 3):
        raise ValueError(f"{what} must hold pictures of {channels} channels")
    made = [_stacked(x, what, channels, size_px) for x in given]
    if len(shapes := dict.fromkeys(tuple(x.shape) for x in made)) > 1:
        raise ValueError(f"{what} must be of one shape, got {', '.join(map(str, shapes))}; bring them to one size")
    return torch.stack(made)


def _of_image(image: Image.Image, channels: int) -> Tensor:
    """(C, H, W) in [-1, 1]."""
    if channels == 3:
        return _of_array(np.asarray(image.convert("RGB")), 3)
    if image.mode.startswith("I"):
        depth = depth_frames.from_uint16(np.array(image))
        return torch.from_numpy(np.nan_to_num(depth, nan=depth_frames.NO_DEPTH).astype(np.float32))[None]
    return _of_array(np.array(image if image.mode == "F" else image.convert("L")), 1)


def _of_array(array: np.ndarray, channels: int) -> Tensor:
    """(H, W, C) in [0, 1], or bytes → (C, H, W) in [-1, 1]; a value outside stays outside, for the check."""
    unit = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    return torch.from_numpy(unit.reshape(*unit.shape[:2], channels)).permute(2, 0, 1) * 2 - 1


def sized(picture_CHW: Tensor, what: str, size_px: int | None) -> Tensor:
    """A square picture brought to a side (None: as it is). Raises ValueError for one that is no square."""
    check_square(picture_CHW, what)
    if size_px in (None, picture_CHW.shape[-1]):
        return picture_CHW
    low, high = picture_CHW.amin(), picture_CHW.amax()
    return F.interpolate(picture_CHW[None], (size_px, size_px), mode="bicubic", antialias=True)[0].clamp(low, high)
