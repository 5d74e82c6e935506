"""Audio tokens: an encoder and a projection, for windows cut out of a longer sound.

Shapes: B clips, S samples at 16 kHz, F frames at 25 fps, L tokens of D channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from jdap.models.audio.frames import FRAME_SAMPLES, check_sound
from jdap.models.audio.mel import LogMelEncoder
from jdap.models.audio.moonshine import MoonshineEncoder
from jdap.models.audio.pretrained import Wav2VecEncoder, WhisperEncoder
from jdap.models.audio.projection import AudioProjection
from jdap.models.component import Component
from jdap.models.loading import WeightsError, load_strict, read_json

#: Folders of the component's folder.
ENCODER, PROJECTION = "encoder", "projection"
AudioEncoder = LogMelEncoder | Wav2VecEncoder | WhisperEncoder | MoonshineEncoder
#: Encoders of transformers by the names that transformers gives them.
PRETRAINED: dict[str, type[Wav2VecEncoder] | type[WhisperEncoder]] = {
    "wav2vec2": Wav2VecEncoder,
    "whisper": WhisperEncoder,
}
#: The encoder that a package brings, here and as ``model_type`` of its config.
MOONSHINE = "moonshine"


class AudioTokens(Component, ModelMixin):
    """An audio encoder and the projection of its features to tokens.

    Args:
        encoder: from sound to features.
        projection: from the encoder's channels to tokens.

    Raises:
        ValueError: where the two do not fit.
    """

    def __init__(self, encoder: AudioEncoder, projection: AudioProjection) -> None:
        super().__init__()
        given = (encoder.channels, encoder.layers)
        wanted = (projection.config["channels"], projection.config["layers"])
        if given != wanted:
            raise ValueError(
                f"audio tokens: the encoder has {given[0]} channels in {given[1]} layers, "
                f"the projection {wanted[0]} in {wanted[1]}"
            )
        self.encoder = encoder
        self.projection = projection

    @property
    def required_margin(self) -> int:
        """Frames of sound that are heard before the first and after the last frame."""
        return self.encoder.context_frames + self.projection.window

    @property
    def tokens(self) -> int:
        """L."""
        return self.projection.config["tokens"]

    @property
    def dim(self) -> int:
        """D."""
        return self.projection.config["dim"]

    def forward(self, audio_BS: Tensor, frames: int, margin: int) -> Tensor:
        """Sound (B, 640 (F + 2 margin)) in [-1, 1] → tokens (B, F, L, D) of the inner frames.

        Of a wider margin than :attr:`required_margin` the outer part is not heard: tokens do not depend on it. Raises
        ValueError for sound of another length or a margin that is too narrow.
        """
        required = self.required_margin
        if margin < required:
            raise ValueError(f"audio tokens hear {required} frames of sound around their own, got a margin of {margin}")
        check_sound(audio_BS, frames + 2 * margin)
        unheard = (margin - required) * FRAME_SAMPLES
        heard = audio_BS[:, unheard : audio_BS.shape[1] - unheard]
        features = self.encoder(heard, frames + 2 * required)
        context = self.encoder.context_frames
        return self.projection(features[:, context : features.shape[1] - context])

    def write(self, folder: Path) -> None:
        """Write the two to ``encoder`` and ``projection`` in a folder."""
        for name, part in ((ENCODER, self.encoder), (PROJECTION, self.projection)):
            part.save_pretrained(folder / name)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        file = folder / ENCODER / "config.json"
        kind = read_json(file).get("model_type")
        encoder: AudioEncoder
        if kind is None:
            encoder = load_strict(LogMelEncoder, file.parent)
        elif kind in PRETRAINED:
            encoder = PRETRAINED[kind].from_pretrained(file.parent)
        elif kind == MOONSHINE:
            encoder = MoonshineEncoder.from_pretrained(file.parent)
        else:
            raise WeightsError(f"{file}: model_type is {kind!r}, expected one of {', '.join(PRETRAINED)}, {MOONSHINE}")
        projection = load_strict(AudioProjection, folder / PROJECTION)
        try:
            return cls(encoder, projection).eval()
        except ValueError as error:
            raise WeightsError(f"{folder}: {error}") from error


def new_audio_tokens(
    encoder: str = "mel",
    tokens: int = 32,
    dim: int = 768,
    *,
    window: int = 2,
    hidden: int = 512,
    channels: int = 128,
    blocks: int = 1,
) -> AudioTokens:
    """A fresh projection on an encoder: ``mel`` (fresh too), or the frozen ``moonshine``, ``wav2vec2:NAME`` or
    ``whisper:NAME``.

    NAME is a transformers folder or a hub id. ``tokens`` L, ``dim`` D, ``window`` and ``hidden`` are the projection's,
    ``channels`` and ``blocks`` those of ``mel``. Raises ValueError for another encoder, and WeightsError for weights
    that cannot be used.
    """
    kind, _, name = encoder.partition(":")
    made: AudioEncoder
    if encoder == "mel":
        made = LogMelEncoder(channels, blocks)
    elif encoder == MOONSHINE:
        made = MoonshineEncoder()
    elif kind in PRETRAINED and name:
        made = PRETRAINED[kind].from_pretrained(name)
    else:
        raise ValueError(f"audio encoder {encoder!r}: expected mel, moonshine, wav2vec2:FOLDER_OR_HUB_ID or whisper:…")
    return AudioTokens(made, AudioProjection(made.channels, made.layers, window, tokens, dim, hidden))
