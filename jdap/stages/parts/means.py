"""Means over a validation, of all processes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning as L
import torch
from torch import Tensor


class ValidationMeans:
    """Sums of values by name, of which ``take`` makes means once a validation.

    Lightning's own ``sync_dist`` waits for every process that logged something, for ever where one had no batch.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._sums_N2 = torch.zeros(len(self.names), 2, dtype=torch.float64)

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Values that are means of ``count`` samples each."""
        for name, value in values.items():
            self._sums_N2[self.names.index(name)] += torch.tensor([float(value.detach()) * count, count])

    def take(self, stage: L.LightningModule) -> dict[str, Tensor]:
        """The means, on all processes alike, of those names of which there was a value; begins anew.

        To be called by all processes.
        """
        sums_N2 = self._sums_N2.float().to(stage.device)
        self._sums_N2.zero_()
        if stage.trainer.world_size > 1:
            sums_N2 = stage.trainer.strategy.reduce(sums_N2, reduce_op="sum")
        return {name: total / count for name, (total, count) in zip(self.names, sums_N2, strict=True) if count > 0}
