"""An ablation of the joint UNet: one network for RGB and another for depth, which share nothing.

Shapes: B pictures, C latent channels of the codec, h x w latent cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from jdap.models.component import Component, marked
from jdap.models.image.attention import AttentionContext, Features, Reference, ReferenceReader
from jdap.models.image.joint_unet import JointUNet, no_tokens, project_features, seen_latents
from jdap.models.image.plain import set_self_attention
from jdap.models.loading import load_strict


class SeparateUNets(Component, ModelMixin):
    """A generator of RGB, and a depth estimator that is given clean RGB: called like the joint UNet that they replace.

    The RGB network (C channels in and out) is led by the reference, as a joint one is, and knows nothing of depth. The
    depth network (2·C in, C out) denoises depth beside the clean latents of its picture; it needs no reference. So
    depth from a picture is one question, RGB another, and both together are RGB first, then its depth. Depth-to-image
    and edits have no answer.

    Each has the joint UNet's widths and layers: together twice its parameters and work, each modality as much as both
    had. What a joint network gains over them it does not gain by size.

    Args:
        rgb: C channels out, and in; 2·C in where it sees the reference's latents.
        depth: 2·C channels in, C out.
        rotary: as the joint UNet's.

    Raises:
        ValueError: where the UNets are not of that form.
    """

    def __init__(self, rgb: UNet2DConditionModel, depth: UNet2DConditionModel, rotary: bool = False) -> None:
        super().__init__()
        channels = rgb.config["out_channels"]
        shapes = [(unet.config["in_channels"], unet.config["out_channels"]) for unet in (rgb, depth)]
        if shapes[0][0] not in (channels, 2 * channels) or shapes[1] != (2 * channels, channels):
            raise ValueError(f"separate UNets have C (or 2·C) → C and 2·C → C channels, got {shapes}")
        self.rgb, self.depth, self.rotary = rgb, depth, rotary
        for unet in (rgb, depth):  # the depth network has no reference, and reads itself alone
            set_self_attention(unet, ReferenceReader, rotary)
            unet.register_to_config(_rotary=rotary)

    @property
    def latent_channels(self) -> int:
        """C: channels of one half."""
        return self.rgb.config["out_channels"]

    def write(self, folder: Path) -> None:
        """Write the two plain UNets to ``rgb`` and ``depth`` in a folder; their configs note ``_rotary``."""
        for name, unet in (("rgb", self.rgb), ("depth", self.depth)):
            unet.save_pretrained(folder / name)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        rgb, depth = (load_strict(UNet2DConditionModel, folder / name) for name in ("rgb", "depth"))
        return cls(rgb, depth, marked(rgb.config, "rotary", folder / "rgb")).eval()

    @apply_forward_hook
    def project_reference(self, features: Features) -> Reference:
        """As :meth:`jdap.models.image.joint_unet.JointUNet.project_reference`, for the RGB network."""
        return project_features(self.rgb, features, self.rotary)

    def forward(
        self,
        rgb_BChw: Tensor,
        depth_BChw: Tensor,
        t_rgb_B: Tensor,
        t_depth_B: Tensor,
        reference: Reference | None = None,
        keep_reference_R: Tensor | None = None,
        tokens_BLD: Tensor | None = None,
        reference_from: int = 0,
        targets: int = 1,
        clean_rgb_BChw: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`jdap.models.image.joint_unet.JointUNet.forward`: the v-prediction of each half, (B, C, h, w) twice.

        The depth network sees ``clean_rgb_BChw``; None takes ``rgb_BChw``, which is clean where RGB is given.
        """
        keep = None if keep_reference_R is None else keep_reference_R.to(rgb_BChw.device)
        none = no_tokens(self.rgb, rgb_BChw)
        halves = [rgb_BChw]
        if self.rgb.config["in_channels"] > self.latent_channels:
            halves.append(seen_latents(rgb_BChw, reference, keep, reference_from, targets))
        layers = None if reference is None else reference.layers
        rgb = self.rgb(
            torch.cat(halves, dim=1),
            t_rgb_B,
            encoder_hidden_states=none if tokens_BLD is None else tokens_BLD,
            cross_attention_kwargs={"beside": AttentionContext(layers, keep, reference_from, targets)},
        ).sample
        given = rgb_BChw if clean_rgb_BChw is None else clean_rgb_BChw
        depth = self.depth(torch.cat([given, depth_BChw], dim=1), t_depth_B, encoder_hidden_states=none).sample
        return rgb, depth


def separated(joint: JointUNet) -> SeparateUNets:
    """Two fresh networks with random weights in the shape of a joint one."""
    channels, config = joint.latent_channels, dict(joint.unet.config) | {"time_cond_proj_dim": None}

    def unet(channels_in: int) -> UNet2DConditionModel:
        return UNet2DConditionModel.from_config(config | {"in_channels": channels_in, "out_channels": channels})

    return SeparateUNets(unet((1 + joint.sees_reference) * channels), unet(2 * channels), joint.rotary)
