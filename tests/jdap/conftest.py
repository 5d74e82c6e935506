"""A pipeline of small networks."""

import pytest
import torch
from networks import small_codec

from jdap.diffusion.schedule import NoiseSchedule
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
        small_codec().eval(),
        JointUNet(unet(6, depth_timestep=True, **SHAPE)).eval(),
        ReferenceNet(unet(3, depth_timestep=False, **SHAPE)).eval(),
        NoiseSchedule(),
        preset="tiny",
        size_px=32,
    )
