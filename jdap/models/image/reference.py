"""The ReferenceNet: a copy of the UNet that reads clean pictures of the person.

Shapes: B people, R pictures of each, C latent channels, h x w latent cells, M tokens (of all R), L further tokens.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from jdap.models.image.attention import Features, ReferenceWriter
from jdap.models.image.joint_unet import no_tokens


class ReferenceNet(nn.Module):
    """Turns the latents of reference pictures into features for the joint UNet's self-attention.

    It owns a plain ``UNet2DConditionModel`` of C channels with the joint UNet's widths and attention layers. What comes
    after its last self-attention input never reaches a loss; :meth:`__init__` freezes exactly those parameters, so
    that every trainable one gets a gradient and DDP needs no ``find_unused_parameters``, and leaves the attention
    among it out.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        unread = self._last_block()
        processors: dict[str, Any] = {
            name: ReferenceWriter(
                name if ".attn1." in name else None,
                answers=unet.get_submodule(name.removesuffix(".processor")) not in (unread.attn1, unread.attn2),
            )
            for name in unet.attn_processors
        }
        unet.set_attn_processor(processors)
        for parameter in self._after_last_write():
            parameter.requires_grad_(False)

    def forward(self, latents: Tensor, tokens_BLD: Tensor | None = None) -> Features:
        """Clean latents (B, C, h, w), or (B, R, C, h, w) of R pictures each → features by self-attention layer.

        ``tokens`` are a person's tokens for the cross-attention, shared by their pictures (None: one zero token).
        A feature is (B, M, D) with the M = R · tokens of all of a person's pictures one after the other. Their order
        does not matter: attention is blind to it. Raises ValueError for latents of another form.
        """
        if latents.ndim not in (4, 5):
            raise ValueError(f"reference latents must be (B, C, h, w) or (B, R, C, h, w), got {tuple(latents.shape)}")
        pictures = latents if latents.ndim == 4 else latents.flatten(0, 1)
        people = len(latents)
        if tokens_BLD is None:
            tokens = no_tokens(self.unet, pictures)
        else:
            tokens = tokens_BLD.repeat_interleave(len(pictures) // people, dim=0)
        written: Features = {}
        self.unet(
            pictures,
            pictures.new_zeros(len(pictures)),
            encoder_hidden_states=tokens,
            cross_attention_kwargs={"written": written},
        )
        return {name: feature.reshape(people, -1, feature.shape[-1]) for name, feature in written.items()}

    def _last_block(self) -> Any:
        """The transformer block with the last self-attention."""
        blocks: Any = self.unet.up_blocks
        return blocks[-1].attentions[-1].transformer_blocks[-1]

    def _after_last_write(self) -> list[nn.Parameter]:
        blocks: Any = self.unet.up_blocks
        block = self._last_block()
        dead: list[nn.Module] = [
            block.attn1, block.attn2, block.norm2, block.norm3, block.ff, blocks[-1].attentions[-1].proj_out,
            self.unet.conv_norm_out, self.unet.conv_out,
        ]  # fmt: skip
        return [parameter for module in dead for parameter in module.parameters()]
