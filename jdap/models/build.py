"""Named builders: a preset's networks from plain numbers. C always comes from the codec."""

from __future__ import annotations

from collections.abc import Callable

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from jdap.models.joint_unet import JointUNet, zero_depth_timestep
from jdap.models.reference import ReferenceNet


def unet(
    channels: int, widths: tuple[int, ...], *, layers: int, head_dim: int, depth_timestep: bool
) -> UNet2DConditionModel:
    """A diffusers UNet of ``channels`` in and out with attention on every level.

    The last level keeps its resolution: there are ``len(widths) - 1`` halvings. ``depth_timestep`` adds the second
    timestep's input, at zero.
    """
    network = UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        layers_per_block=layers,
        # diffusers' "attention_head_dim" is the number of heads for this class
        attention_head_dim=tuple(width // head_dim for width in widths),
        cross_attention_dim=widths[0],
        norm_num_groups=16,
        time_cond_proj_dim=widths[0] if depth_timestep else None,
    )
    if depth_timestep:
        zero_depth_timestep(network)
    return network


def tiny(latent_channels: int) -> tuple[JointUNet, ReferenceNet]:
    """The networks of preset ``tiny``, for 16² latents: four million parameters each."""
    shape = {"widths": TINY_WIDTHS, "layers": 1, "head_dim": 32}
    return (
        JointUNet(unet(2 * latent_channels, depth_timestep=True, **shape)),  # type: ignore[arg-type]
        ReferenceNet(unet(latent_channels, depth_timestep=False, **shape)),  # type: ignore[arg-type]
    )


#: 0.3 GFLOP a pass and picture, so that two CPU cores can train a thousand steps of 8 in a quarter of an hour.
TINY_WIDTHS = (32, 64, 128)

BUILDERS: dict[str, Callable[[int], tuple[JointUNet, ReferenceNet]]] = {"tiny": tiny}


def build(preset: str, latent_channels: int) -> tuple[JointUNet, ReferenceNet]:
    """The networks of a preset, by name. Raises ValueError for an unknown one."""
    if preset not in BUILDERS:
        raise ValueError(f"unknown preset {preset!r}; there are: {', '.join(BUILDERS)}")
    return BUILDERS[preset](latent_channels)
