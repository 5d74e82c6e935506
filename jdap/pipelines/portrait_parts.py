"""Whether the parts of an image model are sound by themselves, and go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from jdap.models.image.separate import SeparateUNets


def check_settings(settings: dict[str, tuple[Any, type]]) -> None:
    """Raises ValueError for a setting that is not of its type, or not given."""
    for name, (value, kind) in settings.items():
        if type(value) is not kind or (kind is not bool and not value):
            raise ValueError(f"{name} must be {kind.__name__}, and given, got {value!r}")


def check_image_model(codec: Any, unet: Any, reference: Any, image_tokens: Any, size_px: int) -> None:
    """Raises ValueError where components that are sound by themselves do not go together."""
    plain: UNet2DConditionModel = unet.rgb if isinstance(unet, SeparateUNets) else unet.unet
    channels = {"codec": codec.latent_channels, "unet": unet.latent_channels}
    if reference is not None:
        channels["reference"] = reference.unet.config["in_channels"]
        if _self_attention(plain) != _self_attention(reference.unet):
            raise ValueError("unet and reference have different layers of self-attention: they are not of one model")
    if len(set(channels.values())) != 1:
        raise ValueError(f"latent channels differ: {', '.join(f'{name} {c}' for name, c in channels.items())}")
    if size_px < 1 or size_px % codec.factor:
        raise ValueError(f"size_px {size_px} is no multiple of the codec's factor {codec.factor}")
    if image_tokens is not None and image_tokens.cross_attention_dim != plain.config["cross_attention_dim"]:
        raise ValueError(
            f"image_tokens has tokens of {image_tokens.cross_attention_dim} channels, which unet does not take"
        )


def _self_attention(unet: UNet2DConditionModel) -> dict[str, int]:
    """Channels by layer, of spatial layers."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if ".attn1." in name]
    layer: Callable[[str], Any] = unet.get_submodule
    return {name: layer(name).to_k.in_features for name in names if "motion_modules" not in name}
