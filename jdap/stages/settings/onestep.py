"""What can be set of the one-step stage, by what is changed together."""

from __future__ import annotations

from dataclasses import dataclass

from jdap.stages.settings.checks import check_least
from jdap.stages.settings.optimizer import OptimizerSettings

#: The rate falls along a cosine over the whole run.
ONE_STEP_OPTIMIZER = OptimizerSettings(1e-4, 50, decay=1.0)


@dataclass(frozen=True)
class OneStepLossSettings:
    """How the parts of the loss weigh.

    Args:
        power: of the residual in the loss, 1 or 2.
        gradient: weight, from 0, of the multi-scale gradient term (:func:`jdap.metrics.ssi.ssi_loss`).
        framed: weight, from 0, of the squared error without scale and shift, over the whole picture; without it depth
            would leave the frame [-1, 1], to which a pipeline clips it.
        outside_skin: weight, from 0, of that error off the skin, on studio samples only, where the depth of the whole
            head is true.
    """

    power: int = 1
    gradient: float = 0.5
    framed: float = 0.1
    outside_skin: float = 0.1

    def __post_init__(self) -> None:
        if self.power not in (1, 2):
            raise ValueError(f"model.loss.power must be 1 or 2, got {self.power}")
        check_least("loss", 0, gradient=self.gradient, framed=self.framed, outside_skin=self.outside_skin)
