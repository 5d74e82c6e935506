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
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Values that are means of ``count`` samples each."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach() * count
            self._counts[name] = self._counts.get(name, 0) + count

    def take(self, stage: L.LightningModule) -> dict[str, Tensor]:
        """The means, on all processes alike, of those names of which there was a value; begins anew.

        To be called by all processes.
        """
        sums = [torch.as_tensor(self._sums.get(name, 0.0), device=stage.device).float() for name in self.names]
        counts = torch.tensor([float(self._counts.get(name, 0)) for name in self.names], device=stage.device)
        sums_N2 = torch.stack([torch.stack(sums), counts], dim=1)
        self._sums, self._counts = {}, {}
        if stage.trainer.world_size > 1:
            sums_N2 = stage.trainer.strategy.reduce(sums_N2, reduce_op="sum")
        return {name: total / count for name, (total, count) in zip(self.names, sums_N2, strict=True) if count > 0}
