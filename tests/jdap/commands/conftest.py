"""Untrained networks of 32 pixels, stored as a weights folder; and Ctrl-C."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import small_codec
from talker import talker

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline for pictures of 32 pixels."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"widths": (32, 32), "layers": 1, "head_dim": 16}
    folder = tmp_path_factory.mktemp("small") / "weights"
    PortraitPipeline(
        small_codec(),
        JointUNet(unet(6, depth_timestep=True, **shape)),
        ReferenceNet(unet(3, depth_timestep=False, **shape)),
        NoiseSchedule(),
        preset="tiny",
        size_px=32,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def talking_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that talks, for pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("talking") / "weights"
    talker().save_pretrained(folder)
    return folder


@pytest.fixture
def hears_sigint():
    """Jobs in the background have Ctrl-C ignored, and Lightning has once it heard one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
