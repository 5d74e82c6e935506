"""What a stage tells callbacks: of each training step, and what they may ask it for.

Shapes: B samples of a step; of clips, all frames, a clip's next to each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, TypedDict

import lightning as L
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from jdap.diffusion.schedule import NoiseSchedule
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline


class HalfReport(NamedTuple):
    """RGB or depth of a step's samples.

    * ``loss_B``: each sample's term of the loss, weights included
    * ``counts_B``: bool, whether the sample has one
    * ``t_B``: the half's timesteps; None where a stage has none
    """

    loss_B: Tensor
    counts_B: Tensor
    t_B: Tensor | None = None


class StepReport(NamedTuple):
    """What a step was about.

    * ``rgb``, ``depth``: the halves; None where the step has nothing of it
    * ``asked_B``: at which place the network was asked for each sample; None: in the samples' order
    """

    rgb: HalfReport | None = None
    depth: HalfReport | None = None
    asked_B: Tensor | None = None

    def terms(self, samples: int) -> dict[str, Tensor]:
        """The terms of each of a batch's samples by name; (samples,) each, a clip's mean over its frames."""
        halves = {"loss_rgb": self.rgb, "loss_depth": self.depth}
        return {name: half.loss_B.reshape(samples, -1).mean(1) for name, half in halves.items() if half is not None}


class StepOutput(TypedDict):
    """What ``training_step`` returns, and ``on_train_batch_end`` gets as ``outputs``."""

    loss: Tensor
    report: StepReport


class DiffusionStage(L.LightningModule, ABC):
    """What callbacks may read of a stage that denoises, beside what every LightningModule has.

    * ``schedule``: of its timesteps
    * ``report``: of the last training step, for hooks that come before the step's end
    """

    schedule: NoiseSchedule

    def __init__(self) -> None:
        super().__init__()
        self.report = StepReport()

    def setup(self, stage: str) -> None:
        """Buffers never change, so DDP need not send them before every step.

        It would in validations too, and wait for ever for a process that has fewer batches than another.
        """
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            self, [name for name, _ in self.named_buffers()]
        )

    @abstractmethod
    def pipeline(self) -> PortraitPipeline | TalkingPipeline:
        """The networks as they are now, as a pipeline that shares them."""
