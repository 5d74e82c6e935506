"""The joint RGB-depth UNet: a diffusers UNet of 2·C channels with a timestep for each half.

Shapes: B pictures, C latent channels of the codec, h x w latent cells, L tokens of D channels for the
cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from jdap.models.image.attention import Beside, Features, PlainAttention, Projected, ReferenceReader, project


class JointUNet(nn.Module):
    """Denoises the latents of a portrait and of its depth map at once.

    It owns a plain ``UNet2DConditionModel`` of 2·C channels in and out, so weights stay loadable by diffusers. The
    UNet's own timestep is that of the RGB half; the depth half's enters as ``timestep_cond``, its sinusoidal
    embedding through a linear layer which starts at zero, so that a fresh network ignores it.

    Args:
        unet: built with an even ``in_channels == out_channels`` and ``time_cond_proj_dim == block_out_channels[0]``.

    Raises:
        ValueError: where the UNet is not of that form.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        config = unet.config
        channels_in, channels_out = config["in_channels"], config["out_channels"]
        if channels_in != channels_out or channels_in % 2:
            raise ValueError(f"a joint UNet has 2·C channels in and out, got {channels_in} and {channels_out}")
        if config["time_cond_proj_dim"] != config["block_out_channels"][0]:
            raise ValueError("a joint UNet needs time_cond_proj_dim == block_out_channels[0] for the depth timestep")
        self.unet = unet
        processors: dict[str, Any] = {
            name: ReferenceReader(name) if ".attn1." in name else PlainAttention() for name in unet.attn_processors
        }
        unet.set_attn_processor(processors)

    @property
    def latent_channels(self) -> int:
        """C: channels of one half."""
        return self.unet.config["in_channels"] // 2

    def project_reference(self, features: Features) -> Projected:
        """The features of a :class:`jdap.models.image.reference.ReferenceNet` as this network's keys and values.

        They do not depend on what is drawn, so this is done once per training step, and once for all steps of a
        sampling run. Gradients flow to the projections and into the ReferenceNet.
        """
        return project_features(self.unet, features)

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
    ) -> tuple[Tensor, Tensor]:
        """Noisy halves and their timesteps (int64, 0 … T−1) → the v-prediction of each half, (B, C, h, w) twice.

        ``reference`` comes from :meth:`project_reference`; ``keep_reference_B`` bool says which samples may see it
        (None: all). A mask that lies on the CPU and keeps all costs nothing; one on a GPU is not looked into, as that
        would wait for the GPU. ``tokens`` go to the cross-attention (None: one zero token).

        The first ``reference_from`` samples have no reference and take no place in ``reference`` and
        ``keep_reference``: guidance asks for both in one batch.
        """
        unet = self.unet
        if keep_reference_B is not None:
            on_cpu = keep_reference_B.device.type == "cpu"
            keep_reference_B = None if on_cpu and keep_reference_B.all() else keep_reference_B.to(rgb_BChw.device)
        out = unet(
            torch.cat([rgb_BChw, depth_BChw], dim=1),
            t_rgb_B,
            encoder_hidden_states=no_tokens(unet, rgb_BChw) if tokens_BLD is None else tokens_BLD,
            timestep_cond=unet.time_proj(t_depth_B).to(rgb_BChw.dtype),
            cross_attention_kwargs={"beside": Beside(reference, keep_reference_B, reference_from)},
        ).sample
        rgb, depth = out.chunk(2, dim=1)
        return rgb, depth


def project_features(unet: UNet2DConditionModel, features: Features) -> Projected:
    """Features of a ReferenceNet through the projections of a UNet's self-attention layers of the same names."""
    layer: Callable[[str], Any] = unet.get_submodule
    return {name: project(layer(name.removesuffix(".processor")), x) for name, x in features.items()}


def zero_depth_timestep(unet: UNet2DConditionModel) -> None:
    """Start the second timestep at zero, in place: a fresh joint UNet then answers as one with a single timestep."""
    nn.init.zeros_(unet.time_embedding.cond_proj.weight)


def no_tokens(unet: UNet2DConditionModel, like: Tensor) -> Tensor:
    """One zero token for the cross-attention of a network without text: what is left of that layer is its bias."""
    return like.new_zeros(like.shape[0], 1, unet.config["cross_attention_dim"])
