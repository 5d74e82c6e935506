"""The stages' optimiser: Muon or AdamW, with a rate that rises and falls, and how far a run is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch.distributed.tensor import DTensor

from jdap.stages.parts.muon import Muon
from jdap.stages.settings.optimizer import ADAMW, LINE, MUON, OptimizerSettings


def warmed_optimizer(stage: L.LightningModule, settings: OptimizerSettings, again_at: int = 0) -> dict[str, Any]:
    """What ``configure_optimizers`` returns: the optimiser of what trains, with warm-up and a fall of its rate.

    ``again_at``: see :func:`warmed`.
    """
    optimizer = optimizer_of(settings, stage.trainer, [p for p in stage.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmed(stage.trainer, settings, again_at))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def optimizer_of(
    settings: OptimizerSettings, trainer: L.Trainer, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """``adamw``; ``muon``, for training from nothing; or ``adamw8bit``, a quarter of the state, on CUDA.

    AdamW is fused where it can be: on one core 0.02 s a step of the tiny networks rather than 0.08. In mixed precision
    Lightning refuses to clip gradients for a fused one. Raises ValueError for Muon on weights that are shared out to
    processes, and where bitsandbytes or CUDA are missing.
    """
    rates: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    rates["betas"] = (0.9, settings.beta2)
    if settings.kind == ADAMW:
        return torch.optim.AdamW(parameters, fused="mixed" not in str(trainer.precision), **rates)
    if settings.kind == MUON:
        parameters = list(parameters)
        if any(isinstance(p, DTensor) for p in parameters):
            raise ValueError("model.optimizer.kind muon needs whole matrices, and FSDP shares them out: take adamw")
        return Muon(parameters, **rates)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ValueError("model.optimizer.kind adamw8bit needs an extra: pip install 'jdap[adamw8bit]'") from error
    if trainer.strategy.root_device.type != "cuda":
        raise ValueError(
            f"model.optimizer.kind adamw8bit needs CUDA, not {trainer.strategy.root_device.type}: take adamw"
        )
    return AdamW8bit(parameters, **rates)


def share_done(trainer: L.Trainer) -> Callable[[int], float]:
    """A function of the optimiser step: the share of the run that is over, 0 … 1.

    A run ends with the trainer's last step or with its ``max_time``, whichever comes first: the larger share counts.
    So a slow machine that time will stop still gets to the end of its schedule. Where time leads, the rate depends on
    the clock (of several processes the first one's), and two runs are not equal to the bit; without ``max_time`` they
    are. Raises ValueError for a run without an end.
    """
    last = trainer.estimated_stepping_batches
    timers = [c for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    if not timers and not math.isfinite(last):
        raise ValueError("the learning rate falls until the run ends: set trainer.max_steps or trainer.max_time")

    def by_time() -> float:
        # Clocks differ between processes, and weights would with them.
        return trainer.strategy.broadcast(max(map(_share_of_time, timers))) if timers else 0.0

    return lambda step: min(1.0, max(step / last, by_time()))


def warmed(trainer: L.Trainer, settings: OptimizerSettings, again_at: int = 0) -> Callable[[int], float]:
    """A function of the optimiser step: the rate's factor, up in a line, then 1, then down to 0.

    At step ``again_at``, where other weights begin to train, it goes up once more.

    ``decay`` is the share of the run in which it falls, at its end: 1 is a fall all along, 0 none. A run of unknown
    length trains without one, and whoever wants its weights resumes it for a last stretch that falls (2405.18392).
    """
    rise, done = max(1, settings.warmup_steps), share_done(trainer) if settings.decay else lambda step: 0.0
    falls = settings.decay or 1.0

    def factor(step: int) -> float:
        begun = step - again_at if step >= again_at else step
        risen, left = min(1.0, (begun + 1) / rise), min(1.0, (1 - done(step)) / falls)
        return risen * (left if settings.decay_shape == LINE else 0.5 * (1 + math.cos(math.pi * (1 - left))))

    return factor


def _share_of_time(timer: Timer) -> float:
    spent, left = timer.time_elapsed(), timer.time_remaining()
    return 0.0 if left is None else spent / max(spent + left, 1e-9)
