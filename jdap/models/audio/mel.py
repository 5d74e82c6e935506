"""Log-mel spectrum in step with the video, and the small encoder on it that learns.

Shapes: B clips, S samples at 16 kHz, F video frames, M = 4 F mel frames, C channels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from jdap.models.audio.frames import FRAME_SAMPLES, check_sound
from jdap.units import SAMPLE_RATE

#: 25 ms windows every 10 ms: four mel frames a video frame.
N_FFT, HOP = 400, 160
#: Of the mel bands, Hz.
F_MIN, F_MAX = 0.0, SAMPLE_RATE / 2


def mel_power(audio_BS: Tensor, bands: int) -> Tensor:
    """(B, S) in [-1, 1] → (B, bands, S / 160) float32: power in mel bands (Slaney's scale and norm), Hann window.

    Mel frame m is centred on sample 160 m + 80, so frames 4 k … 4 k + 3 tile video frame k. There is silence beyond
    both ends. S must be a multiple of 160.
    """
    window, filters = _constants(bands, audio_BS.device)
    beyond = (N_FFT - HOP) // 2
    with torch.autocast(audio_BS.device.type, enabled=False):
        sound = F.pad(audio_BS.float(), (beyond, beyond))
        spectrum = torch.stft(sound, N_FFT, HOP, window=window, center=False, return_complex=True)
        return filters @ torch.view_as_real(spectrum).square().sum(-1)


@lru_cache(maxsize=8)
def _constants(bands: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (400,) and the filters (bands, 201). No buffers: a network cast to bfloat16 must not round them."""
    filters = mel_filter_bank(N_FFT // 2 + 1, bands, F_MIN, F_MAX, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    with torch.inference_mode(False):  # kept for calls that train
        return torch.hann_window(N_FFT, device=device), torch.tensor(filters.T, dtype=torch.float32, device=device)


class LogMelEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Log-mel and a few convolutions. It hears near sounds only, and nothing depends on the rest of its window: sound
    that comes in pieces gives what the whole gives.

    ``(log10(power + floor) - mean) / std`` is fixed: normalising by what the window holds would tie a frame to all
    others. ``floor`` makes digital silence and a quiet room alike; mean and std are those of speech: 46 s of the
    shipped talking shards gave -4.0 and 1.7, 40 s of recordings in five languages -3.9 and 1.7.

    Two convolutions of stride 2 bring four mel frames to one video frame; with the window of the spectrum they reach
    600 of 640 samples into the neighbouring frames. Each residual block adds one frame on each side.

    Args:
        channels: C.
        blocks: residual blocks at 25 fps, 0 or more.
        bands: of the mel spectrum.
        floor, mean, std: as above.
    """

    layers = 1

    @register_to_config
    def __init__(
        self,
        channels: int = 128,
        blocks: int = 1,
        bands: int = 80,
        floor: float = 1e-6,
        mean: float = -4.0,
        std: float = 1.7,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.context_frames = 1 + blocks
        self.down = nn.ModuleList(nn.Conv1d(width, channels, 4, stride=2, padding=1) for width in (bands, channels))
        self.residual = nn.ModuleList(_Block(channels) for _ in range(blocks))

    @property
    def bands(self) -> int:
        """Of the mel spectrum."""
        return self.config["bands"]

    def log_mel(self, power_BM: Tensor) -> Tensor:
        """Mel power (B, bands, M) → float32 near zero mean and unit variance for speech."""
        return ((power_BM + self.config["floor"]).log10() - self.config["mean"]) / self.config["std"]

    def forward(self, audio_BS: Tensor, frames: int) -> Tensor:
        """(B, 640 F) in [-1, 1] → (B, F, C). Raises ValueError for sound of another length."""
        check_sound(audio_BS, frames)
        # silence as the spectrum shows it, rather than the convolutions' zeros
        beyond = self.context_frames * FRAME_SAMPLES
        return self.hear(mel_power(F.pad(audio_BS, (beyond, beyond)), self.bands), frames)

    def hear(self, power_BM: Tensor, frames: int) -> Tensor:
        """Mel power (B, bands, M) of F frames and the context on both sides → (B, F, C)."""
        context = self.context_frames
        x = self.log_mel(power_BM).to(self.dtype)
        for down in self.down:
            x = F.gelu(down(x))
        for block in self.residual:
            x = block(x)
        return x[..., context : context + frames].transpose(1, 2)


class _Block(nn.Module):
    """Norm over channels, convolution of three frames, linear layer; residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.near = nn.Conv1d(channels, channels, 3, padding=1)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x_BCF: Tensor) -> Tensor:
        normed = self.norm(x_BCF.transpose(1, 2)).transpose(1, 2)
        return x_BCF + self.mix(F.gelu(self.near(normed)))
