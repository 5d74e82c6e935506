"""How what hears speech was trained: squared error of expressions and of how they change, on changed sound, resumable.

Shapes: B windows, F frames, S audio samples at 16 kHz, M mel frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.resumable import Resumable
from benchmarks.speaking.people import SPOKEN, Spoken
from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.mel import mel_power
from jdap.models.audio.speaking import OPENING_MM, SpeakingFace

_BATCH, _WINDOW, _RATE = 32, 50, 2e-3
#: Of the loss: the jaw counts twice, the lips' opening four times; how all changes from frame to frame half.
_JAW, _OPENING, _CHANGE = 2.0, 4.0, 0.5
#: The averaged network forgets so much of itself in a step.
_FORGET = 0.005
_KEEP_EVERY = 200
#: Other voices and microphones: the spectrum stretched (log), a random curve over it and loudness (both in powers of
#: ten), and the share of windows with noise, so far under the voice at most and at least.
_STRETCH, _CURVE, _LOUDNESS, _NOISY, _NOISE = 0.22, 0.6, 1.3, 0.8, (0.5, 4.0)


def train(
    spoken: Spoken,
    steps: int,
    checkpoint: Path,
    *,
    seconds: float = float("inf"),
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[SpeakingFace, int, float]:
    """Train until ``steps`` are done or ``seconds`` have passed, from ``checkpoint`` on where it is there.

    Returns the averaged network, the steps that are done and the processor seconds of all runs together. What a step
    hears follows from the seed and the step: where a run was interrupted does not matter. Raises
    :class:`benchmarks.BenchmarkError` for a checkpoint that was begun with other steps, speakers or another seed.
    """
    torch.manual_seed(seed)
    net, mean = SpeakingFace(SPOKEN).train(), SpeakingFace(SPOKEN)
    target_NFE, spread_E = targets(spoken)
    with torch.no_grad():
        net.leave.bias.copy_(target_NFE.flatten(0, 1).mean(0))
        net.leave.weight.mul_(0.1)
    mean.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    begun_with = {"steps": steps, "speakers": len(spoken), "seed": seed}
    run = Resumable(checkpoint, begun_with, net=net, mean=mean, optimizer=optimizer, schedule=schedule)

    def loss_of(generator: Generator) -> Tensor:
        audio, target = _windows(spoken.audio_NS, target_NFE, net.context_frames, generator)
        said = net.said(net.encoder.hear(changed(mel_power(audio, net.encoder.bands), generator), _WINDOW))
        found = torch.cat([said.expression_BFE, said.opening_mm_BF[..., None] / OPENING_MM], 2)
        return error_of(found, target, spread_E)

    how: dict[str, Any] = {"seed": seed, "keep_every": _KEEP_EVERY, "on_step": on_step}
    run.learn(loss_of, lambda done: max(_FORGET, 1 / (done + 1)), steps, seconds, **how)
    return mean.eval(), run.done, run.spent


def targets(spoken: Spoken) -> tuple[Tensor, Tensor]:
    """(N, F, E) expressions and, last, the lips' opening in the network's unit; (E,) how far each is spread."""
    target_NFE = torch.cat([spoken.expression_NFE, spoken.opening_mm_NF[..., None] / OPENING_MM], 2)
    return target_NFE, target_NFE.flatten(0, 1).std(0)


def error_of(found_BFE: Tensor, target_BFE: Tensor, spread_E: Tensor) -> Tensor:
    """The loss: weighted squared error over the spread, of what is found and of how it changes, a scalar."""
    weight_E = torch.tensor([_JAW, *[1.0] * (len(SPOKEN) - 1), _OPENING])
    error = (found_BFE - target_BFE) / spread_E
    return (error.square() * weight_E).mean() + _CHANGE * (error.diff(dim=1).square() * weight_E).mean()


def changed(power_BMT: Tensor, generator: Generator) -> Tensor:
    """Mel power (B, bands, M) as of another voice, microphone and room."""
    count, bands, frames = power_BMT.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def curve(strength: float) -> Tensor:
        knots = strength * torch.randn(count, 1, 6, generator=generator)
        return F.interpolate(knots, bands, mode="linear", align_corners=True).transpose(1, 2)

    at = (torch.arange(bands) + 0.5) * torch.exp(_STRETCH * (2 * uniform(count, 1) - 1)) - 0.5
    low = at.floor().clamp(0, bands - 1).long()
    share = (at - low).clamp(0, 1)[..., None]
    near, far = (
        power_BMT.gather(1, index[..., None].expand(-1, -1, frames)) for index in (low, (low + 1).clamp_max(bands - 1))
    )
    power = torch.lerp(near, far, share) * 10 ** (curve(_CURVE) + _LOUDNESS * (2 * uniform(count, 1, 1) - 1))
    least, most = _NOISE
    under = least + (most - least) * uniform(count, 1, 1)
    level = power.mean((1, 2), keepdim=True) * 10 ** (curve(_CURVE) - under)
    noise = level * torch.empty_like(power).exponential_(generator=generator)
    return power + noise * (uniform(count, 1, 1) < _NOISY)


def _windows(audio_NS: Tensor, target_NFE: Tensor, around: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Sound (B, 640 (F + 2 around)) of random windows, and what the face does in their F frames (B, F, E)."""
    which = torch.randint(len(audio_NS), (_BATCH,), generator=generator)
    first = torch.randint(target_NFE.shape[1] - _WINDOW + 1, (_BATCH,), generator=generator).tolist()
    padded = F.pad(audio_NS[which], (around * FRAME_SAMPLES, around * FRAME_SAMPLES))
    length = (_WINDOW + 2 * around) * FRAME_SAMPLES
    audio = torch.stack([one[f * FRAME_SAMPLES :][:length] for one, f in zip(padded, first, strict=True)])
    return audio, torch.stack([one[f : f + _WINDOW] for one, f in zip(target_NFE[which], first, strict=True)])
