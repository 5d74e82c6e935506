"""What the diffusion stages' steps have in common: a step's place in the run, and depth over processes."""

from __future__ import annotations

import lightning as L
from torch import Tensor

from jdap.diffusion.draws import StepSlice


def place_of(stage: L.LightningModule, count: int, batch_idx: int) -> StepSlice:
    """Which of the samples of an optimiser step a batch of this process holds; the first ones outside of a trainer."""
    trainer = stage._trainer
    if trainer is None:
        return StepSlice.of(0, count)
    parts = trainer.accumulate_grad_batches
    return StepSlice.of(trainer.global_step, count, batch_idx % parts, parts, trainer.global_rank, trainer.world_size)


def share_of_depth(stage: L.LightningModule, has_depth_B: Tensor) -> Tensor | float:
    """Samples with depth here, against the mean over processes: their mean loss is that of one large batch."""
    if stage._trainer is None or stage._trainer.world_size == 1:
        return 1.0
    count = has_depth_B.sum().float()
    return count / stage._trainer.strategy.reduce(count.clone(), reduce_op="mean").clamp_min(1e-6)
