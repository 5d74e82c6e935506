"""How videos that talk are made of windows, and weights of them that name their image model rather than hold it.

A folder that names its image model (``"_image"`` in its index, a folder or ``shipped:NAME``) holds ``unet/motion``,
``unet/audio_attention``, ``audio`` and ``drive`` alone; everything else is the image model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdap.choices import NULL, OVERLAP, WINDOW_STARTS
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import AudioTokens
from jdap.models.clip.conditions import DriveTokens
from jdap.models.clip.unet import ClipUNet
from jdap.models.codec import load_codec
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import WeightsError, read_json
from jdap.pipelines.image_sharing import check_shared, name_image, read_image
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.weights import INDEX, read_scheduler
from jdap.units import FPS

#: Components that are the image model's.
IMAGE_PARTS = ("codec", "reference", "scheduler", "image_tokens")


@dataclass(frozen=True)
class WindowShape:
    """How a video is made of windows.

    * ``frames``: sampled in each
    * ``motion_frames``: the last ones of the window before, 0 … ``frames``
    * ``audio_margin``: frames of sound that are heard before and after those of the window
    * ``fps``: frames per second
    * ``start``: what stands for the motion frames of the first window, one of :data:`WINDOW_STARTS`
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
        if self.start not in WINDOW_STARTS:
            raise ValueError(f"start must be one of {', '.join(WINDOW_STARTS)}, got {self.start!r}")
        if type(self.anchor) is not bool:
            raise ValueError(f"anchor must be bool, got {self.anchor!r}")

    def overlap(self, asked: int | None = None) -> int:
        """How many frames a window samples once more, after the one before it: :data:`OVERLAP` where there is room.

        Each frame is sampled twice at most, and motion frames are as the video has them: ValueError for more.
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


def share_image(folder: Path, image: str) -> None:
    """Let a written folder name the image model it was trained on rather than hold a copy, in place.

    ``image`` is a weights folder or ``shipped:NAME``. Raises :class:`WeightsError` unless it holds the same networks.
    """
    theirs, index = PortraitPipeline.from_pretrained(image), read_json(folder / INDEX)
    readers: dict[str, Callable[[Path], Any]] = {
        "codec": load_codec,
        "unet": JointUNet.read,
        "reference": ReferenceNet.read,
        "image_tokens": ImageTokens.read,
    }
    mine = {name: None if index.get(name) == [None, None] else read(folder / name) for name, read in readers.items()}
    schedule = NoiseSchedule.from_scheduler(read_scheduler(folder / "scheduler"))
    check_shared(folder, image, theirs, mine, schedule, index.get("size_px"))
    for file in (folder / "unet").iterdir():
        if file.is_file():
            file.unlink()
    name_image(folder, image, IMAGE_PARTS)


def named_image(folder: Path, image: object) -> PortraitPipeline:
    """The image model that the index of ``folder`` names. Raises :class:`WeightsError` where none fits."""
    found = read_image(folder, image, PortraitPipeline)
    if not found.joint or found.shared_timestep or found.one_step_start:
        raise WeightsError(f"{folder}: a portrait talks with joint weights of any timesteps, not with these ablations")
    return found
