"""A run stops at the first loss or gradient that is not finite, before it gets into the weights."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from jdap.stages.parts.report import DiffusionStage

_log = logging.getLogger(__name__)


class NotFinite(ValueError):
    """A loss or gradient that is not a number, or infinite; the message names the step, the samples and what it was."""


class FiniteGuard(L.Callback):
    """Looks at every step's losses and gradients before the optimiser does.

    When one is not finite, the run ends with :class:`NotFinite`, and weights, averages and checkpoints are as the step
    before left them. Up to ``skip`` steps of a run may be left out instead: their gradients are dropped, the weights
    stay, and a warning says the same. All processes decide alike.

    It costs one norm over the gradients a step, and on a GPU one wait for the step's backward pass. In precision
    ``16-mixed`` it looks at the losses alone: there a gradient scaler tries scales until gradients fit, and leaves out
    the steps in which they do not.

    Args:
        skip: steps of the run that may be left out.
    """

    def __init__(self, skip: int = 0) -> None:
        if skip < 0:
            raise ValueError(f"skip must be at least 0, got {skip}")
        self.skip, self.skipped = skip, 0
        self._batches: list[Any] = []
        self._losses: list[dict[str, Tensor]] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batches of a step."""
        self._batches.append(batch)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Keep their losses: the total, and each sample's term of each modality where the stage tells."""
        terms = pl_module.report.terms(len(self._batches[-1].key)) if isinstance(pl_module, DiffusionStage) else {}
        self._losses.append({"loss": loss.detach(), **terms})

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Raise :class:`NotFinite`, or drop the gradients of a step that may be skipped."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        gradients = [] if scaled else [_local(p.grad) for p in parameters]
        norm = torch.nn.utils.get_total_norm(gradients)  # type: ignore[arg-type]
        looked_at = [norm, *(x.sum() for losses in self._losses for x in losses.values())]
        bad = ~torch.stack([x.float().reshape(()).to(norm.device) for x in looked_at]).isfinite().all()
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad.float(), reduce_op="sum") > 0
        batches, losses = self._batches, self._losses
        self._batches, self._losses = [], []
        if not bad:
            return
        message = _told(trainer, batches, losses, pl_module)
        if self.skipped >= self.skip:
            raise NotFinite(message)
        self.skipped += 1
        for parameter in parameters:
            parameter.grad = None
        _log.warning("skipped (%d of at most %d): %s", self.skipped, self.skip, message)

    def state_dict(self) -> dict[str, Any]:
        """How many steps were left out: a resumed run may not begin to count anew."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.skipped = state_dict["skipped"]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _told(trainer: L.Trainer, batches: list[Any], losses: list[dict[str, Tensor]], pl_module: L.LightningModule) -> str:
    """One line: what is not finite, in which step, of which samples."""
    what, suspects = [], []
    for batch, terms in zip(batches, losses, strict=True):
        keys = [f"{key} ({source})" for key, source in zip(batch.key, batch.source, strict=True)]
        for name, x in terms.items():
            if x.isfinite().all():
                continue
            what.append(name)
            suspects += [key for key, ok in zip(keys, x.isfinite(), strict=True) if not ok] if x.ndim else []
    gradients = [
        name for name, p in pl_module.named_parameters() if p.grad is not None and not _local(p.grad).isfinite().all()
    ]
    if gradients:
        what.append(f"the gradient of {len(gradients)} parameters, {gradients[0]} first")
    everyone = [f"{key} ({source})" for batch in batches for key, source in zip(batch.key, batch.source, strict=True)]
    where = f" on rank {trainer.global_rank}" if trainer.world_size > 1 else ""
    return (
        f"step {trainer.global_step}{where}: {', '.join(dict.fromkeys(what)) or 'a loss or gradient of another rank'} "
        f"not finite; sample{'s' if len(suspects or everyone) > 1 else ''} "
        f"{', '.join(dict.fromkeys(suspects or everyone))}; the weights are as before this step"
    )
