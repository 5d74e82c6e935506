"""An ablation of the joint UNet: one network for RGB and another for depth, which share nothing.

Shapes: B pictures, C latent channels of the codec, h x w latent cells.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from jdap.models.image.attention import Beside, Features, PlainAttention, Projected, ReferenceReader
from jdap.models.image.joint_unet import JointUNet, no_tokens, project_features


class SeparateUNets(nn.Module):
    """A generator of RGB, and a depth estimator that is given clean RGB: called like the joint UNet that they replace.

    The RGB network (C channels in and out) is led by the reference, as a joint one is, and knows nothing of depth. The
    depth network (2·C in, C out) denoises depth beside the clean latents of its picture; it needs no reference. So
    depth from a picture is one question, RGB another, and both together are RGB first, then its depth. Depth-to-image
    and edits have no answer.

    Each has the joint UNet's widths and layers: together twice its parameters and work, each modality as much as both
    had. What a joint network gains over them it does not gain by size.

    Args:
        rgb: C channels in and out.
        depth: 2·C channels in, C out.

    Raises:
        ValueError: where the UNets are not of that form.
    """

    def __init__(self, rgb: UNet2DConditionModel, depth: UNet2DConditionModel) -> None:
        super().__init__()
        channels = rgb.config["in_channels"]
        shapes = [(unet.config["in_channels"], unet.config["out_channels"]) for unet in (rgb, depth)]
        if shapes != [(channels, channels), (2 * channels, channels)]:
            raise ValueError(f"separate UNets have C → C and 2·C → C channels, got {shapes}")
        self.rgb, self.depth = rgb, depth
        readers: dict[str, Any] = {
            name: ReferenceReader(name) if ".attn1." in name else PlainAttention() for name in rgb.attn_processors
        }
        rgb.set_attn_processor(readers)
        depth.set_attn_processor(PlainAttention())  # type: ignore[arg-type]

    @property
    def latent_channels(self) -> int:
        """C: channels of one half."""
        return self.rgb.config["in_channels"]

    def project_reference(self, features: Features) -> Projected:
        """As :meth:`jdap.models.image.joint_unet.JointUNet.project_reference`, for the RGB network."""
        return project_features(self.rgb, features)

    def forward(
        self,
        rgb_BChw: Tensor,
        depth_BChw: Tensor,
        t_rgb_B: Tensor,
        t_depth_B: Tensor,
        reference: Projected | None = None,
        keep_reference_B: Tensor | None = None,
        tokens_BLD: Tensor | None = None,
        reference_from: int = 0,
        clean_rgb_BChw: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`jdap.models.image.joint_unet.JointUNet.forward`: the v-prediction of each half, (B, C, h, w) twice.

        The depth network sees ``clean_rgb_BChw``; None takes ``rgb_BChw``, which is clean where RGB is given.
        """
        keep = None if keep_reference_B is None else keep_reference_B.to(rgb_BChw.device)
        none = no_tokens(self.rgb, rgb_BChw)
        rgb = self.rgb(
            rgb_BChw,
            t_rgb_B,
            encoder_hidden_states=none if tokens_BLD is None else tokens_BLD,
            cross_attention_kwargs={"beside": Beside(reference, keep, reference_from)},
        ).sample
        given = rgb_BChw if clean_rgb_BChw is None else clean_rgb_BChw
        depth = self.depth(torch.cat([given, depth_BChw], dim=1), t_depth_B, encoder_hidden_states=none).sample
        return rgb, depth


def separated(joint: JointUNet) -> SeparateUNets:
    """Two fresh networks with random weights in the shape of a joint one."""
    channels, config = joint.latent_channels, dict(joint.unet.config) | {"time_cond_proj_dim": None}

    def unet(channels_in: int) -> UNet2DConditionModel:
        return UNet2DConditionModel.from_config(config | {"in_channels": channels_in, "out_channels": channels})

    return SeparateUNets(unet(channels), unet(2 * channels))
