"""From a plain UNet to the two networks of the image model, which start with what it knows; and back.

Shapes: C latent channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import fill_strict


def from_unet(
    unet: UNet2DConditionModel, sees_reference: bool = True, rotary: bool = False
) -> tuple[JointUNet, ReferenceNet]:
    """The joint UNet and the ReferenceNet, both with the weights of one plain UNet; they share no memory."""
    return JointUNet(widen(unet, sees_reference), rotary), ReferenceNet(unet, rotary)


@torch.no_grad()
def widen(unet: UNet2DConditionModel, sees_reference: bool = True) -> UNet2DConditionModel:
    """A UNet of C channels and one timestep → one of 2·C channels and two, which answers as the old one did.

    ``conv_in`` is there twice, at half its weight; ``conv_out`` twice; the second timestep's projection is zero. So
    where both halves hold the same latents, each half of the output is the old network's, whatever the second timestep
    is. With ``sees_reference`` there are C more channels in, for the reference's latents, whose weights are zero. The
    result shares no memory with ``unet``.

    Text cross-attention stays as it is, and without image tokens it sees one zero token. Its keys and values have no
    bias, so what is left of the layer is its output's bias. That is not the answer to an empty prompt, which is a text
    of 77 tokens to Stable Diffusion: training has to bridge it, and needs no text encoder in return.
    """
    # without diffusers' own notes, which would turn what is changed here back to its default
    config: dict[str, Any] = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    config |= {
        "in_channels": (2 + sees_reference) * config["in_channels"],
        "out_channels": 2 * config["out_channels"],
        "time_cond_proj_dim": config["block_out_channels"][0],
    }
    with torch.device("meta"):
        wide: UNet2DConditionModel = UNet2DConditionModel.from_config(config)
    tensors: dict[str, Tensor] = dict(unet.state_dict())
    halves = tensors["conv_in.weight"] / 2
    tensors["conv_in.weight"] = torch.cat([halves, halves, *[torch.zeros_like(halves)] * sees_reference], dim=1)
    for name in ("conv_out.weight", "conv_out.bias"):
        tensors[name] = torch.cat([tensors[name], tensors[name]])
    shape = wide.state_dict()["time_embedding.cond_proj.weight"].shape
    tensors["time_embedding.cond_proj.weight"] = torch.zeros(shape)
    fill_strict(wide, tensors, Path("widened UNet"))
    return wide.eval()


@torch.no_grad()
def narrow(joint: JointUNet) -> UNet2DConditionModel:
    """The RGB half of a joint UNet: a UNet of C channels and one timestep with its weights; it shares no memory.

    It is what a ReferenceNet starts as (:class:`jdap.models.image.reference.ReferenceNet`). Self-attention has learnt
    to find what belongs together in the joint UNet's own features, so with these features of a picture of the person it
    finds the person at once; a ReferenceNet with features of its own has to learn them while nobody looks at them.
    """
    wide, channels = joint.unet, joint.latent_channels
    config: dict[str, Any] = {name: value for name, value in wide.config.items() if not name.startswith("_")}
    config |= {"in_channels": channels, "out_channels": channels, "time_cond_proj_dim": None}
    with torch.device("meta"):
        plain: UNet2DConditionModel = UNet2DConditionModel.from_config(config)
    tensors = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    del tensors["time_embedding.cond_proj.weight"]
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :channels].clone()
    for name in ("conv_out.weight", "conv_out.bias"):
        tensors[name] = tensors[name][:channels].clone()
    fill_strict(plain, tensors, Path("RGB half of the joint UNet"))
    return plain.eval()
