"""``python -m benchmarks hearing``: by what should a mouth hear? Log-mel, or a speech recogniser's encoder.

The same small network learns what mouths do (:mod:`benchmarks.speaking.people`) from either, with equal steps, windows
and seeds; the features are fixed, so that nothing but them differs. Two controls learn from the log-mel of another
speaker, and of silence, which is all that this one hears when it is measured. Sound is not changed to be that of other
voices, as :mod:`benchmarks.speaking.training` does, for that is done to a spectrum. Measured as ``benchmarks speaking``
is. Writes ``hearing.json`` and ``hearing.csv``.

Shapes: N speakers, B clips, F frames at 25 fps, S audio samples at 16 kHz, C features.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Generator, Tensor, nn

from benchmarks import BenchmarkError, report
from benchmarks.choices import EARS
from benchmarks.speaking import measure, people
from benchmarks.speaking.training import error_of, targets
from jdap.io.files import make_folder
from jdap.io.progress import Telling
from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.mel import LogMelEncoder, mel_power
from jdap.models.audio.moonshine import MoonshineEncoder
from jdap.models.audio.speaking import OPENING_MM, Articulation
from jdap.models.loading import WeightsError

_SHUFFLED, _SILENT = "mel, taught by another's sound", "no sound"
#: A window of sound: recognisers hear the whole of it, so it is one length everywhere.
_WINDOW, _BANDS, _MEL_A_FRAME = 100, 80, 4
_CHANNELS, _BLOCKS, _BATCH, _RATE = 128, 6, 16, 2e-3

#: Sound (B, 640 F) → features (B, F, C).
Ear = Callable[[Tensor], Tensor]


def mel_ear() -> tuple[Ear, int]:
    """Four log-mel spectra a frame, and how many numbers they are."""
    encoder = LogMelEncoder(bands=_BANDS)

    def hear(audio_BS: Tensor) -> Tensor:
        mel = encoder.log_mel(mel_power(audio_BS, _BANDS))
        return mel.unflatten(2, (-1, _MEL_A_FRAME)).permute(0, 2, 1, 3).flatten(2)

    return hear, _BANDS * _MEL_A_FRAME


def moonshine_ear() -> tuple[Ear, int]:
    """The recogniser's features. Raises BenchmarkError where it is not installed."""
    try:
        encoder = MoonshineEncoder()
    except WeightsError as error:
        raise BenchmarkError(f"{error}; or leave it out: --ears mel") from error
    return (lambda audio_BS: encoder(audio_BS, audio_BS.shape[1] // FRAME_SAMPLES)), encoder.channels


class Mouthing(nn.Module):
    """Features → what a face does: a linear layer, residual convolutions of three frames, a linear layer.

    ``ear`` and ``width``: what the features are of sound, and how many. ``names``: of the E expressions.
    """

    mean_C: Tensor
    spread_C: Tensor

    def __init__(self, ear: Ear, width: int, names: tuple[str, ...] = people.SPOKEN) -> None:
        super().__init__()
        self.ear = ear
        # A norm over features would take loudness away from a spectrum: each is brought to what it is in training.
        self.register_buffer("mean_C", torch.zeros(width))
        self.register_buffer("spread_C", torch.ones(width))
        self.enter = nn.Linear(width, _CHANNELS)
        self.near = nn.ModuleList(nn.Conv1d(_CHANNELS, _CHANNELS, 3, padding=1) for _ in range(_BLOCKS))
        self.norms = nn.ModuleList(nn.LayerNorm(_CHANNELS) for _ in range(_BLOCKS))
        self.leave = nn.Sequential(nn.LayerNorm(_CHANNELS), nn.GELU(), nn.Linear(_CHANNELS, len(names) + 1))

    def said(self, features_BFC: Tensor) -> Articulation:
        """What features ask of the face."""
        x = self.enter((features_BFC - self.mean_C) / self.spread_C)
        for norm, near in zip(self.norms, self.near, strict=True):
            x = x + F.gelu(near(norm(x).transpose(1, 2))).transpose(1, 2)
        found = self.leave(x)
        return Articulation(found[..., :-1], found[..., -1] * OPENING_MM)

    def forward(self, audio_BS: Tensor, frames: int) -> Articulation:
        """What sound (B, 640 F) asks of the face, window by window; silence beyond the end."""
        windows = -(-frames // _WINDOW)
        sound = F.pad(audio_BS, (0, windows * _WINDOW * FRAME_SAMPLES - audio_BS.shape[1]))
        parts = [self.said(self.ear(one)) for one in sound.split(_WINDOW * FRAME_SAMPLES, dim=1)]
        return Articulation(*(torch.cat(x, 1)[:, :frames] for x in zip(*parts, strict=True)))


def learn(
    net: Mouthing, features_NFC: Tensor, spoken: people.Spoken, steps: int, seed: int, tell: Callable[[int], None]
) -> Mouthing:
    """Train on the features of each speaker's sound; what a step sees follows from the seed and the step."""
    target_NFE, spread_E = targets(spoken)
    net.mean_C.copy_(features_NFC.flatten(0, 1).mean(0))
    net.spread_C.copy_(features_NFC.flatten(0, 1).std(0).clamp_min(1e-3))
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        which = torch.randint(len(spoken), (_BATCH,), generator=Generator().manual_seed(seed * 1_000_003 + step))
        said = net.said(features_NFC[which])
        found = torch.cat([said.expression_BFE, said.opening_mm_BF[..., None] / OPENING_MM], 2)
        optimizer.zero_grad()
        error_of(found, target_NFE[which], spread_E).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tell(step + 1)
    return net.eval()


def heard(ear: Ear, audio_NS: Tensor, tell: Callable[[int], None]) -> Tensor:
    """(N, F, C) features of every speaker's sound."""
    found = []
    for k, audio in enumerate(audio_NS.split(10)):
        found.append(ear(audio))
        tell(min(10 * (k + 1), len(audio_NS)))
    return torch.cat(found)


def run(args: argparse.Namespace) -> int:
    """Train every arm, measure it, print the tables, and write the files into ``args.out``."""
    console = Console()
    make_folder(args.out)
    known = dict(zip(EARS, (mel_ear, moonshine_ear), strict=True))
    ears = {name: known[name]() for name in args.ears}
    for split, count in (("train", args.speakers), ("test", args.test_speakers)):
        with Telling(f"{split} speaker", count, console=console) as telling:
            for there in people.draw_missing(args.drawn, split, count):
                telling.tell(there)
    spoken, test = people.read(args.drawn, "train", args.speakers), people.read(args.drawn, "test", args.test_speakers)
    videos = measure.seen_in(args.videos, console) if args.videos else []
    arms: dict[str, tuple[Ear, int, Callable[[Tensor], Tensor]]] = {
        name: (ear, width, lambda x: x) for name, (ear, width) in ears.items()
    }
    mel, width = mel_ear()
    arms |= {
        _SHUFFLED: (mel, width, lambda x: x.roll(1, 0)),
        _SILENT: (lambda audio_BS: mel(torch.zeros_like(audio_BS)), width, lambda x: x),
    }
    rows: list[dict[str, Any]] = []
    for name, (ear, width, change) in arms.items():
        with Telling(f"{name}: speaker", len(spoken), console=console) as telling, torch.no_grad():
            features = heard(ear, change(spoken.audio_NS), telling.tell)
        torch.manual_seed(args.seed)
        with Telling(f"{name}: step", args.steps, console=console) as telling:
            net = learn(Mouthing(ear, width), features, spoken, args.steps, args.seed, telling.tell)
        found = measure.of_speakers(net, test, args.seed)
        found += measure.of_videos(net, videos, args.seed) if videos else []
        rows += [row | {"answer": f"{name}: {row['answer']}"} for row in found]
    settings = {name: getattr(args, name) for name in ("speakers", "test_speakers", "steps", "seed")}
    stamp = report.software_stamp() | settings | {"videos": len(videos)}
    measure.publish(args.out / "hearing", rows, stamp, console)
    return 0
