"""Named builders: a preset's networks from plain numbers. C always comes from the codec."""

from __future__ import annotations

from collections.abc import Callable

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from jdap.models.image.joint_unet import JointUNet, zero_depth_timestep
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.widen import from_unet

#: Channels of a network's levels, from the finest on.
Widths = tuple[int, ...]
Built = tuple[JointUNet, ReferenceNet]


def unet(
    channels: int,
    widths: Widths,
    *,
    layers: int,
    head_dim: int,
    plain_levels: int = 0,
    depth_timestep: bool = False,
) -> UNet2DConditionModel:
    """A diffusers UNet of ``channels`` in and out with attention on every level but the ``plain_levels`` finest.

    The last level keeps its resolution: there are ``len(widths) - 1`` halvings. ``depth_timestep`` adds the second
    timestep's input, at zero.
    """
    seeing = len(widths) - plain_levels
    network = UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) * plain_levels + ("CrossAttnDownBlock2D",) * seeing,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * seeing + ("UpBlock2D",) * plain_levels,
        layers_per_block=layers,
        # diffusers' "attention_head_dim" is the number of heads for this class
        attention_head_dim=tuple(max(1, width // head_dim) for width in widths),
        cross_attention_dim=widths[-1],
        norm_num_groups=16,
        time_cond_proj_dim=widths[0] if depth_timestep else None,
    )
    if depth_timestep:
        zero_depth_timestep(network)
    return network


def tiny(latent_channels: int, widths: Widths | None = None) -> Built:
    """The networks of preset ``tiny``, for 32² latents: six million parameters each.

    The first level has no attention: 1,024 cells would cost more there than all the rest.
    """
    return _pair(latent_channels, widths or TINY_WIDTHS, layers=1, head_dim=32, plain_levels=1)


def small(latent_channels: int, widths: Widths | None = None) -> Built:
    """The networks of preset ``small``, for 32² latents: 135 million parameters each, for one GPU from scratch."""
    return _pair(latent_channels, widths or SMALL_WIDTHS, layers=2, head_dim=64)


def sd15(latent_channels: int, widths: Widths | None = None) -> Built:
    """The networks of preset ``sd15``, for 64² latents, with random weights: 860 million parameters each.

    The architecture is Stable Diffusion 1.5's, whose weights :mod:`jdap.models.image.stable_diffusion` brings.
    """
    widths = widths or SD15_WIDTHS
    if any(width % 32 for width in widths):
        raise ValueError(f"widths must be multiples of 32, the groups of a norm; got {widths}")
    levels = len(widths) - 1
    plain = UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D",) * levels + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * levels,
        layers_per_block=2,
        attention_head_dim=8,  # heads, not channels; as above
        cross_attention_dim=768,
    )
    return from_unet(plain)


#: Two GFLOP a pass and picture, most of them on 16² cells: there the detail is, and there the reference is looked up.
TINY_WIDTHS: Widths = (32, 128, 128)
SMALL_WIDTHS: Widths = (128, 256, 384, 512)
SD15_WIDTHS: Widths = (320, 640, 1280, 1280)

BUILDERS: dict[str, Callable[[int, Widths | None], Built]] = {"tiny": tiny, "small": small, "sd15": sd15}


def build(preset: str, latent_channels: int, widths: Widths | None = None) -> Built:
    """The networks of a preset, by name, with random weights; ``widths`` in place of its own, a number a level.

    Raises ValueError for an unknown preset, or widths that the preset's layers cannot have.
    """
    if preset not in BUILDERS:
        raise ValueError(f"unknown preset {preset!r}; there are: {', '.join(BUILDERS)}")
    return BUILDERS[preset](latent_channels, widths)


def _pair(latent_channels: int, widths: Widths, *, layers: int, head_dim: int, plain_levels: int = 0) -> Built:
    seeing = widths[plain_levels:]
    if not seeing or any(width % head_dim for width in seeing) or any(width % 16 for width in widths):
        raise ValueError(
            f"widths must be multiples of {head_dim}, the channels of an attention head, from level {plain_levels} on, "
            f"and of 16 before it; got {widths}"
        )
    # Both start as the same UNet: what the ReferenceNet writes down looks like what the joint UNet looks up.
    made = unet(latent_channels, widths, layers=layers, head_dim=head_dim, plain_levels=plain_levels)
    return from_unet(made, rotary=True)
