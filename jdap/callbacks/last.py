"""A run's ``last.ckpt`` is its end, also where the time limit comes between two checkpoints."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(L.Callback):
    """Writes ``last.ckpt`` anew when training is over and it is of an earlier step.

    Lightning writes it at every so many steps alone: what came after them could not be gone on from.
    """

    def __init__(self) -> None:
        self._saved_at = -1

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember what the newest checkpoint is of."""
        self._saved_at = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, unless it has been written at this step, or is not wanted, or was never begun."""
        for keep in trainer.checkpoint_callbacks:
            if isinstance(keep, ModelCheckpoint) and keep.last_model_path and self._saved_at < trainer.global_step:
                trainer.save_checkpoint(keep.last_model_path, keep.save_weights_only)
