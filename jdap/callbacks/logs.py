"""What TensorBoard shows of a training beyond its losses: where along the noise they arise, gradients, a depth table.

Between two log steps everything stays on the device; nothing waits for it.
"""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from jdap.stages.parts.report import DiffusionStage, StepReport

HALVES = ("rgb", "depth")


class NoiseLog(L.Callback):
    """Loss and gradient of each modality, by the timestep of its half.

    Every ``log_every_n_steps`` steps, over this process's samples since the last time, for modality M and each of
    ``bins`` equal ranges of the timesteps:

    * ``bins/loss_M/LOW-HIGH``: the mean of the samples' terms of the loss, weights included
    * ``bins/grad_M/LOW-HIGH``: the mean norm of the loss's gradient at the network's output for one sample: how hard it
      pulls at its half

    A range without samples has no point. The gradients with respect to the weights, before clipping, are
    ``train/grad_norm`` of all of them and ``train/grad_norm_NAME`` of each network.

    Args:
        bins: number of ranges.
    """

    def __init__(self, bins: int = 4) -> None:
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        self.bins, self._logged_at = bins, 0
        self._pulls: dict[str, list[Tensor]] = {half: [] for half in HALVES}
        self._sums: Tensor | None = None
        self._hook: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen to the gradient at the network's output."""
        self._logged_at = trainer.global_step
        self._hook = pl_module.get_submodule("unet").register_forward_hook(self._listen)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop listening."""
        self._hook.remove()

    def _listen(self, module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> None:
        for half, v in zip(HALVES, output, strict=True):
            if v.requires_grad:
                v.register_hook(
                    lambda grad, half=half: self._pulls[half].append(grad.detach().float().flatten(1).norm(dim=1))
                )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """The norms of the gradients, at the steps that are logged."""
        if not self._due(trainer, trainer.global_step + 1):
            return
        squares = {
            name: sum(_square(p.grad) for p in network.parameters() if p.grad is not None)
            for name, network in pl_module.named_children()
            if any(p.requires_grad for p in network.parameters())
        }
        scalars = {f"train/grad_norm_{name}": float(x) ** 0.5 for name, x in squares.items()}
        self._log(trainer, scalars | {"train/grad_norm": float(sum(squares.values())) ** 0.5}, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch to the sums; log those."""
        report: StepReport = outputs["report"]
        if report.rgb is None or report.depth is None:  # a step that is not about pictures
            return
        timesteps = cast(DiffusionStage, pl_module).schedule.timesteps
        rows = []
        for half, told in zip(HALVES, (report.rgb, report.depth), strict=True):
            assert told.t_B is not None
            loss_B, (pull_B,) = told.loss_B.float(), self._pulls[half]
            if report.asked_B is not None:
                pull_B = pull_B[report.asked_B]
            counted_B = told.counts_B.float()
            place = (told.t_B.to(loss_B.device) * self.bins // timesteps).clamp(0, self.bins - 1)
            values = torch.stack([loss_B * counted_B, pull_B * counted_B, counted_B])
            rows.append(values.new_zeros(3, self.bins).index_add_(1, place, values))
            self._pulls[half] = []
        sums = torch.stack(rows)
        self._sums = sums if self._sums is None else self._sums + sums
        if trainer.global_step == self._logged_at or not self._due(trainer, trainer.global_step):
            return
        scalars: dict[str, float] = {}
        for half, table in zip(HALVES, self._sums.tolist(), strict=True):
            for i, (loss, pull, count) in enumerate(zip(*table, strict=True)):
                if count:
                    name = f"{i * timesteps // self.bins:04d}-{(i + 1) * timesteps // self.bins - 1:04d}"
                    scalars |= {f"bins/loss_{half}/{name}": loss / count, f"bins/grad_{half}/{name}": pull / count}
        self._log(trainer, scalars, trainer.global_step - 1)
        self._sums, self._logged_at = None, trainer.global_step

    @staticmethod
    def _due(trainer: L.Trainer, step: int) -> bool:
        return step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    @staticmethod
    def _log(trainer: L.Trainer, scalars: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step)


class DepthTable(L.Callback):
    """The validation's depth scores as a table in TensorBoard's text tab, a row a validation."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self.names: list[str] = []

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add a row, and write the table."""
        scores = {n.removeprefix("val/"): float(x) for n, x in trainer.callback_metrics.items() if n.startswith("val/")}
        if trainer.sanity_checking or not scores:
            return
        self.names = list(scores)
        self.rows.append([trainer.global_step, *scores.values()])
        lines = [f"| step | {' | '.join(self.names)} |", "|---" * (1 + len(self.names)) + "|"]
        lines += [f"| {row[0]:.0f} | {' | '.join(f'{x:.4f}' for x in row[1:])} |" for row in self.rows]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("val/depth", "\n".join(lines), trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """The rows, so that a resumed run adds to them."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.rows = state_dict["rows"]


def _square(gradient: Tensor) -> Tensor:
    whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return whole.float().square().sum()
