"""Noising, target, weighting and loss of the joint diffusion, in one object that knows no network.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from jdap.diffusion.schedule import NoiseSchedule, min_snr_weight


class Pair(NamedTuple):
    """The two halves of a joint latent, or anything that comes once for each."""

    rgb: Tensor
    depth: Tensor


#: A network as the mathematics sees it: (z_rgb, z_depth, t_rgb, t_depth) → (v_rgb, v_depth).
Network = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class JointLoss:
    """The loss of a batch: ``rgb`` and ``depth`` scalars that are added, and for logs what each sample gave to them.

    ``rgb`` is the mean of ``rgb_B`` (B,) over the samples of ``has_rgb_B`` (B,) bool, whose RGB is drawn and not
    given; ``depth`` that of ``depth_B`` (B,) over those of ``has_depth_B``, whose depth is drawn and there. Both are 0
    for the rest. ``noisy`` is what the network saw and ``v`` what it said, for losses beside these.
    """

    rgb: Tensor
    depth: Tensor
    rgb_B: Tensor
    depth_B: Tensor
    has_rgb_B: Tensor
    has_depth_B: Tensor
    noisy: Pair
    v: Pair

    @property
    def total(self) -> Tensor:
        """The sum of both."""
        return self.rgb + self.depth


@dataclass(frozen=True)
class JointDenoiser:
    """v-prediction of both halves with independent noise and a Min-SNR weight per modality."""

    schedule: NoiseSchedule
    gamma: float = 5.0

    def add_noise(self, clean: Pair, noise: Pair, t: Pair) -> Pair:
        """z = a_t x + s_t eps, each half at its own timestep."""
        return Pair(*(self._mix(x, e, tt) for x, e, tt in zip(clean, noise, t, strict=True)))

    def velocity(self, clean: Pair, noise: Pair, t: Pair) -> Pair:
        """The target v = a_t eps − s_t x."""
        return Pair(*(self._mix(e, -x, tt) for x, e, tt in zip(clean, noise, t, strict=True)))

    def clean(self, noisy: Pair, v: Pair, t: Pair) -> Pair:
        """x = a_t z − s_t v."""
        return Pair(*(self._mix(z, -vv, tt) for z, vv, tt in zip(noisy, v, t, strict=True)))

    def noise(self, noisy: Pair, v: Pair, t: Pair) -> Pair:
        """eps = a_t v + s_t z."""
        return Pair(*(self._mix(vv, z, tt) for z, vv, tt in zip(noisy, v, t, strict=True)))

    def noise_further(self, noisy: Pair, noise: Pair, t: Pair, to: Pair) -> Pair:
        """From timestep t to a noisier one by the forward process; where t stays nothing changes.

        z_to = r z_t + sqrt(s_to² − r² s_t²) eps with r = a_to / a_t.
        """
        return Pair(*(self._further(z, e, *tt) for z, e, *tt in zip(noisy, noise, t, to, strict=True)))

    def loss(
        self,
        network: Network,
        clean: Pair,
        t: Pair,
        noise: Pair,
        depth_weight: Tensor,
        depth_confidence: Tensor | None = None,
        focus: Tensor | None = None,
        drawn: Pair | None = None,
    ) -> JointLoss:
        """Mean weighted squared error of v: RGB over every latent cell u, depth where it is there, as far as trusted.

        Only halves that are ``drawn``, (B,) bool each, count (None: all): one that is given teaches nothing but to
        predict its noise.

        With weights w = ``depth_weight`` (B, 1, h, w) ≥ 0, confidence c = ``depth_confidence`` (B, 1, h, w) in [0, 1]
        (None: 1), the squared error e of v and the Min-SNR weight g of each sample's timestep, over the N samples i
        that have any weight::

            L_depth = 1/N Σ_i g_i (Σ_u w_iu c_iu e_iu) / (Σ_u w_iu)

        The weights say where depth is: dividing by their sum makes a small face count as much as a large one, and a
        sample without any (no depth) adds nothing and does not dilute the others. Confidence is not divided out: a
        sample that is trusted half pulls half as hard, whatever else is in the batch.

        ``focus`` (B, 1, h, w) > 0 weighs the cells of both modalities once more, such as those of a mouth; what it adds
        is divided out within a sample (None: 1).
        """
        noisy, target = self.add_noise(clean, noise, t), self.velocity(clean, noise, t)
        v = Pair(*network(*noisy, *t))
        error = Pair(*((a.float() - b.float()).square().mean(dim=1) for a, b in zip(v, target, strict=True)))
        snr_weight = Pair(*(min_snr_weight(self.schedule.snr(tt), self.gamma) for tt in t))

        cells = depth_weight[:, 0]
        if focus is None:
            rgb_B = error.rgb.mean(dim=(1, 2))
        else:
            rgb_B = (error.rgb * focus[:, 0]).mean(dim=(1, 2)) / focus[:, 0].mean(dim=(1, 2))
            cells = cells * focus[:, 0]
        mass = cells.sum(dim=(1, 2))
        trusted = cells if depth_confidence is None else cells * depth_confidence[:, 0]
        has_rgb_B, has_depth_B = torch.ones_like(mass, dtype=torch.bool), mass > 0
        if drawn is not None:
            has_rgb_B, has_depth_B = drawn.rgb, has_depth_B & drawn.depth
        rgb_B = rgb_B * snr_weight.rgb * has_rgb_B
        depth_B = (error.depth * trusted).sum(dim=(1, 2)) / mass.clamp_min(1e-6) * snr_weight.depth * has_depth_B
        return JointLoss(
            rgb=rgb_B.sum() / has_rgb_B.sum().clamp_min(1),
            depth=depth_B.sum() / has_depth_B.sum().clamp_min(1),
            rgb_B=rgb_B.detach(),
            depth_B=depth_B.detach(),
            has_rgb_B=has_rgb_B,
            has_depth_B=has_depth_B,
            noisy=noisy,
            v=v,
        )

    def _mix(self, first: Tensor, second: Tensor, t_B: Tensor) -> Tensor:
        signal, noise = self.schedule.signal_noise(t_B, first)
        return signal * first + noise * second

    def _further(self, z: Tensor, eps: Tensor, t_B: Tensor, to_B: Tensor) -> Tensor:
        (signal, noise), (signal_to, noise_to) = (self.schedule.signal_noise(x, z) for x in (t_B, to_B))
        ratio = torch.where(signal > 0, signal_to / signal, 1)  # from pure noise there is nowhere to go
        return ratio * z + (noise_to**2 - (ratio * noise) ** 2).clamp_min(0).sqrt() * eps


#: One generator for a batch, or one for each of its samples.
Generators = torch.Generator | Sequence[torch.Generator]


def randn_pair(like: Pair, generator: Generators | None = None) -> Pair:
    """Independent standard normal noise for each half, drawn on the generator's device.

    Of a list of generators each draws the noise of one sample, as it would for a batch of that sample alone. Raises
    ValueError where there are not as many as samples.
    """
    if isinstance(generator, Sequence):
        if len(generator) != len(like.rgb):
            raise ValueError(f"{len(generator)} generators for {len(like.rgb)} samples: give one for each, or one")
        drawn = [randn_pair(Pair(*(x[i : i + 1] for x in like)), one) for i, one in enumerate(generator)]
        return Pair(*(torch.cat(halves) for halves in zip(*drawn, strict=True)))
    device = generator.device if generator is not None else like.rgb.device
    return Pair(*(torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device) for x in like))
