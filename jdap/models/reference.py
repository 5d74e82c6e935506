"""The ReferenceNet: a copy of the UNet that reads a clean picture of the person.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from jdap.models.attention import PlainAttention, ReferenceWriter
from jdap.models.joint_unet import no_tokens


class ReferenceNet(nn.Module):
    """Turns the latents of a reference picture into keys and values for the joint UNet's self-attention.

    It owns a plain ``UNet2DConditionModel`` of C channels with the joint UNet's widths and attention layers. What comes
    after its last self-attention input never reaches a loss; :meth:`__init__` freezes exactly those parameters, so
    that every trainable one gets a gradient and DDP needs no ``find_unused_parameters``.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        processors: dict[str, Any] = {
            name: ReferenceWriter(name) if ".attn1." in name else PlainAttention() for name in unet.attn_processors
        }
        unet.set_attn_processor(processors)
        for parameter in self._after_last_write():
            parameter.requires_grad_(False)

    def forward(self, latents_BChw: Tensor) -> dict[str, Tensor]:
        """Clean latents (B, C, h, w) → features by the name of the self-attention layer, (B, tokens, channels)."""
        written: dict[str, Tensor] = {}
        self.unet(
            latents_BChw,
            latents_BChw.new_zeros(latents_BChw.shape[0]),
            encoder_hidden_states=no_tokens(self.unet, latents_BChw),
            cross_attention_kwargs={"written": written},
        )
        return written

    def _after_last_write(self) -> list[nn.Parameter]:
        blocks: Any = self.unet.up_blocks
        last = blocks[-1].attentions[-1]
        block = last.transformer_blocks[-1]
        dead: list[nn.Module] = [
            block.attn1, block.attn2, block.norm2, block.norm3, block.ff, last.proj_out,
            self.unet.conv_norm_out, self.unet.conv_out,
        ]  # fmt: skip
        return [parameter for module in dead for parameter in module.parameters()]
