"""The joint RGB-depth UNet: a diffusers UNet of 2·C channels with a timestep for each half.

Shapes: B pictures, C latent channels of the codec, h x w latent cells, L tokens of D channels for the
cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from jdap.models.image.attention import AttentionContext, Features, KeyValue, Reference, ReferenceReader
from jdap.models.image.plain import AroundOneUNet, set_self_attention
from jdap.models.image.rotary import turned


class JointUNet(AroundOneUNet, ModelMixin):
    """Denoises the latents of a portrait and of its depth map at once.

    It owns a plain ``UNet2DConditionModel`` of 2·C channels out, which is what a weights folder holds. In go the two
    noisy halves, and in a network of 3·C channels in the latents of the reference as well: places that look alike need
    no attention. The UNet's own timestep is that of the RGB half; the depth half's enters as ``timestep_cond``, its
    sinusoidal embedding through a linear layer which starts at zero, so that a fresh network ignores it.

    Args:
        unet: built with an even ``out_channels``, as many ``in_channels`` or half of them more, and
            ``time_cond_proj_dim == block_out_channels[0]``.
        rotary: whether self-attention knows where its cells are (:mod:`jdap.models.image.rotary`).

    Raises:
        ValueError: where the UNet is not of that form.
    """

    def __init__(self, unet: UNet2DConditionModel, rotary: bool = False) -> None:
        super().__init__(unet, rotary)
        config = unet.config
        channels_in, channels_out = config["in_channels"], config["out_channels"]
        if channels_out % 2 or channels_in not in (channels_out, channels_out // 2 * 3):
            raise ValueError(
                f"a joint UNet has 2·C channels in (3·C with the reference's) and 2·C out, "
                f"got {channels_in} and {channels_out}"
            )
        if config["time_cond_proj_dim"] != config["block_out_channels"][0]:
            raise ValueError("a joint UNet needs time_cond_proj_dim == block_out_channels[0] for the depth timestep")
        set_self_attention(unet, ReferenceReader, rotary)

    @property
    def latent_channels(self) -> int:
        """C: channels of one half."""
        return self.unet.config["out_channels"] // 2

    @property
    def sees_reference(self) -> bool:
        """Whether the reference's latents go into the first layer beside what is noisy."""
        return self.unet.config["in_channels"] > self.unet.config["out_channels"]

    @apply_forward_hook
    def project_reference(self, features: Features) -> Reference:
        """The features of a :class:`jdap.models.image.reference.ReferenceNet` as this network's keys and values.

        They do not depend on what is sampled, so this is done once per training step, and once for all steps of a
        sampling run. Gradients flow to the projections and into the ReferenceNet.
        """
        return project_features(self.unet, features, self.rotary)

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
    ) -> tuple[Tensor, Tensor]:
        """Noisy halves and their timesteps (int64, 0 … T−1) → the v-prediction of each half, (B, C, h, w) twice.

        ``reference`` of R people comes from :meth:`project_reference`; each has ``targets`` consecutive pictures in
        the batch. ``keep_reference_R`` bool says whose may be seen (None: all). A mask that lies on the CPU and
        keeps all costs nothing; one on a GPU is not looked into, as that would wait for the GPU. ``tokens`` go to the
        cross-attention (None: none).

        The first ``reference_from`` samples have no reference and take no place in ``reference`` and
        ``keep_reference_R``: guidance asks for both in one batch, and image-to-depth for none.
        """
        unet = self.unet
        keep = seen(keep_reference_R, rgb_BChw.device)
        halves = [rgb_BChw, depth_BChw]
        if self.sees_reference:
            halves.append(seen_latents(rgb_BChw, reference, keep, reference_from, targets))
        layers = None if reference is None else reference.layers
        out = unet(
            torch.cat(halves, dim=1),
            t_rgb_B,
            encoder_hidden_states=no_tokens(unet, rgb_BChw) if tokens_BLD is None else tokens_BLD,
            timestep_cond=unet.time_proj(t_depth_B).to(rgb_BChw.dtype),
            cross_attention_kwargs={"beside": AttentionContext(layers, keep, reference_from, targets)},
        ).sample
        rgb, depth = out.chunk(2, dim=1)
        return rgb, depth


def project_features(unet: nn.Module, features: Features, rotary: bool) -> Reference:
    """Features of a ReferenceNet through the projections of a UNet's self-attention layers of the same names."""
    layer: Callable[[str], Any] = unet.get_submodule
    layers = {}
    for name, x_RMD in features.layers.items():
        attn = layer(name.removesuffix(".processor"))
        key = attn.to_k(x_RMD)
        layers[name] = KeyValue(turned(key, attn.heads, features.pictures) if rotary else key, attn.to_v(x_RMD))
    return Reference(layers, features.latents)


def seen(keep_R: Tensor | None, device: torch.device) -> Tensor | None:
    """Whose reference may be seen, on ``device``; None: all, as far as that can be told without waiting for a GPU."""
    if keep_R is None or (keep_R.device.type == "cpu" and bool(keep_R.all())):
        return None
    return keep_R.to(device)


def seen_latents(
    like_BChw: Tensor, reference: Reference | None, keep_R: Tensor | None, reference_from: int, targets: int
) -> Tensor:
    """The reference's latents for every picture, (B, C, h, w): zeros where there is none or it may not be seen.

    The order is that of :class:`jdap.models.image.attention.AttentionContext`: from ``reference_from`` on the R people,
    with ``targets`` pictures each, as often as they fit.
    """
    if reference is None:
        return torch.zeros_like(like_BChw)
    latents = reference.latents.to(like_BChw.dtype)
    if keep_R is not None:
        latents = latents * keep_R[:, None, None, None]
    times = (len(like_BChw) - reference_from) // (len(latents) * targets)
    everyones = latents.repeat_interleave(targets, 0).repeat(times, 1, 1, 1)
    return torch.cat([torch.zeros_like(like_BChw[:reference_from]), everyones])


def zero_depth_timestep(unet: UNet2DConditionModel) -> None:
    """Start the second timestep at zero, in place: a fresh joint UNet then answers as one with a single timestep."""
    nn.init.zeros_(unet.time_embedding.cond_proj.weight)


def no_tokens(unet: UNet2DConditionModel, like: Tensor) -> Tensor:
    """Nothing for the cross-attention of a network without text, (B, 0, D): what is left of that layer is its bias."""
    return like.new_zeros(like.shape[0], 0, unet.config["cross_attention_dim"])
