"""Guided sampling in the design of the public ReferenceNets: the baseline of ``benchmarks speed``.

So do the re-implementations of Animate Anyone and what descends from them, after diffusers' reference-only pipeline:
the ReferenceNet runs once before the first step, at the batch of two of classifier-free guidance, and its
self-attention layers leave their hidden states in a bank. At every step the denoising UNet runs on a batch of two
as well. Each of its self-attention layers appends the bank to its own hidden states, in both halves, projects keys
and values of all of them, and attends; then the unconditional half attends once more, to itself alone, and that
replaces what it had. The answer is that of :func:`jdap.diffusion.samplers.guided`.

Leaner would be to leave the second attention out: the unconditional half then sees the reference as well, or a zero
picture's features, and the answer is another one. ``again=False`` tells what that would cost.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from jdap.models.image.attention import AttentionContext, PlainAttention, look_up, project
from jdap.models.image.joint_unet import JointUNet, no_tokens
from jdap.models.image.reference import ReferenceNet


class BankWriter(PlainAttention):
    """Self-attention of the ReferenceNet, which fills its place in the bank."""

    def __init__(self, bank: dict[str, Tensor], name: str) -> None:
        self.bank, self.name = bank, name

    def answer(
        self, attn: Attention, hidden_BND: Tensor, context_BMD: Tensor | None, beside: AttentionContext
    ) -> Tensor:
        """(2, N, D) → (2, N, D)."""
        self.bank[self.name] = hidden_BND
        return super().answer(attn, hidden_BND, context_BMD, beside)


class BankReader(PlainAttention):
    """Self-attention of the denoising UNet; the first of the two halves is the unconditional one."""

    def __init__(self, bank: dict[str, Tensor], name: str, again: bool) -> None:
        self.bank, self.name, self.again = bank, name, again

    def answer(
        self, attn: Attention, hidden_BND: Tensor, context_BMD: Tensor | None, beside: AttentionContext
    ) -> Tensor:
        """(2, N, D) → (2, N, D)."""
        banked = torch.cat([hidden_BND, self.bank[self.name]], dim=1)
        out = attn.to_out[0](look_up(attn.to_q(hidden_BND), project(attn, banked), attn.heads))
        if not self.again:
            return out
        return torch.cat([super().answer(attn, hidden_BND[:1], context_BMD, beside), out[1:]])


class BankedGuidance:
    """The v-prediction of guided sampling, a :data:`jdap.diffusion.denoiser.Network`.

    It takes both networks over: their attention processors are replaced.

    Args:
        joint, reference: the networks.
        reference_1Chw: latents of the reference.
        scale: of the guidance.
        again: whether the unconditional half attends a second time.
    """

    def __init__(
        self, joint: JointUNet, reference: ReferenceNet, reference_1Chw: Tensor, scale: float, again: bool = True
    ) -> None:
        bank: dict[str, Tensor] = {}
        self.unet, self.scale = joint.unet, scale
        readers: dict[str, Any] = {name: BankReader(bank, name, again) for name in joint.unet.attn_processors}
        writers: dict[str, Any] = {name: BankWriter(bank, name) for name in reference.unet.attn_processors}
        for unet, layers in ((joint.unet, readers), (reference.unet, writers)):
            layers |= {name: PlainAttention() for name in layers if ".attn1." not in name}
            unet.set_attn_processor(layers)
        # the led half is shown the reference's latents, and the other where it sees the features, too
        free = torch.zeros_like(reference_1Chw) if again else reference_1Chw
        seen = [free, reference_1Chw] if joint.sees_reference else []
        self.seen = torch.cat(seen) if seen else None
        both = reference_1Chw.repeat(2, 1, 1, 1)
        reference.unet(both, 0, encoder_hidden_states=no_tokens(reference.unet, both))

    def __call__(self, z_rgb: Tensor, z_depth: Tensor, t_rgb: Tensor, t_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy halves (1, C, h, w) and their timesteps → the guided v of each."""
        z = torch.cat([z_rgb, z_depth], dim=1).repeat(2, 1, 1, 1)
        z = z if self.seen is None else torch.cat([z, self.seen], dim=1)
        v = self.unet(
            z,
            t_rgb.repeat(2),
            encoder_hidden_states=no_tokens(self.unet, z),
            timestep_cond=self.unet.time_proj(t_depth.repeat(2)).to(z.dtype),
        ).sample
        free, led = v.chunk(2)
        rgb, depth = (free + self.scale * (led - free)).chunk(2, dim=1)
        return rgb, depth
