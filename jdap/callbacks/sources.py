"""What was drawn of each source of training data, and what it gave to the loss."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from jdap.batch import ImageBatch


class SourceLog(L.Callback):
    """Logs what was drawn of each named source, and what it gave to the depth loss.

    Every ``log_every_n_steps`` steps, over the samples of this rank since the last time: ``data/share_NAME``, the share
    of samples, and ``train/loss_depth_NAME``, the mean of their terms of the depth loss, Min-SNR weight and confidence
    included, so that the mean over the sources by samples is ``train/loss_depth``. A source that gave no sample with
    depth has no point. Between those steps nothing is computed, and nothing is read from the device.
    """

    def __init__(self) -> None:
        self.drawn: list[tuple[tuple[str, ...], Tensor, Tensor]] = []
        self.logged_at = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin where the run does: a resumed one does not log its first step."""
        self.logged_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: ImageBatch, batch_idx: int
    ) -> None:
        """Keep the terms of a batch; log those that were kept."""
        depth = outputs["report"].depth
        if depth is None:  # a step that is not about pictures
            return
        self.drawn.append((batch.source, depth.loss_B, depth.counts_B))
        step = trainer.global_step
        if step == self.logged_at or step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        # frames of a clip have their clip's source
        names = [
            name for source, depth_B, _ in self.drawn for name in source for _ in range(len(depth_B) // len(source))
        ]
        terms = torch.cat([depth_B for _, depth_B, _ in self.drawn]).tolist()
        has_depth = torch.cat([has_depth_B for *_, has_depth_B in self.drawn]).tolist()
        scalars = {}
        for one in sorted(set(names)):
            scalars[f"data/share_{one}"] = names.count(one) / len(names)
            losses = [x for x, name, has in zip(terms, names, has_depth, strict=True) if has and name == one]
            if losses:
                scalars[f"train/loss_depth_{one}"] = sum(losses) / len(losses)
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step - 1)  # as Lightning counts: a step has the number of those before it
        self.drawn, self.logged_at = [], step
