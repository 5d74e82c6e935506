"""A small pair of networks and latents for them, seeded."""

import torch
from torch import Tensor

from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet

SHAPE = {"widths": (32, 64), "layers": 1, "head_dim": 16}
C = 3


def networks(seed: int = 0) -> tuple[JointUNet, ReferenceNet]:
    """Two levels, two heads and four, and a second timestep that is heard."""
    torch.manual_seed(seed)
    joint = JointUNet(unet(2 * C, depth_timestep=True, **SHAPE))
    torch.nn.init.normal_(joint.unet.time_embedding.cond_proj.weight, std=0.1)
    return joint, ReferenceNet(unet(C, depth_timestep=False, **SHAPE))


def latents(batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy RGB, noisy depth and the reference: (B, C, 8, 8) each."""
    generator = torch.Generator().manual_seed(seed)
    rgb, depth, reference = torch.randn(3, batch, C, 8, 8, generator=generator)
    return rgb, depth, reference


def timesteps(batch: int = 2) -> tuple[Tensor, Tensor]:
    """(t_rgb, t_depth), different for every sample."""
    t = torch.arange(batch) * 37 % 1000
    return t, 999 - t
