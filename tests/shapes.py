"""Shapes whose depth and normals are known in closed form, before a pinhole camera."""

import torch
from torch import Tensor

from jdap.light.ratio import Shape

SIZE = 64
CAMERA = torch.tensor([[170.0, 32.0, 32.0]])
CENTRE_MM, RADIUS_MM = torch.tensor([0.0, 0.0, 600.0]), 90.0


def sphere(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """z-depth (1, 1, H, W) of a ball, 0 beside it, and its outward unit normals (1, 3, H, W), camera axes."""
    camera = CAMERA * size / SIZE
    v, u = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    rays = torch.stack([(u - camera[0, 1]) / camera[0, 0], (v - camera[0, 2]) / camera[0, 0], torch.ones_like(u)])
    a, b = rays.square().sum(0), (rays * CENTRE_MM[:, None, None]).sum(0)
    root = b.square() - a * (CENTRE_MM.square().sum() - RADIUS_MM**2)
    hit = root > 0
    z = torch.where(hit, (b - root.clamp_min(0).sqrt()) / a, torch.zeros_like(a))
    normals = (rays * z - CENTRE_MM[:, None, None]) / RADIUS_MM * hit
    return z[None, None], normals[None]


def ball() -> Shape:
    """The ball as a shape, with its exact normals."""
    depth_mm, normals = sphere()
    return Shape(normals, depth_mm, CAMERA)
