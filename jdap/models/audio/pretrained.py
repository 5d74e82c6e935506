"""Speech networks of transformers as frozen audio encoders.

Shapes: B clips, S samples at 16 kHz, F video frames, C = layers x width channels.

Features are the hidden states of all layers side by side: which of them tells most about lips is learned by
:class:`jdap.models.audio.projection.AudioProjection`, so nothing here trains, and what is here can be kept as it is.
Attention hears the whole window; ``context_frames`` is the margin that windows are given, one second: it holds the
word that a frame is part of, and hides that the window ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model, WhisperConfig
from transformers.models.whisper import modeling_whisper

from jdap.io.assets import find_folder
from jdap.models.audio.frames import FRAME_SAMPLES, check_sound
from jdap.models.audio.mel import HOP, mel_power
from jdap.models.loading import WeightsError, fill_strict, one_line, read_json, read_tensors
from jdap.units import FPS

#: Video frames of sound that windows are given on each side.
CONTEXT_FRAMES = 25
WEIGHTS = "model.safetensors"


class _Frozen(nn.Module):
    """A network that never trains: no gradient, no dropout, whatever is said to the module that holds it."""

    context_frames = CONTEXT_FRAMES

    def __init__(self, network: Any, layers: int, width: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.layers, self.channels = layers, layers * width

    def train(self, mode: bool = True) -> _Frozen:
        super().train(mode)
        self.network.eval()
        return self

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config and weights to a folder, from which ``from_pretrained`` reads them."""
        self.network.save_pretrained(folder)


class Wav2VecEncoder(_Frozen):
    """wav2vec 2.0: features at 50 Hz, the mean of the two in a video frame.

    Feature j looks at samples 320 j … 320 j + 399; 40 samples of silence on each side centre features 2 k and 2 k + 1
    on video frame k.

    Args:
        network: the model without a head.
        normalise: give each window zero mean and unit variance, as the network's preprocessor does.

    Raises:
        ValueError: where the network's features are not in step with 25 fps.
    """

    def __init__(self, network: Wav2Vec2Model, normalise: bool = True) -> None:
        config = network.config
        super().__init__(network, config.num_hidden_layers + 1, config.hidden_size)
        self.normalise = normalise
        stride, reach = 1, 1
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            reach += (kernel - 1) * stride
            stride *= step
        if FRAME_SAMPLES % stride or reach < stride:
            raise ValueError(f"features of {reach} samples every {stride} do not tile {FRAME_SAMPLES}, a video frame")
        self._each = FRAME_SAMPLES // stride
        self._beyond = ((reach - stride) // 2, reach - stride - (reach - stride) // 2)

    @torch.no_grad()
    def forward(self, audio_BS: Tensor, frames: int) -> Tensor:
        """(B, 640 F) in [-1, 1] → (B, F, C). Raises ValueError for sound of another length."""
        check_sound(audio_BS, frames)
        sound = audio_BS.float()
        if self.normalise:
            variance, mean = torch.var_mean(sound, 1, correction=0, keepdim=True)
            sound = (sound - mean) / (variance + 1e-7).sqrt()
        sound = F.pad(sound, self._beyond).to(self._dtype)
        states = self.network(sound, output_hidden_states=True).hidden_states
        return torch.cat(states, -1).unflatten(1, (frames, self._each)).mean(2)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config, weights and preprocessor to a folder, from which :meth:`from_pretrained` reads them."""
        super().save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=self.normalise).save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Wav2VecEncoder:
        """From a transformers folder or hub id, with or without a head: float32, strictly, or WeightsError.

        ``do_normalize`` of its ``preprocessor_config.json`` says whether windows are normalised; without one, they are.
        """
        folder = find_folder(name, "give a transformers folder of wav2vec 2.0")
        # Masks are for training; checkpoints hold the vector for them or not, whatever their config says.
        config = _read_config(folder, Wav2Vec2Config, mask_time_prob=0.0, mask_feature_prob=0.0)
        tensors = _without_prefix(read_tensors(folder / WEIGHTS), "wav2vec2.")
        tensors.pop("masked_spec_embed", None)
        for old, new in (("weight_g", "original0"), ("weight_v", "original1")):  # before torch 2.1
            place = "encoder.pos_conv_embed.conv."
            if place + old in tensors:
                tensors[f"{place}parametrizations.weight.{new}"] = tensors.pop(place + old)
        preprocessor = folder / "preprocessor_config.json"
        normalise = read_json(preprocessor).get("do_normalize", True) if preprocessor.is_file() else True
        if not isinstance(normalise, bool):
            raise WeightsError(f"{preprocessor}: do_normalize must be true or false, got {normalise!r}")
        network = _build(Wav2Vec2Model, config, tensors, folder)
        try:
            return cls(network, normalise)
        except ValueError as error:
            raise WeightsError(f"{folder}: {error}") from error


class WhisperEncoder(_Frozen):
    """The encoder of Whisper: features at 50 Hz, the mean of the two in a video frame.

    It reads 30 s at once, always: shorter sound is followed by silence, as in its training. Feature j is centred on
    sample 320 j; 480 samples of silence before the sound centre features 2 k + 2 and 2 k + 3 on video frame k.
    """

    #: Samples of silence before the sound; features before those of video frame 0.
    _BEFORE, _SKIPPED = 480, 2

    def __init__(self, network: modeling_whisper.WhisperEncoder) -> None:
        super().__init__(network, network.config.encoder_layers + 1, network.config.d_model)

    @property
    def most_frames(self) -> int:
        """Video frames that it can hear at once."""
        return self.network.config.max_source_positions // 2 - 1

    @torch.no_grad()
    def forward(self, audio_BS: Tensor, frames: int) -> Tensor:
        """(B, 640 F) in [-1, 1] → (B, F, C). Raises ValueError for sound of another length or over 30 s."""
        check_sound(audio_BS, frames)
        if frames > self.most_frames:
            raise ValueError(f"Whisper hears {self.most_frames} frames at {FPS} fps at once, got {frames}: cut windows")
        states = self.network(self._log_mel(audio_BS).to(self._dtype), output_hidden_states=True).hidden_states
        inner = torch.cat(states, -1)[:, self._SKIPPED : self._SKIPPED + 2 * frames]
        return inner.unflatten(1, (frames, 2)).mean(2)

    def _log_mel(self, audio_BS: Tensor) -> Tensor:
        """(B, bands, 3000) as Whisper's own preprocessor makes them (Radford et al. 2022, 2.2)."""
        config = self.network.config
        samples = 2 * config.max_source_positions * HOP
        before = self._BEFORE + HOP // 2  # its frame m is centred on sample 160 m, ours on 160 m + 80
        sound = F.pad(audio_BS, (before, samples - before - audio_BS.shape[1]))
        log = mel_power(sound, config.num_mel_bins).clamp(min=1e-10).log10()
        return (log.maximum(log.amax((1, 2), keepdim=True) - 8) + 4) / 4

    @classmethod
    def from_pretrained(cls, name: str | Path) -> WhisperEncoder:
        """From a transformers folder or hub id of Whisper or its encoder: float32, strictly, or WeightsError."""
        folder = find_folder(name, "give a transformers folder of Whisper")
        config = _read_config(folder, WhisperConfig)
        tensors = read_tensors(folder / WEIGHTS, lambda name: not name.startswith(("model.decoder.", "decoder.")))
        tensors.pop("proj_out.weight", None)
        tensors = _without_prefix(_without_prefix(tensors, "model."), "encoder.")
        return cls(_build(modeling_whisper.WhisperEncoder, config, tensors, folder))


def _read_config(folder: Path, kind: Any, **changes: Any) -> Any:
    file = folder / "config.json"
    config = read_json(file)
    if config.get("model_type") != kind.model_type:
        raise WeightsError(f"{file}: model_type is {config.get('model_type')!r}, expected {kind.model_type!r}")
    try:
        return kind.from_dict({**config, **changes})
    except Exception as error:  # as below
        raise WeightsError(f"{file}: cannot be read as {kind.__name__}: {one_line(error)}") from error


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What a model with a head keeps under ``prefix``, without it; all of them where there is no such name."""
    inner = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return inner or dict(tensors)


def _build(kind: Any, config: Any, tensors: Mapping[str, Tensor], folder: Path) -> Any:
    try:
        network = kind(config)
    except Exception as error:  # whatever a config makes the constructor stumble over is the config's fault
        raise WeightsError(f"{folder}: cannot be read as {kind.__name__}: {one_line(error)}") from error
    fill_strict(network, tensors, folder)
    return network.eval()
