"""What the diffusion stages' steps have in common: a step's place in the run, and depth over processes."""

from __future__ import annotations

import lightning as L
from torch import Tensor

from jdap.diffusion.denoiser import JointLoss
from jdap.diffusion.draws import StepSlice
from jdap.diffusion.timesteps import TimestepLaw


def place_of(stage: L.LightningModule, count: int, batch_idx: int) -> StepSlice:
    """Which of the samples of an optimiser step a batch of this process holds; the first ones outside of a trainer."""
    trainer = stage._trainer
    if trainer is None:
        return StepSlice.of(0, count)
    parts = trainer.accumulate_grad_batches
    return StepSlice.of(trainer.global_step, count, batch_idx % parts, parts, trainer.global_rank, trainer.world_size)


def share_of(stage: L.LightningModule, has_B: Tensor) -> Tensor | float:
    """Samples that count here, against the mean over processes: their mean loss is that of one large batch."""
    if stage._trainer is None or stage._trainer.world_size == 1:
        return 1.0
    count = has_B.sum().float()
    return count / stage._trainer.strategy.reduce(count.clone(), reduce_op="mean").clamp_min(1e-6)


def step_losses(
    stage: L.LightningModule, loss: JointLoss, law: TimestepLaw, depth_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The losses of RGB and depth of a step's part such that the step's is their mean, however it was divided up.

    Means over the halves that were drawn weigh parts with few of them too much. So each sum is divided by how many
    samples have the half drawn by the law's shares, and, of depth, have any (``depth_weight`` (B, 1, h, w) above 0).
    """
    has_B = depth_weight.flatten(1).sum(1) > 0
    rgb = loss.rgb * loss.has_rgb_B.sum() / (len(has_B) * max(1 - law.image_to_depth, 1e-6))
    depth = loss.depth * loss.has_depth_B.sum() / (has_B.sum().clamp_min(1) * max(1 - law.depth_to_image, 1e-6))
    return rgb, depth * share_of(stage, has_B)
