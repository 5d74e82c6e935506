"""What can be set of the optimiser, of every stage alike."""

from __future__ import annotations

from dataclasses import dataclass

from jdap.stages.settings.checks import check_choice, check_least, check_shares

ADAMW, MUON, ADAMW_8BIT = "adamw", "muon", "adamw8bit"
COSINE, LINE = "cosine", "line"


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimiser, and how its rate rises and falls.

    Args:
        learning_rate: peak rate; 1e-5 to fine-tune a large model, 1e-4 and up from scratch.
        warmup_steps: steps over which the rate rises from 0.
        decay: share of the run at whose end the rate falls to 0, 1 for all of it, 0 for none. A run ends with the
            trainer's last step or its ``max_time``, whichever comes first.
        decay_shape: how it falls, along a ``cosine`` or in a ``line``.
        weight_decay: AdamW's.
        beta2: AdamW's; a short run wants a shorter memory than the usual 0.999.
        kind: ``adamw``; ``muon`` (:mod:`jdap.stages.parts.muon`); or ``adamw8bit`` with states of 8 bits (extra
            ``jdap[adamw8bit]``, CUDA).
    """

    learning_rate: float = 1e-5
    warmup_steps: int = 500
    decay: float = 0.0
    decay_shape: str = COSINE
    weight_decay: float = 1e-2
    beta2: float = 0.999
    kind: str = ADAMW

    def __post_init__(self) -> None:
        check_choice("optimizer.kind", self.kind, (ADAMW, MUON, ADAMW_8BIT))
        check_choice("optimizer.decay_shape", self.decay_shape, (COSINE, LINE))
        check_shares("optimizer", decay=self.decay, beta2=self.beta2)
        rates = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        check_least("optimizer", 0, warmup_steps=self.warmup_steps, **rates)
