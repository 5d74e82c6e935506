"""The law of the pair (t_rgb, t_depth): how noisy each half is, for every sample of a training batch.

Half of the samples share a timestep (joint generation). A quarter has a noisy depth beside a clean, or nearly clean,
RGB (image-to-depth), a quarter the reverse. So one network learns every question that sampling asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The timestep of a half that is given: clean up to a hundredth of its power.
KNOWN = 0


@dataclass(frozen=True)
class TimestepLaw:
    """Shares of the three kinds of sample; the rest, 1 − image_to_depth − depth_to_image, is joint.

    Args:
        image_to_depth, depth_to_image: shares in [0, 1].
        nearly: the given half's timestep is uniform on [0, nearly · T), after half of them being exactly known.
        terminal: share of the drawn halves that start from pure noise (T − 1), where one-step prediction happens; the
            others are uniform on [0, T).
    """

    image_to_depth: float = 0.25
    depth_to_image: float = 0.25
    nearly: float = 0.05
    terminal: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.image_to_depth, self.depth_to_image, 1 - self.image_to_depth - self.depth_to_image)
        if min(shares) < -1e-9 or not (0 <= self.nearly <= 1 and 0 <= self.terminal <= 1):
            raise ValueError(f"shares must lie in [0, 1] and add up to at most 1: {self}")

    def draw(self, batch: int, timesteps: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(t_rgb, t_depth), two (batch,) int64 tensors on the CPU in [0, timesteps).

        Kinds are stratified over the batch: a batch of 16 holds 8, 4 and 4, up to one.
        """
        place = (torch.arange(batch) + torch.rand(1, generator=generator)) / batch
        kind = place[torch.randperm(batch, generator=generator)]
        uniform = torch.rand(4, batch, generator=generator)
        drawn = torch.where(uniform[0] < self.terminal, timesteps - 1, (uniform[1] * timesteps).long())
        nearly = torch.where(uniform[2] < 0.5, KNOWN, (uniform[3] * self.nearly * timesteps).long())
        rgb_given = kind < self.image_to_depth
        depth_given = (kind >= self.image_to_depth) & (kind < self.image_to_depth + self.depth_to_image)
        return torch.where(rgb_given, nearly, drawn), torch.where(depth_given, nearly, drawn)
