"""Networks around one plain UNet, which is what their folder holds; and what its layers of attention become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from jdap.models.component import Component, marked
from jdap.models.image.attention import PlainAttention
from jdap.models.loading import load_strict


class AroundOneUNet(Component, ModelMixin):
    """``unet``, whose config notes ``_rotary``: whether self-attention knows where its cells are."""

    def __init__(self, unet: UNet2DConditionModel, rotary: bool = False) -> None:
        super().__init__()
        self.unet, self.rotary = unet, rotary
        unet.register_to_config(_rotary=rotary)

    def write(self, folder: Path) -> None:
        """Write the plain UNet."""
        self.unet.save_pretrained(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        unet = load_strict(UNet2DConditionModel, folder)
        return cls(unet, marked(unet.config, "rotary", folder)).eval()


def set_self_attention(unet: UNet2DConditionModel, processor: Callable[[str, bool], Any], rotary: bool) -> None:
    """Give each self-attention a ``processor(name, rotary)``, and each cross-attention a plain one, in place."""
    processors: dict[str, Any] = {
        name: processor(name, rotary) if ".attn1." in name else PlainAttention() for name in unet.attn_processors
    }
    unet.set_attn_processor(processors)


def sees(block: Any) -> bool:
    """Whether a block of a UNet has spatial attention."""
    return getattr(block, "has_cross_attention", False)
