"""Sound as the clip model hears it: encoders behind one interface, and the projection of their features to tokens.

Shapes: B clips, S samples at 16 kHz, F video frames at 25 fps, C channels, L tokens of D channels a frame.

An encoder is an ``nn.Module`` with ``channels`` C = ``layers`` x width, ``context_frames`` (how many video frames of
sound on each side one output frame looks at) and ``forward(audio_BS, frames) -> (B, F, C)`` for sound of exactly
``frames`` video frames; what is not there is silence.
"""

from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.mel import LogMelEncoder
from jdap.models.audio.moonshine import MoonshineEncoder
from jdap.models.audio.pretrained import Wav2VecEncoder, WhisperEncoder
from jdap.models.audio.projection import AudioProjection
from jdap.models.audio.tokens import AudioTokens, new_audio_tokens

__all__ = [
    "FRAME_SAMPLES",
    "AudioProjection",
    "AudioTokens",
    "LogMelEncoder",
    "MoonshineEncoder",
    "Wav2VecEncoder",
    "WhisperEncoder",
    "new_audio_tokens",
]
