"""How the parser that ships was trained: cross-entropy on augmented pictures of the studio, resumable.

Shapes: B pictures, S x S pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.parser.augment import augmented
from benchmarks.parser.people import Labelled
from benchmarks.resumable import Resumable
from jdap.faces.parser_net import ParserNet

BATCH, RATE = 32, 4e-3
#: Of the loss, by class: thin and rare ones count more (background, skin, hair, glasses, hat, cloth).
CLASS_WEIGHTS = (0.8, 1.0, 1.3, 4.0, 1.5, 1.0)
#: The averaged network forgets so much of itself in a step.
FORGET = 0.01
KEEP_EVERY = 50


def train(
    people: Labelled,
    steps: int,
    checkpoint: Path,
    *,
    seconds: float = float("inf"),
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[ParserNet, int, float]:
    """Train until ``steps`` are done or ``seconds`` have passed, from ``checkpoint`` on where it is there.

    Returns the averaged network, the steps that are done and the processor seconds of all runs together. A step's
    pictures follow from the seed and the step: where a run was interrupted does not matter. Raises
    :class:`benchmarks.BenchmarkError` for a checkpoint that was begun with other steps, pictures or another seed.
    """
    torch.manual_seed(seed)
    net, mean = ParserNet().train(), ParserNet()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.08)
    begun_with = {"steps": steps, "pictures": len(people), "seed": seed}
    run = Resumable(checkpoint, begun_with, net=net, mean=mean, optimizer=optimizer, schedule=schedule)
    weights = torch.tensor(CLASS_WEIGHTS)

    def loss_of(generator: Generator) -> Tensor:
        which = torch.randint(len(people), (BATCH,), generator=generator).numpy()
        rgb, label = augmented(people.rgb_NSS3[which], people.label_NSS[which], generator)
        logits = net(rgb.to(memory_format=torch.channels_last))
        return F.cross_entropy(logits, label, weights, label_smoothing=0.02)

    how: dict[str, Any] = {"seed": seed, "keep_every": KEEP_EVERY, "on_step": on_step}
    run.learn(loss_of, lambda done: max(FORGET, 1 / done), steps, seconds, **how)
    return mean.eval(), run.done, run.spent
