"""The clock that sound and pictures share."""

from __future__ import annotations

from torch import Tensor

from jdap.units import FPS, SAMPLE_RATE

#: Samples that sound while one video frame is shown: frame k is samples 640 k … 640 k + 639.
FRAME_SAMPLES = SAMPLE_RATE // FPS


def check_sound(audio_BS: Tensor, frames: int) -> None:
    """Raises ValueError unless the sound is (B, S) and lasts exactly ``frames`` video frames, one or more."""
    if audio_BS.ndim != 2 or frames < 1 or audio_BS.shape[1] != frames * FRAME_SAMPLES:
        raise ValueError(
            f"sound for {frames} frames at {FPS} fps is (B, {frames * FRAME_SAMPLES}) at {SAMPLE_RATE} Hz, "
            f"got {tuple(audio_BS.shape)}"
        )
