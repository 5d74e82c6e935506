"""Where the temporal stage's networks come from: an image model's weights folder, and what is put on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import AudioTokens, new_audio_tokens
from jdap.models.audio_attention import new_audio_attention
from jdap.models.clip_unet import ClipUNet
from jdap.models.codec import Codec
from jdap.models.drive import DriveTokens
from jdap.models.image_tokens import ImageTokens
from jdap.models.joint_unet import JointUNet
from jdap.models.loading import WeightsError
from jdap.models.motion import load_motion, new_motion
from jdap.models.reference import ReferenceNet
from jdap.pipelines.hub import find_weights
from jdap.pipelines.portrait import PortraitPipeline


class ClipNetworks(NamedTuple):
    """What the temporal stage consists of: a frozen image model, and what trains: in ``unet``, ``audio``, ``drive``."""

    codec: Codec
    unet: ClipUNet
    reference: ReferenceNet
    image_tokens: ImageTokens | None
    audio: AudioTokens | None
    drive: DriveTokens | None
    schedule: NoiseSchedule
    preset: str
    size_px: int


def clip_networks(
    init: str,
    *,
    motion: str | None,
    audio_encoder: str | None,
    audio_tokens: int,
    audio_dim: int,
    conditions: Sequence[str],
    gradient_checkpointing: bool,
) -> ClipNetworks:
    """The networks, the image model's frozen and in evaluation mode, on the CPU, float32.

    Args:
        init: weights folder of an image stage, ``shipped:NAME``, or a repository of the hub.
        motion: AnimateDiff's motion modules (:func:`jdap.models.motion.load_motion`); None: fresh ones.
        audio_encoder: as :func:`jdap.models.audio.new_audio_tokens` takes it; None: a model that is deaf.
        audio_tokens, audio_dim: L tokens of D channels a frame.
        conditions: kinds of :data:`jdap.models.drive.KINDS` that may drive a clip beside its sound.
        gradient_checkpointing: compute activations again in the backward pass rather than keep them.

    Raises:
        WeightsError: for a folder that cannot be started from.
        ValueError: for settings that do not go together.
    """
    begun = PortraitPipeline.from_pretrained(find_weights(init))
    if not isinstance(begun.unet, JointUNet) or begun.reference is None or begun.shared_timestep:
        raise WeightsError(
            f"model.init {init}: the weights of an ablation; the temporal stage starts from a full model"
        )
    if begun.one_step_start is not None:
        raise WeightsError(
            f"model.init {init}: fine-tuned to depth in one step, and draws nothing: take the image model"
        )
    plain = begun.unet.unet
    if conditions and audio_encoder is None:
        raise ValueError("model.conditions go beside the sound: model.audio_encoder must not be null")
    audio = new_audio_tokens(audio_encoder, audio_tokens, audio_dim) if audio_encoder else None
    unet = ClipUNet(
        begun.unet,
        load_motion(motion) if motion else new_motion(plain),
        new_audio_attention(plain, audio_dim) if audio else None,
    )
    unet.checkpointing = gradient_checkpointing
    frozen = (begun.codec, begun.reference, begun.image_tokens)
    for network in filter(None, frozen):
        network.requires_grad_(False).eval()
    return ClipNetworks(
        begun.codec,
        unet,
        begun.reference,
        begun.image_tokens,
        audio,
        DriveTokens(list(conditions), audio_dim) if conditions else None,
        begun.schedule,
        begun.preset,
        begun.size_px,
    )
