"""The encoder of Moonshine as a frozen audio encoder: a small speech recogniser that comes with a Python package.

Shapes: B clips, S samples at 16 kHz, F video frames, J features, C = 288 channels.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jdap.io.onnx import open_onnx
from jdap.models.audio.frames import FRAME_SAMPLES, check_sound
from jdap.models.loading import WeightsError, read_json

PACKAGE, GET_MOONSHINE = "moonshine_voice", "pip install 'jdap[moonshine]'"
#: The network in the package, and what it is: strides and channels below are this file's.
FILE = Path("assets", "tiny-en", "encoder_model.ort")
SHA256 = "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221"
#: Samples from feature to feature, samples that the convolutions of one look at, C.
STRIDE, FIELD, WIDTH = 384, 895, 288
#: Samples of silence before the sound: feature j is centred on the samples 384 j … 384 j + 383.
SILENCE_BEFORE = (FIELD - STRIDE) // 2 + 1
#: Video frames of sound that windows are given on each side: half a second (docs/model.md: what others bring).
HEARD_AROUND_FRAMES = 12


class MoonshineEncoder(nn.Module):
    """Moonshine tiny, English: its last layer at 41.7 Hz, brought to 25 fps.

    Each feature stands for the 384 samples around which it is centred, and a video frame is the mean of the features
    that its 640 samples fall to, weighted by how many do. Three frames are five features, so this repeats every third
    frame of a window.

    The network normalises its first layer over the window, which makes it nearly deaf to loudness, and attends to the
    whole of it: ``context_frames`` is no bound of what it hears, but the margin that windows are given, and features
    depend on where the window begins and ends. Windows should be of one length, in training as when videos are drawn.
    Its weights are of 8 bits, with activations scaled by the largest one of what it is given: clips go through it one
    by one, so that none depends on its neighbours.

    onnxruntime runs it on the CPU, by one thread, wherever the module is; features come back to where it is, in its
    dtype. Weights folders name the network and do not hold it.

    Raises:
        WeightsError: where the package or onnxruntime is not installed, or holds another network.
    """

    layers, channels, context_frames = 1, WIDTH, HEARD_AROUND_FRAMES
    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.file = _network_file()
        open_network(self.file)  # what is wrong with it is told now
        # what the module is brought to: device and dtype
        self.register_buffer("place", torch.zeros(1), persistent=False)

    @torch.no_grad()
    def forward(self, audio_BS: Tensor, frames: int) -> Tensor:
        """(B, 640 F) in [-1, 1] → (B, F, C). Raises ValueError for sound of another length."""
        check_sound(audio_BS, frames)
        shares_FJ = feature_shares(frames)
        after = STRIDE * (shares_FJ.shape[1] - 1) + FIELD - SILENCE_BEFORE - audio_BS.shape[1]
        sound = F.pad(audio_BS.float(), (SILENCE_BEFORE, after)).cpu().numpy()
        features = np.stack([shares_FJ @ self._heard(one) for one in sound])
        return torch.from_numpy(features).to(self.place)

    def _heard(self, sound_S: np.ndarray) -> np.ndarray:
        """(J, C) float32: the features of one clip."""
        given = {"input_values": sound_S[None], "attention_mask": np.ones((1, len(sound_S)), np.int64)}
        return open_network(self.file).run(None, given)[0][0]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write to a folder which network this is; :meth:`from_pretrained` reads it."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        told = {"model_type": "moonshine", "file": FILE.as_posix(), "sha256": SHA256}
        (Path(folder) / "config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MoonshineEncoder:
        """The installed network, where it is the one that a folder names; WeightsError else."""
        file = Path(folder) / "config.json"
        named = read_json(file).get("sha256")
        if named != SHA256:
            raise WeightsError(f"{file}: names a network of sha256 {named!r}; this version knows {SHA256!r} alone")
        return cls()


def feature_shares(frames: int) -> np.ndarray:
    """(F, J) float32, rows of sum 1: how much of each video frame falls to each feature."""
    count = -(-frames * FRAME_SAMPLES // STRIDE)
    frame, feature = np.arange(frames)[:, None] * FRAME_SAMPLES, np.arange(count) * STRIDE
    common = np.minimum(frame + FRAME_SAMPLES, feature + STRIDE) - np.maximum(frame, feature)
    return (common.clip(min=0) / FRAME_SAMPLES).astype(np.float32)


def _network_file() -> Path:
    """Where the network lies in the installed package."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise WeightsError(f"audio encoder moonshine: moonshine-voice is not installed: {GET_MOONSHINE}")
    file = Path(package.origin).parent / FILE
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        raise WeightsError(f"{file}: not the network of moonshine-voice 0.0.44: {GET_MOONSHINE}")
    return file


@lru_cache(maxsize=1)
def open_network(file: Path) -> Any:
    """The session of a file, opened once a process: modules that held one could be neither copied nor sent elsewhere.

    Raises WeightsError without onnxruntime, or where it cannot read the file.
    """
    try:
        return open_onnx(file)
    except ImportError as error:
        raise WeightsError(f"audio encoder moonshine: onnxruntime is not installed: {GET_MOONSHINE}") from error
    except ValueError as error:
        raise WeightsError(f"{error}: update onnxruntime") from error
