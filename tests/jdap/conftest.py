"""A pipeline of small networks."""

import pytest
import torch

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import ImageCodec
from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.pipelines.portrait import PortraitPipeline

SHAPE = {"widths": (32, 64), "layers": 1, "head_dim": 16}


@pytest.fixture
def pipeline() -> PortraitPipeline:
    """A pipeline of small networks with random weights, for pictures of 32 pixels."""
    torch.manual_seed(0)
    return PortraitPipeline(
        ImageCodec(width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1)).eval(),
        JointUNet(unet(6, depth_timestep=True, **SHAPE)).eval(),
        ReferenceNet(unet(3, depth_timestep=False, **SHAPE)).eval(),
        NoiseSchedule(),
        preset="tiny",
        size_px=32,
    )
