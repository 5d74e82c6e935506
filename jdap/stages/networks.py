"""Where a stage's networks come from: a preset from scratch, or a weights folder."""

from __future__ import annotations

from typing import NamedTuple

import torch

from jdap.models.build import build
from jdap.models.codec import Codec, load_codec
from jdap.models.joint_unet import JointUNet
from jdap.models.reference import ReferenceNet
from jdap.pipelines.portrait import PortraitPipeline
from jdap.shipped import resolve


class Networks(NamedTuple):
    """What the image stage consists of: a frozen ``codec``, and what trains."""

    codec: Codec
    unet: JointUNet
    reference: ReferenceNet


def networks(preset: str, codec: str, init: str | None = None) -> Networks:
    """The networks of a stage, in training mode but for the frozen codec, on the CPU, float32.

    Args:
        preset: name of the builder (:data:`jdap.models.build.BUILDERS`).
        codec: folder of the image codec, or ``shipped:NAME``.
        init: weights folder whose UNets training starts from; None: random ones.

    Raises:
        ValueError: for an unknown preset, and where ``init`` is of another preset or has other latents.
        WeightsError: for a folder that cannot be used.
    """
    frozen = load_codec(resolve(codec)).requires_grad_(False)
    if init is None:
        unet, reference = build(preset, frozen.latent_channels)
    else:
        unet, reference = _of_weights_folder(resolve(init), preset, frozen.latent_channels)
    # channels last: a fifth faster on a CPU, and what tensor cores want
    for network in (unet, reference):
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Networks(frozen, unet, reference)


def _of_weights_folder(folder: str, preset: str, channels: int) -> tuple[JointUNet, ReferenceNet]:
    start = PortraitPipeline.from_pretrained(folder)
    if (start.preset, start.codec.latent_channels) != (preset, channels):
        raise ValueError(
            f"model.init {folder}: preset {start.preset} with {start.codec.latent_channels} latent channels, "
            f"but model.preset is {preset} and model.codec has {channels}"
        )
    return start.unet, start.reference
