"""How far a run is: its step of its steps, and the time that is left of the run."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, Timer

from jdap.io.progress import Telling, clock, told


class RunProgress(ProgressBar):
    """``step 120 of 1000, loss 0.312, 3.1 steps/s, 4:44 left``: a bar on a terminal, elsewhere a line now and then.

    The steps are the optimiser's. The time left is what the steps so far foretell, or what is left of ``max_time``,
    whichever is less; where ``max_time`` will end the run there is no ``of 1000``, which it would not reach. A
    validation or test counts batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._telling: Telling | None = None

    def enable(self) -> None:
        """Tell."""
        self._enabled = True

    def disable(self) -> None:
        """Tell nothing: Lightning asks it of all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count at the run's step, which is not 0 where it was resumed."""
        steps = trainer.estimated_stepping_batches
        self._begin("step", steps if math.isfinite(steps) and steps > 0 else None, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the step; what it costs to look at the loss is paid only when it is told."""
        if self._telling is not None and self._telling.due:
            self._telling.tell(trainer.global_step, self._note(trainer), time_left_s(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say where the run ended."""
        if self._telling is None:
            return
        telling, note, step = self._telling, self._note(trainer), trainer.global_step
        self._end()
        steps, left = int(telling.total or 0), time_left_s(trainer)
        cut_short = left is not None and left <= 0 and step < steps
        total = None if cut_short else telling.total
        print(told("step", step, total, f"{note}, {clock(telling.seconds)} in all"), file=sys.stderr)
        if cut_short:
            print(_cut_short(step, steps), file=sys.stderr)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell that there is a validation, or how far it is where it is all there is."""
        if self._telling is None:
            return
        if trainer.training or trainer.state.fn == "fit":
            self._telling.tell(trainer.global_step, "validating", time_left_s(trainer))
        else:
            self._telling.tell(batch_idx + 1)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count batches, where no training is under way."""
        if trainer.state.fn != "fit":
            self._begin("batch", _count(trainer.num_val_batches))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop counting batches."""
        if trainer.state.fn != "fit":
            self._end()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count batches."""
        self._begin("batch", _count(trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell how far it is."""
        if self._telling is not None:
            self._telling.tell(batch_idx + 1)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop counting."""
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Take the bar away before whatever is said of the exception."""
        self._end()

    def _begin(self, what: str, total: float | None, first: int = 0) -> None:
        if self._enabled:
            self._telling = Telling(what, total, first)
            self._telling.__enter__()

    def _end(self) -> None:
        if self._telling is not None:
            self._telling.__exit__(None, None, None)
            self._telling = None

    def _note(self, trainer: L.Trainer) -> str:
        assert self._telling is not None
        loss = trainer.progress_bar_metrics.get("loss")
        rate = self._telling.rate(trainer.global_step)
        pace = f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s a step" if rate else ""
        return ", ".join(x for x in ("" if loss is None else f"loss {float(loss):.3g}", pace) if x)


def _cut_short(step: int, steps: int) -> str:
    """That time was up before the last step, whether other work took from it, and what to do."""
    line = f"max_time was up at step {step}, before the last step ({steps})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[2] if hasattr(os, "getloadavg") else 0.0
    if load > cores + 0.5:
        line += f", and less was learnt than on a free machine: {load:.1f} programs wanted its {cores} processors"
    return f"{line}. More time: --trainer.max_time DD:HH:MM:SS, in a folder of its own"


def time_left_s(trainer: L.Trainer) -> float | None:
    """Seconds left of ``max_time``, where there is one."""
    left = [c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    return min((s for s in left if s is not None), default=None)


def _count(batches: list[int | float]) -> float | None:
    total = sum(batches)
    return total if math.isfinite(total) else None
