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
Tensors are taken as they are. Arrays and images must be square, and are brought to the size of the weights.

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
from jdap.pipelines.masks import fill_unknown

PT, NP, PIL = "pt", "np", "pil"
OUTPUT_TYPES = (PT, NP, PIL)
#: Tensors, arrays, PIL images, or lists of them.
Pictures = Any


class Portrait(NamedTuple):
    """A portrait, ``rgb``, and its normalised ``depth``; as tensors (B, 3, H, W) and (B, 1, H, W) in [-1, 1]."""

    rgb: Any
    depth: Any


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
    """Raises ValueError, naming ``what``, unless the pictures are (B, channels, H, W) in [-1, 1]."""
    # A NaN fails both comparisons, so it is caught here too.
    right = pictures.ndim == 4 and pictures.shape[1] == channels
    if not right or not (pictures.amin() >= -1 and pictures.amax() <= 1):
        raise ValueError(f"{what} must be (B, {channels}, H, W) in [-1, 1], got {tuple(pictures.shape)}")


def rgb_of(given: Pictures, what: str, size_px: int) -> Tensor:
    """Pictures of any kind as a tensor (B, 3, H, W), or (B, R, 3, H, W) of lists of lists, in [-1, 1] where right."""
    return _batch(given, what, 3, size_px)


def depth_of(given: Pictures, what: str, size_px: int) -> Tensor:
    """Depth of any kind as a tensor (B, 1, H, W) in [-1, 1] where right; no value is far."""
    return _batch(given, what, 1, size_px)


def depth_at(depth_B1HW: Tensor, size_px: int) -> Tensor:
    """Checked depth, brought to the side of the weights' pictures. Raises ValueError unless square and in [-1, 1]."""
    check_pictures(depth_B1HW, "depth", 1)
    height, width = depth_B1HW.shape[-2:]
    if height != width:
        raise ValueError(f"depth must be square, got {width} x {height} pixels")
    return depth_B1HW if width == size_px else torch.stack([_sized(one, "depth", size_px) for one in depth_B1HW])


def known_parts(given: Pictures, known: Pictures, what: str, channels: int, size_px: int) -> tuple[Tensor, Tensor]:
    """Pictures that are known in part, as :func:`rgb_of` or :func:`depth_of` has them, and where: (B, 1, H, W) bool.

    Masks are lighter than middle grey, true or above 0.5 where something is known. Before a picture is brought to
    another size what is unknown is filled from its edge, or it would be mixed into what is known; a pixel is then
    known if all that it covers is. Raises ValueError where masks do not fit the pictures.
    """
    pictures = _each(given, what, channels)
    if isinstance(known, Tensor):
        side = tuple(given.shape[-2:]) if isinstance(given, Tensor) else tuple(known.shape[-2:])
        expected = (len(pictures), 1, *side)
        if known.dtype != torch.bool or known.shape != expected:
            raise ValueError(f"known_{what} must be {expected} bool, got {tuple(known.shape)} {known.dtype}")
    masks = [_mask(one, f"known_{what}") for one in _listed(known, 1)]
    if len(masks) != len(pictures):
        raise ValueError(f"known_{what}: {len(masks)} masks for {len(pictures)} pictures: give one for each")
    made, where = [], []
    for picture, mask in zip(pictures, masks, strict=True):
        own = (int(picture.shape[-2]), int(picture.shape[-1]))
        filled = fill_unknown(picture[None], _known_at(mask, own).to(picture.device))[0]
        aim = own if isinstance(given, Tensor) else (size_px, size_px)
        made.append(filled if aim == own else _sized(filled, what, size_px))
        where.append(_known_at(mask, aim)[0])
    return torch.stack(made), torch.stack(where).to(made[0].device)


def _known_at(mask_1HW: Tensor, side: tuple[int, int]) -> Tensor:
    """(1, 1, *side) bool: a pixel is known if all is that it covers."""
    return F.interpolate(mask_1HW[None].float(), side, mode="area") > 1 - 1e-6


def _each(given: Pictures, what: str, channels: int) -> list[Tensor]:
    """The pictures of a batch, each (C, H, W) of its own size."""
    if isinstance(given, Tensor):
        return list(given)
    return [_stacked(one, what, channels, None) for one in _listed(given, channels)]


def _listed(given: Pictures, channels: int) -> list[Any]:
    """One picture, or several, as a list."""
    if isinstance(given, np.ndarray) and (given.ndim == 2 or (given.ndim == 3 and given.shape[-1] == channels)):
        return [given]
    return [given] if isinstance(given, Image.Image) else list(given)


def _mask(given: Any, what: str) -> Tensor:
    """One mask as (1, H, W) bool."""
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Image.Image):
        values, white = np.array(given), 65535 if given.mode.startswith("I") else 255
        if values.ndim == 3 or given.mode == "P":
            values = np.array(given.convert("L"))
        return torch.from_numpy(values.astype(np.float32) > (0.5 if given.mode in ("1", "F") else white / 2))[None]
    values = np.asarray(given)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"{what} must be (H, W) or (H, W, 1), got {values.shape}")
    white = 255 if values.dtype == np.uint8 and values.max(initial=0) > 1 else 1
    return torch.from_numpy(values.astype(np.float32) > white / 2)[None]


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
        return _sized(_of_image(given, channels), what, size_px)
    if isinstance(given, np.ndarray):
        one = given.ndim == 2 or (given.ndim == 3 and given.shape[-1] == channels)
        if one:
            return _sized(_of_array(given, channels), what, size_px)
    elif not isinstance(given, list | tuple):
        raise ValueError(f"{what} must be PIL images, arrays or tensors, got {type(given).__name__}")
    if len(given) == 0 or (isinstance(given, np.ndarray) and given.ndim < 3):
        raise ValueError(f"{what} must hold pictures of {channels} channels")
    return torch.stack([_stacked(x, what, channels, size_px) for x in given])


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


def _sized(picture_CHW: Tensor, what: str, size_px: int | None) -> Tensor:
    height, width = picture_CHW.shape[1:]
    if height != width:
        raise ValueError(f"{what}: {width} x {height} pixels are no square; cut the head out first")
    if size_px in (None, width):
        return picture_CHW
    low, high = picture_CHW.amin(), picture_CHW.amax()
    return F.interpolate(picture_CHW[None], (size_px, size_px), mode="bicubic", antialias=True)[0].clamp(low, high)
