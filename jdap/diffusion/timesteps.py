"""The law of the pair (t_rgb, t_depth): how noisy each half is, for every sample of a training batch.

Half of the samples share a timestep (joint generation). A quarter has a noisy depth beside a clean, or nearly clean,
RGB (image-to-depth), a quarter the reverse. So one network learns every question that sampling asks.

How noisy a drawn half is follows the logarithm of its signal-to-noise ratio, evenly over the range in which there is
something to learn, rather than the timestep: a schedule made for latents of 64² cells spends most of its timesteps
where a small latent shows nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jdap.diffusion.schedule import LOG_SNR, NoiseSchedule

#: The timestep of a half that is given: clean up to a hundredth of its power.
GIVEN_TIMESTEP = 0
#: Kinds of sample.
JOINT, IMAGE_TO_DEPTH, DEPTH_TO_IMAGE = range(3)
#: How timesteps of drawn halves are spread, other than by :data:`jdap.diffusion.schedule.LOG_SNR`.
UNIFORM = "uniform"


@dataclass(frozen=True)
class TimestepLaw:
    """Shares of the three kinds of sample; the rest, 1 − image_to_depth − depth_to_image, is joint.

    Args:
        image_to_depth, depth_to_image: shares in [0, 1].
        condition_noise: the given half's timestep is uniform on [0, condition_noise · T), after half of them being
            exactly known.
        last_step_fraction: share of image-to-depth samples that start from pure noise (T − 1), where one-step
            prediction happens.
        start: the same of the other samples: sampling starts there.
        density: ``log_snr``: uniform in the logarithm of the signal-to-noise ratio between ``low`` and ``high``, or
            ``uniform`` on [0, T).
        low, high: natural logarithms of the signal-to-noise ratio.
    """

    image_to_depth: float = 0.25
    depth_to_image: float = 0.25
    condition_noise: float = 0.05
    last_step_fraction: float = 0.0
    start: float = 0.05
    density: str = LOG_SNR
    low: float = -5.0
    high: float = 4.0

    def __post_init__(self) -> None:
        shares = (self.image_to_depth, self.depth_to_image, 1 - self.image_to_depth - self.depth_to_image)
        fractions = (self.condition_noise, self.last_step_fraction, self.start)
        if min(shares) < -1e-9 or not all(0 <= x <= 1 for x in fractions):
            raise ValueError(f"shares must lie in [0, 1] and add up to at most 1: {self}")
        if self.density not in (LOG_SNR, UNIFORM) or self.low >= self.high:
            raise ValueError(f"density must be {LOG_SNR} (with low < high) or {UNIFORM}: {self}")

    def draw(
        self, batch: int, schedule: NoiseSchedule, generator: torch.Generator | None = None, targets: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(t_rgb, t_depth, kind), three (batch,) int64 tensors on the CPU; timesteps in [0, T).

        The kind is that of ``targets`` consecutive samples, which share a reference. Kinds are stratified over the
        batch: one of 16 holds 8, 4 and 4, up to one. So are the timesteps of the drawn halves.
        """
        groups = batch // targets
        place = (torch.arange(groups) + torch.rand(1, generator=generator)) / groups
        share = place[torch.randperm(groups, generator=generator)].repeat_interleave(targets)
        kind = torch.full((batch,), JOINT)
        kind[share < self.image_to_depth] = IMAGE_TO_DEPTH
        kind[(share >= self.image_to_depth) & (share < self.image_to_depth + self.depth_to_image)] = DEPTH_TO_IMAGE
        even = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
        uniform = torch.rand(3, batch, generator=generator)
        last = torch.where(kind == IMAGE_TO_DEPTH, self.last_step_fraction, self.start)
        drawn = torch.where(uniform[0] < last, schedule.timesteps - 1, self._timestep(even, schedule))
        given = torch.where(
            uniform[1] < 0.5, GIVEN_TIMESTEP, (uniform[2] * self.condition_noise * schedule.timesteps).long()
        )
        return (
            torch.where(kind == IMAGE_TO_DEPTH, given, drawn),
            torch.where(kind == DEPTH_TO_IMAGE, given, drawn),
            kind,
        )

    def _timestep(self, share_B: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Timesteps (B,) int64 of shares in [0, 1): the larger, the noisier."""
        if self.density == UNIFORM:
            return (share_B * schedule.timesteps).long()
        return schedule.at_log_snr(self.high + share_B * (self.low - self.high))
