"""The ReferenceNet: a copy of the UNet that reads clean pictures of the person.

Shapes: R people, P pictures of each, C latent channels, h x w latent cells, M tokens (of all P), L further tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jdap.models.image.attention import AttentionContext, Features, ReferenceWriter
from jdap.models.image.joint_unet import no_tokens
from jdap.models.image.plain import AroundOneUNet, sees, set_self_attention


class ReferenceNet(AroundOneUNet, ModelMixin):
    """Turns the latents of reference pictures into features for the joint UNet's self-attention.

    It owns a plain ``UNet2DConditionModel`` of C channels with the joint UNet's widths and attention layers, and runs
    it just as far as its last self-attention. Nobody would read what comes after, so it is not computed, and
    :meth:`__init__` freezes exactly those parameters: every trainable one gets a gradient, and DDP needs no
    ``find_unused_parameters``.

    Args:
        unet: with attention on one level at least.
        rotary: whether self-attention knows where its cells are, as in the joint UNet.
    """

    def __init__(self, unet: UNet2DConditionModel, rotary: bool = False) -> None:
        super().__init__(unet, rotary)
        set_self_attention(unet, ReferenceWriter, rotary)
        blocks: Any = unet.up_blocks
        self._last = max(i for i, block in enumerate(blocks) if sees(block))
        for parameter in self.unread():
            parameter.requires_grad_(False)

    def forward(self, latents: Tensor, tokens_RLD: Tensor | None = None) -> Features:
        """Clean latents (R, C, h, w), or (R, P, C, h, w) of P pictures each → features by self-attention layer.

        ``tokens`` are a person's tokens for the cross-attention, shared by their pictures (None: none).
        A feature is (R, M, D) with the M = P · tokens of all of a person's pictures one after the other. Raises
        ValueError for latents of another form.
        """
        if latents.ndim not in (4, 5):
            raise ValueError(f"reference latents must be (R, C, h, w) or (R, P, C, h, w), got {tuple(latents.shape)}")
        pictures = latents if latents.ndim == 4 else latents.flatten(0, 1)
        count = len(pictures) // len(latents)
        tokens = no_tokens(self.unet, pictures) if tokens_RLD is None else tokens_RLD.repeat_interleave(count, dim=0)
        written: dict[str, Tensor] = {}
        self._read(pictures, tokens, AttentionContext(written=written))
        layers = {name: feature.reshape(len(latents), -1, feature.shape[-1]) for name, feature in written.items()}
        return Features(layers, latents if latents.ndim == 4 else latents[:, 0], count)

    def _read(self, pictures: Tensor, tokens: Tensor, beside: AttentionContext) -> None:
        """The UNet's own blocks in its own order, up to the input of the last self-attention."""
        unet: Any = self.unet
        seeing = {"encoder_hidden_states": tokens, "cross_attention_kwargs": {"beside": beside}}
        t = pictures.new_zeros(len(pictures))
        emb = unet.time_embedding(unet.time_proj(t).to(pictures.dtype))
        x = unet.conv_in(pictures)
        skips = [x]
        for block in unet.down_blocks:
            x, left = self._run(block, x, temb=emb, **(seeing if sees(block) else {}))
            skips += left
        x = self._run(unet.mid_block, x, temb=emb, **seeing)
        for i, block in enumerate(unet.up_blocks[: self._last + 1]):
            count = len(block.resnets)
            taken, skips = tuple(skips[-count:]), skips[:-count]
            if i == self._last:
                self._read_last(block, x, emb, taken, seeing)
                return
            size = skips[-1].shape[2:]
            more = {"res_hidden_states_tuple": taken, "upsample_size": size, **(seeing if sees(block) else {})}
            x = self._run(block, x, temb=emb, **more)

    def _read_last(self, block: Any, x: Tensor, emb: Tensor, skips: tuple[Tensor, ...], seeing: dict[str, Any]) -> None:
        *before, last = zip(block.resnets, block.attentions, reversed(skips), strict=True)
        for resnet, attention, skip in before:
            x = self._run(resnet, torch.cat([x, skip], dim=1), temb=emb)
            x = self._run(attention, x, return_dict=False, **seeing)[0]
        resnet, attention, skip = last
        x = self._run(resnet, torch.cat([x, skip], dim=1), temb=emb)
        # what a Transformer2DModel does before its first block's self-attention
        x = attention.norm(x)
        if attention.use_linear_projection:
            x = attention.proj_in(x.flatten(2).transpose(1, 2))
        else:
            x = attention.proj_in(x).flatten(2).transpose(1, 2)
        first: Any = attention.transformer_blocks[0]
        if len(attention.transformer_blocks) > 1:
            raise ValueError("a ReferenceNet has one transformer block in each attention")
        first.attn1.processor.leave(first.norm1(x), seeing["cross_attention_kwargs"]["beside"])

    def _run(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """A block, whose activations are computed again in the backward pass where checkpointing is on.

        Most of diffusers' blocks see to it themselves; once is enough.
        """
        by_itself = getattr(block, "gradient_checkpointing", False)
        if self.unet.is_gradient_checkpointing and torch.is_grad_enabled() and not by_itself:
            return checkpoint(block, *args, use_reentrant=False, **kwargs)
        return block(*args, **kwargs)

    def unread(self) -> list[nn.Parameter]:
        """The parameters after the last self-attention, which nobody reads."""
        blocks: Any = self.unet.up_blocks
        attention = blocks[self._last].attentions[-1]
        block = attention.transformer_blocks[-1]
        dead: list[Any] = [
            block.attn1, block.attn2, block.norm2, block.norm3, block.ff, attention.proj_out,
            *(blocks[self._last].upsamplers or []), *blocks[self._last + 1 :],
            self.unet.conv_norm_out, self.unet.conv_out,
        ]  # fmt: skip
        return [parameter for module in dead for parameter in module.parameters()]
