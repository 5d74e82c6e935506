"""The exponential moving average of what trains: float32, sharded as the weights are, on their device or the CPU."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

State = dict[str, Tensor]


class EMA(L.Callback):
    """Averages a ← decay · a + (1 − decay) · w over the trainable weights w after every step.

    They stand in for the weights during validation, and when training is over they are the weights; a checkpoint that
    is written then still holds the weights themselves, which are what a run goes on from. Frozen parameters
    (the codec) and buffers are left alone. Each process keeps the average of what it holds of a parameter: all of it,
    or under FSDP2 (Lightning's ``ModelParallelStrategy``) its shard. The checkpoint holds whole averages, so a run may
    go on with another number of processes.

    Lightning's ``EMAWeightAveraging`` copies the whole module before it is sharded, averages the frozen codec too
    (which rounds it), and averages in the precision of the weights.

    Args:
        decay: in [0, 1). Early in a run it is less, (1 + n) / (10 + n) after n steps: the average of a few steps has no
            use for where they began.
        every: steps between updates; the decay of an update is then ``decay ** every``.
        device: where averages are kept; null: where the weights are. ``cpu`` frees four bytes a parameter there, and
            costs a copy of the weights to the CPU at each update: raise ``every``.
    """

    def __init__(self, decay: float = 0.999, every: int = 1, device: str | None = None) -> None:
        if not 0 <= decay < 1 or every < 1:
            raise ValueError(f"decay must lie in [0, 1) and every be at least 1, got {decay} and {every}")
        self.decay, self.every, self.device = decay, every, device
        self.averages: State = {}
        self._updated_at = 0
        self._loaded: State = {}
        self._kept: State = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights as they are, or with the averages of the checkpoint."""
        if isinstance(trainer.strategy, FSDPStrategy):
            raise ValueError("averages cannot be kept under the strategy fsdp, whose shards have no shape: take ddp")
        loaded, self._loaded = self._loaded, {}
        for name, weight in _trained(pl_module):
            start = weight.detach() if name not in loaded else _as(loaded[name], weight)
            self.averages[name] = _local(start).to(self.device or weight.device, torch.float32, copy=True)
        self._updated_at = self._updated_at if loaded else trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update, if the optimiser has made its steps since."""
        if trainer.global_step < self._updated_at + self.every:
            return
        self._updated_at = trainer.global_step
        averages, weights = [], []
        for name, weight in _trained(pl_module):
            averages.append(self.averages[name])
            weights.append(_local(weight.detach()).to(averages[-1].device, torch.float32))
        decay = min(self.decay, (1 + trainer.global_step) / (10 + trainer.global_step))
        torch._foreach_lerp_(averages, weights, 1 - decay**self.every)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for logger in trainer.loggers:
                logger.log_metrics({"train/ema_decay": decay}, trainer.global_step - 1)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the averages in the place of the weights."""
        if self.averages and trainer.state.fn == TrainerFn.FITTING:
            device = self.device or pl_module.device
            self._kept = {n: _local(w.detach()).to(device, copy=True) for n, w in _trained(pl_module)}
            _put(self.averages, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the weights back."""
        if self._kept:
            _put(self._kept, pl_module)
            self._kept = {}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What was trained are the averages."""
        device = self.device or pl_module.device
        self._kept = {n: _local(w.detach()).to(device, copy=True) for n, w in _trained(pl_module)}
        _put(self.averages, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let go of the weights: all checkpoints are written."""
        self._kept = {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the whole averages, and the weights where averages stand in for them.

        Lightning calls it on every process, so shards can be gathered.
        """
        for name, weight in _trained(pl_module):
            if name in self._kept:
                checkpoint["state_dict"][name] = _whole(self._kept[name], weight)
        checkpoint[type(self).__name__] = {
            "updated_at": self._updated_at,
            "averages": {n: _whole(self.averages[n], w) for n, w in _trained(pl_module) if n in self.averages},
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take them out; where there are none, averages begin with the weights."""
        state = checkpoint.get(type(self).__name__, {"updated_at": 0, "averages": {}})
        self._updated_at, self._loaded = state["updated_at"], state["averages"]


def _trained(module: L.LightningModule) -> list[tuple[str, Tensor]]:
    return [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _as(whole: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor, sharded as ``weight`` is."""
    if not isinstance(weight, DTensor):
        return whole
    return distribute_tensor(whole.to(weight.device), weight.device_mesh, weight.placements)


def _whole(local: Tensor, weight: Tensor) -> Tensor:
    """The inverse: the shards of all processes together, on the CPU."""
    if not isinstance(weight, DTensor):
        return local.cpu().clone()
    shard = local.to(weight.device)
    return DTensor.from_local(
        shard, weight.device_mesh, weight.placements, shape=weight.shape, stride=weight.stride()
    ).full_tensor().cpu()  # fmt: skip


@torch.no_grad()
def _put(state: State, module: L.LightningModule) -> None:
    for name, weight in _trained(module):
        _local(weight.detach()).copy_(state[name])
