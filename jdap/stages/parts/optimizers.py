"""What the stages' optimisers have in common: which there are, and how far a run is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch.distributed.tensor import DTensor

from jdap.stages.parts.muon import Muon


def optimizer_of(
    name: str, trainer: L.Trainer, parameters: Iterable[torch.nn.Parameter], **rates: Any
) -> torch.optim.Optimizer:
    """``adamw``; ``muon``, for training from nothing; or ``adamw8bit``, a quarter of the state, on CUDA.

    AdamW is fused where it can be: on one core 0.02 s a step of the tiny networks rather than 0.08. In mixed precision
    Lightning refuses to clip gradients for a fused one. Raises ValueError for another name, for Muon on
    weights that are shared out to processes, and where bitsandbytes or CUDA are missing.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, fused="mixed" not in str(trainer.precision), **rates)
    if name == "muon":
        parameters = list(parameters)
        if any(isinstance(p, DTensor) for p in parameters):
            raise ValueError("model.optimizer muon needs whole matrices, and FSDP shares them out: take adamw")
        return Muon(parameters, **rates)
    if name != "adamw8bit":
        raise ValueError(f"model.optimizer must be adamw, muon or adamw8bit, got {name!r}")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ValueError("model.optimizer adamw8bit needs an extra: pip install 'jdap[adamw8bit]'") from error
    if trainer.strategy.root_device.type != "cuda":
        raise ValueError(f"model.optimizer adamw8bit needs CUDA, not {trainer.strategy.root_device.type}: take adamw")
    return AdamW8bit(parameters, **rates)


def share_done(trainer: L.Trainer) -> Callable[[int], float]:
    """A function of the optimiser step: the share of the run that is over, 0 … 1.

    A run ends with the trainer's last step or with its ``max_time``, whichever comes first: the larger share counts.
    So a slow machine that time will stop still gets to the end of its schedule. Where time leads, the rate depends on
    the clock, and two runs are not equal to the bit; without ``max_time`` they are. Raises ValueError for a run
    without an end.
    """
    last = trainer.estimated_stepping_batches
    timers = [c for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    if not timers and not math.isfinite(last):
        raise ValueError("the learning rate falls until the run ends: set trainer.max_steps or trainer.max_time")
    return lambda step: min(1.0, max([step / last, *map(_share_of_time, timers)]))


def warmed(trainer: L.Trainer, warmup_steps: int, decay: float) -> Callable[[int], float]:
    """A function of the optimiser step: the rate's factor, up in a line, then 1, then along a cosine to 0.

    ``decay`` is the share of the run in which it falls, at its end: 1 is a cosine all along, 0 none. A run of unknown
    length trains without one, and whoever wants its weights resumes it for a last stretch that falls (2405.18392).
    Raises ValueError for a share outside of [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"model.decay is a share of the run, 0 … 1, got {decay}")
    rise, done = max(1, warmup_steps), share_done(trainer) if decay else lambda step: 0.0
    falls = decay or 1.0

    def factor(step: int) -> float:
        fallen = max(0.0, 1 - (1 - done(step)) / falls)
        return min(1.0, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * fallen))

    return factor


def _share_of_time(timer: Timer) -> float:
    spent, left = timer.time_elapsed(), timer.time_remaining()
    return 0.0 if left is None else spent / max(spent + left, 1e-9)
