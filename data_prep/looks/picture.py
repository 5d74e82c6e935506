"""The picture around the head: background, downsampling, exposure, lens blur and sensor noise.

The renderer draws on a grid of 2 S + 1 samples a side, half a pixel apart, laid so that every final pixel's centre
is a sample: sample i lies at i / 2 pixels. RGB is filtered from it with the tent [1, 2, 1] / 4 in both directions,
in linear light; depth and masks are the samples at the pixels' centres themselves, so they are exact.

Shapes: S x S pixels, G = 2 S + 1 samples a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


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
    tent = rgb_BGG3.new_tensor([0.25, 0.5, 0.25])
    picture = rgb_BGG3.permute(0, 3, 1, 2)
    kernel = (tent[:, None] * tent).expand(3, 1, 3, 3)
    return F.conv2d(picture, kernel, stride=2, groups=3).permute(0, 2, 3, 1)


def srgb_encode(linear: Tensor) -> Tensor:
    """Linear light to sRGB (IEC 61966-2-1), both 0 … 1; what is outside is clipped."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055)


@dataclass(frozen=True, eq=False)
class Background:
    """``coarse_3HW`` linear RGB, blown up smoothly to any size."""

    coarse_3HW: Tensor

    def draw(self, grid: int, device: torch.device | str) -> Tensor:
        """(grid, grid, 3) linear RGB, 0 or more."""
        picture = self.coarse_3HW[None].to(device)
        picture = F.interpolate(picture, (grid, grid), mode="bicubic", align_corners=True)
        return picture[0].permute(1, 2, 0).clamp_min(0)


def draw_background(rng: np.random.Generator) -> Background:
    """Random: a flat colour, a gradient, soft noise, or blurred blobs and bars, of any brightness."""
    side = 24
    v, u = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    base = _colour(rng)
    kind = rng.choice(["flat", "gradient", "noise", "blobs"], p=[0.15, 0.25, 0.25, 0.35])
    picture = np.broadcast_to(base[:, None, None], (3, side, side)).copy()
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * u + np.sin(angle) * v + 1.5) / 3
    if kind in ("gradient", "blobs"):
        other = base * np.exp(rng.normal(0, 0.5)) if rng.uniform() < 0.6 else _colour(rng)
        picture += (other - base)[:, None, None] * ramp
    if kind == "noise":
        for cells in (3, 6, 12):
            coarse = torch.from_numpy(rng.normal(0, 0.35 * 3 / cells, (1, 3, cells, cells)))
            # Mostly of one colour: brightness varies more than hue.
            coarse = 0.3 * coarse + 0.7 * coarse.mean(1, keepdim=True)
            picture *= np.exp(F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[0].numpy())
    if kind == "blobs":
        for _ in range(rng.integers(3, 10)):
            x, y = rng.uniform(-1.2, 1.2, 2)
            rx, ry = rng.uniform(0.1, 0.9, 2) * (1, rng.choice([1.0, 2.5]))
            inside = np.abs((u - x) / rx) ** 3 + np.abs((v - y) / ry) ** 3
            alpha = rng.uniform(0.3, 0.9) / (1 + np.exp(np.clip(6 * (inside - 1), -30, 30)))
            picture += alpha * (_colour(rng)[:, None, None] - picture)
    return Background(torch.tensor(picture, dtype=torch.float32))


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = np.exp(rng.uniform(np.log(0.01), np.log(0.9)))
    return grey * np.exp(rng.normal(0, 0.35 * rng.uniform() ** 2, 3))


@dataclass(frozen=True)
class Sensor:
    """``stops``: exposure against the automatic one; ``blur_px``: Gaussian radius as a share of the picture's side;
    ``noise``: standard deviation of the read noise, linear; ``seed`` of the noise."""

    stops: float
    blur: float
    noise: float
    seed: int


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Random exposure, a slight blur for one picture in three, slight noise."""
    return Sensor(
        stops=float(np.clip(rng.normal(0, 0.4), -1.0, 0.9)),
        blur=rng.uniform(0.001, 0.004) if rng.uniform() < 0.3 else 0.0,
        noise=rng.uniform(0.0, 0.003),
        seed=int(rng.integers(2**63)),
    )


def expose(rgb_SS3: Tensor, sensor: Sensor, gain: float, frame: int) -> Tensor:
    """Linear RGB (S, S, 3) as the sensor sees it: blurred, amplified by ``gain · 2^stops``, noisy, soft at the
    white end.

    Returns sRGB uint8. ``frame`` keeps the noise of consecutive frames apart.
    """
    side = rgb_SS3.shape[0]
    picture = rgb_SS3.permute(2, 0, 1)[None] * (gain * 2.0**sensor.stops)
    if sensor.blur > 0:
        picture = _gaussian(picture, sensor.blur * side)
    noise = np.random.default_rng((sensor.seed, frame)).standard_normal((3, side, side), dtype=np.float32)
    # Shot noise grows with the square root of the light.
    spread = sensor.noise * (0.4 + picture.clamp_min(0).sqrt())
    picture = picture + spread * torch.from_numpy(noise).to(picture)
    # A shoulder: linear up to 0.6, then towards 1.
    shoulder = 0.6 + 0.4 * (1 - torch.exp(-(picture - 0.6).clamp_min(0) / 0.4))
    picture = torch.where(picture > 0.6, shoulder, picture)
    return (srgb_encode(picture)[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


def _gaussian(picture_13SS: Tensor, radius_px: float) -> Tensor:
    reach = max(1, round(3 * radius_px))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=picture_13SS.device) / radius_px) ** 2)
    taps = taps / taps.sum()
    padded = F.pad(picture_13SS, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, taps.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
    return F.conv2d(across, taps.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)
