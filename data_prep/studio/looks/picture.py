"""The picture that is taken: downsampling, exposure, lens and sensor.

The renderer draws on a grid of 2 S + 1 samples a side, half a pixel apart, laid so that every final pixel's centre
is a sample: sample i lies at i / 2 pixels. RGB is filtered from it with the tent [1, 2, 1] / 4 in both directions,
in linear light; depth and masks are the samples at the pixels' centres themselves, so they are exact.

Shapes: S x S pixels, G = 2 S + 1 samples a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.studio.looks.camera_response import AS_IT_IS, Process, develop, draw_process
from jdap import srgb
from jdap.blur import gaussian_blur


def grid_size(size: int) -> int:
    """Samples a side for a picture of ``size`` pixels."""
    return 2 * size + 1


def grid_camera(camera_px_B3: Tensor) -> Tensor:
    """The camera (B, 3) of the sample grid: sample i, for a rasteriser at i + 0.5, lies at i / 2 pixels."""
    f, cx, cy = camera_px_B3.unbind(-1)
    return torch.stack([2 * f, 2 * cx + 0.5, 2 * cy + 0.5], -1)


def centres(grid_BGG: Tensor) -> Tensor:
    """The samples (B, S, S, …) of a grid (B, G, G, …) at the final pixels' centres, u + 0.5."""
    return grid_BGG[:, 1::2, 1::2]


def downsample(rgb_BGG3: Tensor) -> Tensor:
    """Linear RGB samples (B, G, G, 3) → pixels (B, S, S, 3) by a tent of one pixel's radius."""
    rows = 0.25 * (rgb_BGG3[:, :-1:2] + rgb_BGG3[:, 2::2]) + 0.5 * rgb_BGG3[:, 1::2]
    return 0.25 * (rows[:, :, :-1:2] + rows[:, :, 2::2]) + 0.5 * rows[:, :, 1::2]


@dataclass(frozen=True)
class Sensor:
    """``stops``: exposure against the automatic one; ``blur_px``: Gaussian radius as a share of the picture's side;
    ``noise``: standard deviation of the read noise, linear; ``seed`` of the noise; ``balance``: factors of red, green
    and blue; ``vignette``: share of the light that is lost in the corners; ``motion``: (x, y) of the way that the
    picture moves while it is taken, shares of its side; ``process``: what software does afterwards."""

    stops: float
    blur: float
    noise: float
    seed: int
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    process: Process = AS_IT_IS


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Random exposure, white balance, vignetting; blur for one picture in three, motion for one in ten; noise, from a
    good light's to a dark room's; processing."""
    warmth, green = rng.normal(0, 0.07), rng.normal(0, 0.025)
    shaken, angle = rng.uniform() < 0.1, rng.uniform(0, 2 * np.pi)
    way = rng.uniform(0.008, 0.03) * float(shaken)
    return Sensor(
        stops=float(np.clip(rng.normal(0, 0.4), -1.0, 0.9)),
        blur=rng.uniform(0.001, 0.007) if rng.uniform() < 0.3 else 0.0,
        noise=float(np.exp(rng.uniform(np.log(0.0006), np.log(0.02)))),
        seed=int(rng.integers(2**63)),
        balance=(float(np.exp(warmth)), float(np.exp(green)), float(np.exp(-warmth))),
        vignette=rng.uniform(0, 0.45) * float(rng.uniform() < 0.5),
        motion=(way * float(np.cos(angle)), way * float(np.sin(angle))),
        process=draw_process(rng),
    )


def expose(rgb_BSS3: Tensor, sensors: Sequence[Sensor], gains: Sequence[float], frames: Sequence[int]) -> np.ndarray:
    """Linear RGB (B, S, S, 3) as sensors see it: blurred, amplified by ``gain · 2^stops``, noisy, soft at the white.

    Each picture has its sensor, gain and frame; ``frame`` keeps the noise of consecutive frames apart. Returns sRGB
    (B, S, S, 3) uint8.
    """
    side = rgb_BSS3.shape[1]

    def column(values: list[float]) -> Tensor:
        return rgb_BSS3.new_tensor(values)[:, None, None, None]

    picture = rgb_BSS3.permute(0, 3, 1, 2)
    picture = picture * column([gain * 2.0**sensor.stops for sensor, gain in zip(sensors, gains, strict=True)])
    picture = picture * rgb_BSS3.new_tensor([sensor.balance for sensor in sensors])[:, :, None, None]
    # The natural loss towards the corners, cos⁴ or stronger, as a parabola.
    at = (torch.arange(side, device=picture.device) + 0.5) / side * 2 - 1
    picture = picture * (1 - column([sensor.vignette for sensor in sensors]) * (at.square()[:, None] + at.square()) / 2)
    for i, sensor in enumerate(sensors):
        if sensor.blur > 0:
            picture[i] = gaussian_blur(picture[i : i + 1], sensor.blur * side)[0]
        if any(sensor.motion):
            picture[i] = _shaken(picture[i : i + 1], sensor.motion)[0]
    streams = [np.random.default_rng((sensor.seed, frame)) for sensor, frame in zip(sensors, frames, strict=True)]
    noise = np.stack([stream.standard_normal((3, side, side), dtype=np.float32) for stream in streams])
    # Shot noise grows with the square root of the light.
    spread = column([sensor.noise for sensor in sensors]) * (0.4 + picture.clamp_min(0).sqrt())
    picture = picture + spread * torch.from_numpy(noise).to(picture)
    # A shoulder: linear up to 0.6, then towards 1.
    shoulder = 0.6 + 0.4 * (1 - torch.exp(-(picture - 0.6).clamp_min(0) / 0.4))
    picture = torch.where(picture > 0.6, shoulder, picture)
    encoded = (srgb.from_linear(picture).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return np.stack([develop(rgb, sensor.process) for rgb, sensor in zip(encoded, sensors, strict=True)])


def _shaken(picture_13SS: Tensor, motion: tuple[float, float]) -> Tensor:
    """The mean of five places along a way, whose middle is where the picture is."""
    step = torch.linspace(-0.5, 0.5, 5, device=picture_13SS.device)
    shift = 2 * step[:, None] * picture_13SS.new_tensor(motion)
    affine = torch.cat([torch.eye(2, device=step.device).expand(5, 2, 2), shift[:, :, None]], 2)
    grid = F.affine_grid(affine, [5, *picture_13SS.shape[1:]], align_corners=False)
    moved = F.grid_sample(picture_13SS.expand(5, -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return moved.mean(0, keepdim=True)
