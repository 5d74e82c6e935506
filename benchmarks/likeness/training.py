"""How the network that looks at moved references was trained: squared error of clean RGB latents, resumable.

Shapes: N pictures, B of a step, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.likeness.pairs import Tried
from benchmarks.resumable import Resumable
from jdap.models.image.likeness_net import LikenessNet
from jdap.stages.parts.muon import Muon

_BATCH, _RATE, _WARM = 16, 4e-3, 30
#: From this share of the steps on the rate falls to 0.
_FALLS = 0.4
#: Skin weighs so much more.
_SKIN = 2.0
#: The averaged network forgets so much of itself in a step.
_FORGET = 0.005
_KEEP_EVERY = 200
#: Pictures of like noise, over which the UNet's own error is averaged.
_LIKE = 200


def train(
    tried: Tried,
    steps: int,
    checkpoint: Path,
    *,
    start: LikenessNet | None = None,
    seconds: float = float("inf"),
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[LikenessNet, int, float]:
    """Train until ``steps`` are done or ``seconds`` have passed, from ``checkpoint`` on where it is there.

    A ``start`` that is not None is trained on, else a network is begun.

    The loss is in shares of the UNet's own error at that noise: 1 is what it has without the network. Returns the
    averaged network, the steps that are done and the processor seconds of all runs together. What a step sees follows
    from the seed and the step: where a run was interrupted does not matter. Raises
    :class:`benchmarks.BenchmarkError` for a checkpoint that was begun with other steps, pictures or another seed.
    """
    torch.manual_seed(seed)
    # Without the folder that a start was read from, which would be written beside the weights.
    sizes = {} if start is None else {name: x for name, x in start.config.items() if not name.startswith("_")}
    net, mean = (LikenessNet(**{"latent_channels": tried.target.shape[1]} | sizes) for _ in range(2))
    if start is not None:
        net.load_state_dict(start.state_dict())
    mean.load_state_dict(net.train().state_dict())
    usual_N = usual_error(tried)
    optimizer = Muon(net.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=0.01)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / _WARM, max(0.0, (1 - step / steps) / (1 - _FALLS)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    begun_with = {"steps": steps, "pictures": len(usual_N), "seed": seed}
    run = Resumable(checkpoint, begun_with, net=net, mean=mean, optimizer=optimizer, schedule=schedule)

    def loss_of(generator: Generator) -> Tensor:
        which = torch.randint(len(usual_N), (_BATCH,), generator=generator)
        return error_of(net, Tried(*(x[which].float() for x in tried)), usual_N[which])

    how: dict[str, Any] = {"seed": seed, "keep_every": _KEEP_EVERY, "on_step": on_step}
    run.learn(loss_of, lambda done: max(_FORGET, 1 / (done + 1)), steps, seconds, **how)
    return mean.eval(), run.done, run.spent


def error_of(net: LikenessNet, some: Tried, usual_B: Tensor) -> Tensor:
    """Squared error, skin weighted, over what is usual at such noise: a scalar."""
    found = net(some.noisy, some.clean, some.moved, some.seen, some.depth, some.log_snr)
    weight = 1 + _SKIN * some.skin
    error_B = ((found - some.target).square() * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    return (error_B / usual_B).mean()


def usual_error(tried: Tried) -> Tensor:
    """(N,) the UNet's own squared error, averaged over the :data:`_LIKE` pictures with the nearest noise."""
    error_N = torch.stack([(a.float() - b.float()).square().mean() for a, b in zip(*tried[1:3], strict=True)])
    order, around = tried.log_snr.argsort(), min(_LIKE, len(error_N) - 1) // 2
    padded = F.pad(error_N[order][None, None], (around, around), mode="replicate")
    usual_N = torch.empty_like(error_N)
    usual_N[order] = F.avg_pool1d(padded, 2 * around + 1, 1)[0, 0]
    return usual_N
