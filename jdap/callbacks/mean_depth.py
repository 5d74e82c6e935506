"""The mean depth of the training pictures, gathered on the way."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from jdap.batch import ImageBatch, LatentBatch
from jdap.depth import NO_DEPTH


class MeanDepth(L.Callback):
    """The pixel-wise mean of the normalised depth over the training pictures' skin: the benchmark's ``mean`` row.

    It costs one addition a step, and needs no second pass over a data set that may be terabytes. Where training reads
    latents there are no pixels to add: the sums are those that were written when they were cached, every picture once.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the sums of cached latents, if those are what is trained on."""
        cached = getattr(trainer.datamodule, "cached_depth_sums", lambda: None)()  # type: ignore[attr-defined]
        if cached is not None:
            self.total, self.count = cached

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: ImageBatch | LatentBatch,
        batch_idx: int,
    ) -> None:
        """Add a batch."""
        if isinstance(batch, LatentBatch):
            return
        seen = batch.skin & (batch.depth_mm > 0)
        total, count = (batch.depth * seen).sum(0).double(), seen.sum(0)
        # The sums stay on the device: to fetch them would make it wait at every step.
        self.total = total if self.total is None else self.total.to(total.device) + total
        self.count = count if self.count is None else self.count.to(count.device) + count

    def mean(self) -> Tensor:
        """(1, H, W) float32 in the normalised frame; +1 where no training picture had skin."""
        if self.total is None or self.count is None:
            raise RuntimeError("no training batch has been seen")
        mean = (self.total / self.count.clamp_min(1)).float()
        return torch.where(self.count > 0, mean, torch.full_like(mean, NO_DEPTH)).cpu()

    def state_dict(self) -> dict[str, Any]:
        """The sums, so that a resumed run goes on with them."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.total, self.count = state_dict["total"], state_dict["count"]
