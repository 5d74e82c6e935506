"""Small networks and latents for them, seeded: a codec, a pair of UNets, and the pipeline of them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import ImageCodec
from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.widen import from_unet
from jdap.pipelines.portrait import PortraitPipeline

SHAPE: dict[str, Any] = {"widths": (32, 64), "layers": 1, "head_dim": 16}
C = 3
#: Two resolutions, the latents' and a finer one.
CODEC: dict[str, Any] = {
    "factor": 8,
    "encoder_widths": (16, 32),
    "encoder_blocks": (1, 1),
    "decoder_widths": (16, 32),
    "decoder_blocks": (1, 1),
}


def small_codec(**changes: Any) -> ImageCodec:
    """An untrained codec of 3 channels and factor 8, but for ``changes``."""
    return ImageCodec(**CODEC | changes)


def write_codec(folder: Path, seed: int = 0) -> str:
    """An untrained codec in a folder → the folder's name."""
    torch.manual_seed(seed)
    small_codec().save_pretrained(folder)
    return str(folder)


def small_pipeline(*widths: int) -> PortraitPipeline:
    """A portrait pipeline of untrained networks of such widths (default: 32, 64), for pictures of 32 pixels."""
    torch.manual_seed(0)
    shape = SHAPE | ({"widths": widths} if widths else {})
    return PortraitPipeline(
        small_codec().eval(),
        JointUNet(unet(2 * C, depth_timestep=True, **shape)).eval(),
        ReferenceNet(unet(C, depth_timestep=False, **shape)).eval(),
        NoiseSchedule(),
        preset="tiny",
        size_px=32,
    )


def networks(seed: int = 0) -> tuple[JointUNet, ReferenceNet]:
    """Two levels, two heads and four, and a second timestep that is heard; no positions, nor latents of references."""
    torch.manual_seed(seed)
    joint = JointUNet(unet(2 * C, depth_timestep=True, **SHAPE))
    torch.nn.init.normal_(joint.unet.time_embedding.cond_proj.weight, std=0.1)
    return joint, ReferenceNet(unet(C, depth_timestep=False, **SHAPE))


def seeing_networks(seed: int = 0, plain_levels: int = 0) -> tuple[JointUNet, ReferenceNet]:
    """The same as the presets make them: positions, and the reference's latents in the first layer, which counts."""
    torch.manual_seed(seed)
    joint, reference = from_unet(unet(C, plain_levels=plain_levels, **SHAPE), rotary=True)
    for weight in (joint.unet.time_embedding.cond_proj.weight, joint.unet.conv_in.weight[:, 2 * C :]):
        torch.nn.init.normal_(weight, std=0.1)
    return joint, reference


def latents(batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy RGB, noisy depth and the reference: (B, C, 8, 8) each."""
    generator = torch.Generator().manual_seed(seed)
    rgb, depth, reference = torch.randn(3, batch, C, 8, 8, generator=generator)
    return rgb, depth, reference


def timesteps(batch: int = 2) -> tuple[Tensor, Tensor]:
    """(t_rgb, t_depth), different for every sample."""
    t = torch.arange(batch) * 37 % 1000
    return t, 999 - t
