"""Where the temporal stage's networks come from: an image model's weights folder, and what is put on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import find_folder
from jdap.models.audio import AudioTokens, new_audio_tokens
from jdap.models.clip.audio_attention import new_audio_attention
from jdap.models.clip.conditions import DriveTokens
from jdap.models.clip.motion import load_motion, new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.codec import Codec
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import WeightsError, read_json
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.pipelines.weights import INDEX, class_name
from jdap.stages.settings.temporal import NONE, SoundSettings


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
    sound: SoundSettings,
    conditions: Sequence[str],
    checkpointing: bool,
) -> ClipNetworks:
    """The networks, the image model's frozen and in evaluation mode, on the CPU, float32.

    Args:
        init: weights folder of an image stage, ``shipped:NAME``, or a repository of the hub; or of this stage, to train
            on: all networks are then those, and the rest of what is asked for must agree.
        motion: AnimateDiff's motion modules (:func:`jdap.models.clip.motion.load_motion`); None: fresh ones.
        sound: what the model hears, and by how many tokens a frame.
        conditions: kinds of :data:`jdap.models.clip.conditions.CONDITIONS` that may drive a clip beside its sound.
        checkpointing: compute activations again in the backward pass rather than keep them.

    Raises:
        WeightsError: for a folder that cannot be started from.
        ValueError: for settings that do not go together.
    """
    folder = find_folder(init, f"train one with `{PortraitPipeline.remedy}`")
    if class_name(read_json(folder / INDEX)) == TalkingPipeline.__name__:
        made = _that_talk(folder, init, motion, sound, conditions)
    else:
        made = _new(folder, init, motion, sound, conditions)
    made.unet.checkpointing = checkpointing
    for network in filter(None, (made.codec, made.reference, made.image_tokens)):
        network.requires_grad_(False).eval()
    for network in filter(None, (made.unet, made.audio, made.drive)):
        network.train()
    return made


def encoder_of(sound: SoundSettings) -> str | None:
    """The audio encoder that is asked for; None for a model without sound, whatever else is said of sound."""
    return None if sound.whose == NONE else sound.encoder


def _new(folder: Path, init: str, motion: str | None, sound: SoundSettings, conditions: Sequence[str]) -> ClipNetworks:
    begun = PortraitPipeline.from_pretrained(folder)
    if not isinstance(begun.unet, JointUNet) or begun.reference is None or begun.shared_timestep:
        raise WeightsError(
            f"model.init {init}: the weights of an ablation; the temporal stage starts from a full model"
        )
    if begun.one_step_start is not None:
        raise WeightsError(
            f"model.init {init}: fine-tuned to depth in one step; take the image model that it came from"
        )
    plain = begun.unet.unet
    encoder = encoder_of(sound)
    if conditions and encoder is None:
        raise ValueError("model.conditioning.conditions go beside the sound: model.sound.encoder must not be null")
    audio = new_audio_tokens(encoder, sound.tokens, sound.dim) if encoder else None
    unet = ClipUNet(
        begun.unet,
        load_motion(motion) if motion else new_motion(plain),
        new_audio_attention(plain, sound.dim) if audio else None,
    )
    drive = DriveTokens(list(conditions), sound.dim) if conditions else None
    return _beside(begun, unet, audio, drive)


def _that_talk(
    folder: Path, init: str, motion: str | None, sound: SoundSettings, conditions: Sequence[str]
) -> ClipNetworks:
    """The networks of weights that talk already, to train on; what is asked for must be what they are."""
    begun = TalkingPipeline.from_pretrained(folder)
    if motion is not None:
        raise ValueError(f"model.init {init} has motion modules of its own: leave model.motion out")
    if begun.reference is None:
        raise WeightsError(
            f"model.init {init}: the weights of an ablation; the temporal stage starts from a full model"
        )
    audio, drive, unet = begun.audio, begun.drive, begun.unet
    encoder = encoder_of(sound)
    if encoder is None and not conditions:
        audio, drive, unet = None, None, ClipUNet(unet.image_model(), unet.motion_adapter(), None)  # a control
    asked = {"audio": encoder is not None, "conditions": list(conditions)}
    there: dict[str, Any] = {"audio": audio is not None, "conditions": drive.config["kinds"] if drive else []}
    if audio is not None:
        asked |= {"sound.tokens": sound.tokens, "sound.dim": sound.dim}
        there |= {"sound.tokens": audio.tokens, "sound.dim": audio.dim}
    differs = [f"{name} {there[name]}, not {wanted}" for name, wanted in asked.items() if there[name] != wanted]
    if differs:
        raise ValueError(f"model.init {init} has {'; '.join(differs)}")
    return _beside(begun, unet, audio, drive)


def _beside(
    begun: PortraitPipeline | TalkingPipeline, unet: ClipUNet, audio: AudioTokens | None, drive: DriveTokens | None
) -> ClipNetworks:
    """A clip model, and the rest of the pipeline that it begins with."""
    return ClipNetworks(
        begun.codec,
        unet,
        begun.reference,
        begun.image_tokens,
        audio,
        drive,
        begun.schedule,
        begun.preset,
        begun.size_px,
    )
