"""The weights folder of a portrait that talks: an image model's components and more.

Beside those of :mod:`jdap.pipelines.weights` there are ``motion`` (a diffusers ``MotionAdapter``), ``audio_attention``,
``audio_encoder`` and ``audio_projection`` (the last three not of a deaf model, whose index says ``"audio": false``),
and ``drive`` where the index says so. The image model's UNet is a plain ``UNet2DConditionModel`` folder here, too. The
index says how windows are made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jdap.choices import NULL, OVERLAP, STARTS
from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import resolve
from jdap.models.audio import AudioTokens, load_audio_tokens
from jdap.models.clip.audio_attention import AudioAttention
from jdap.models.clip.conditions import DriveTokens
from jdap.models.clip.motion import load_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.codec import Codec
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import WeightsError, load_strict, one_line, read_json
from jdap.pipelines.weights import INDEX, load_components, read_index, save_components
from jdap.units import FPS

CLASS_NAME = "TalkingPipeline"
REMEDY = "make train-video"
MOTION, AUDIO_ATTENTION, DRIVE = "motion", "audio_attention", "drive"
#: What a folder that names its image model does not hold.
IMAGE_PARTS = ("codec", "unet", "reference", "scheduler", "image_encoder", "image_tokens")


@dataclass(frozen=True)
class WindowShape:
    """How a video is made of windows.

    * ``frames``: drawn in each
    * ``motion_frames``: the last ones of the window before, 0 … ``frames``
    * ``audio_margin``: frames of sound that are heard before and after those of the window
    * ``fps``: frames per second
    * ``start``: what stands for the motion frames of the first window, one of :data:`STARTS`
    * ``anchor``: whether every window sees the reference as one more frame
    * ``noise_sharing``: 0 … 1, share of the noise's power that frames have in common
    """

    frames: int = 14
    motion_frames: int = 2
    audio_margin: int = 0
    fps: float = float(FPS)
    start: str = NULL
    anchor: bool = False
    noise_sharing: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("motion_frames", 0), ("audio_margin", 0)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise ValueError(f"{name} must be a whole number from {least}, got {getattr(self, name)!r}")
        if self.motion_frames > self.frames:
            raise ValueError(f"motion_frames {self.motion_frames} are more than the {self.frames} frames of a window")
        for name, most in (("fps", 1000), ("noise_sharing", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ValueError(f"{name} must be within 0 … {most}, got {value!r}")
        if self.fps == 0:
            raise ValueError("fps must be above 0")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")
        if type(self.anchor) is not bool:
            raise ValueError(f"anchor must be bool, got {self.anchor!r}")

    def overlap(self, asked: int | None = None) -> int:
        """How many frames a window draws once more, after the one before it: :data:`OVERLAP` where there is room.

        Each frame is drawn twice at most, and motion frames are as the video has them: ValueError for more.
        """
        most = min(self.frames // 2, self.frames - self.motion_frames)
        if asked is not None and not 0 <= asked <= most:
            raise ValueError(f"overlap must be within 0 … {most} frames, got {asked}")
        return min(OVERLAP, most) if asked is None else asked


def check_fit(unet: ClipUNet, audio: AudioTokens | None, drive: DriveTokens | None, shape: WindowShape) -> None:
    """Raises ValueError where parts that are sound by themselves do not go together."""
    whole = shape.frames + shape.motion_frames + shape.anchor
    if whole > unet.max_frames:
        raise ValueError(f"windows of {whole} frames; the motion modules have positions for {unet.max_frames}")
    if (audio is None) != (unet.audio is None):
        raise ValueError("audio tokens and layers of audio: the one is of no use without the other")
    if audio is None or unet.audio is None:
        if drive is not None:
            raise ValueError("tokens of conditions go with those of sound, which a deaf model does not have")
        return
    if drive is not None and drive.config["dim"] != audio.dim:
        raise ValueError(f"tokens of conditions have {drive.config['dim']} channels, those of sound {audio.dim}")
    if audio.dim != unet.audio.config["token_dim"]:
        raise ValueError(f"audio tokens have {audio.dim} channels, layers of audio {unet.audio.config['token_dim']}")
    if shape.audio_margin < audio.required_margin:
        raise ValueError(f"audio_margin {shape.audio_margin} is less than the {audio.required_margin} that are heard")


def save_talking(
    folder: Path,
    *,
    codec: Codec,
    unet: ClipUNet,
    reference: ReferenceNet | None,
    audio: AudioTokens | None,
    schedule: NoiseSchedule,
    shape: WindowShape,
    preset: str,
    size_px: int,
    image_tokens: ImageTokens | None = None,
    drive: DriveTokens | None = None,
    extras: Callable[[Path], None] | None = None,
) -> None:
    """Write the folder beside, then put it in place; an older one is replaced, other files in it are lost."""

    def parts(part: Path) -> None:
        unet.motion_adapter().save_pretrained(part / MOTION)
        if audio is not None and unet.audio is not None:
            unet.audio.save_pretrained(part / AUDIO_ATTENTION)
            audio.save_pretrained(part)
        if drive is not None:
            drive.save_pretrained(part / DRIVE)
        if extras is not None:
            extras(part)

    save_components(
        folder,
        codec=codec,
        unet=unet.image_model(),
        reference=reference,
        schedule=schedule,
        preset=preset,
        size_px=size_px,
        shared_timestep=False,
        image_tokens=image_tokens,
        extras=parts,
        class_name=CLASS_NAME,
        more={"audio": audio is not None, "drive": drive is not None, **asdict(shape)},
    )


def share_image(folder: Path, image: str) -> None:
    """Let a written folder name the image model it was trained on rather than hold a copy, in place.

    ``image`` is a weights folder or ``shipped:NAME``. Raises :class:`WeightsError` unless it holds the same networks.
    """
    mine, theirs = load_components(folder, CLASS_NAME, REMEDY), load_components(Path(resolve(image)))
    for name in ("codec", "unet", "reference", "image_tokens"):
        if not _equal(mine[name], theirs[name]):
            raise WeightsError(f"{image}: its {name} is not that of {folder}, which was trained on another image model")
    if mine["schedule"] != theirs["schedule"] or mine["size_px"] != theirs["size_px"]:
        raise WeightsError(f"{image}: another schedule or size than {folder}")
    for part in IMAGE_PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    index = read_json(folder / INDEX) | {"image": image}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _equal(mine: nn.Module | None, theirs: nn.Module | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    one, other = mine.state_dict(), theirs.state_dict()
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


def _image_components(folder: Path) -> dict[str, Any]:
    """The image model's, of the folder itself or of the one that its index names."""
    image = read_json(folder / INDEX).get("image") if (folder / INDEX).is_file() else None
    if image is None:
        return load_components(folder, CLASS_NAME, REMEDY)
    read_index(folder / INDEX, CLASS_NAME, REMEDY)
    try:
        return load_components(Path(resolve(str(image))))
    except (WeightsError, FileNotFoundError) as error:
        raise WeightsError(f"{folder / INDEX} names the image model {image!r}: {error}") from error


def load_talking(folder: Path) -> dict[str, Any]:
    """The arguments of :class:`jdap.pipelines.talking.TalkingPipeline`, strictly.

    Raises :class:`WeightsError` naming the folder or file and what is wrong.
    """
    components = _image_components(folder)
    joint = components.pop("unet")
    if not isinstance(joint, JointUNet) or components.pop("shared_timestep") or components.pop("one_step_start"):
        raise WeightsError(f"{folder}: a portrait talks with joint weights of any timesteps, not with these ablations")
    index = read_json(folder / INDEX)
    for name in ("audio", "drive"):
        if type(index.get(name)) is not bool:
            raise WeightsError(f"{folder / INDEX}: {name} must be bool, got {index.get(name)!r}")
    try:
        settings: dict[str, Any] = {field.name: index.get(field.name) for field in fields(WindowShape)}
        shape = WindowShape(**settings)
    except ValueError as error:
        raise WeightsError(f"{folder / INDEX}: {error}") from error
    motion = load_motion(folder / MOTION)
    sound = load_strict(AudioAttention, folder / AUDIO_ATTENTION) if index["audio"] else None
    audio = load_audio_tokens(folder) if index["audio"] else None
    drive = load_strict(DriveTokens, folder / DRIVE) if index["drive"] else None
    try:
        unet = ClipUNet(joint, motion, sound).eval()
        check_fit(unet, audio, drive, shape)
    # Parts that do not belong together fail in as many ways as there are.
    except Exception as error:
        raise WeightsError(f"{folder}: {one_line(error)}") from error
    return components | {"unet": unet, "audio": audio, "drive": drive, "shape": shape}
