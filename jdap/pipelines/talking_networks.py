"""What the talking pipeline consists of; how it talks is in :mod:`jdap.pipelines.talking`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import AudioTokens
from jdap.models.clip.conditions import DriveTokens
from jdap.models.clip.unet import ClipUNet
from jdap.models.codec import DiffusersCodec, ImageCodec
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.reference import ReferenceNet
from jdap.pipelines.base import JointPipeline
from jdap.pipelines.image_sharing import IMAGE
from jdap.pipelines.portrait_parts import check_image_model, check_settings
from jdap.pipelines.talking_weights import IMAGE_PARTS, WindowShape, check_fit, named_image
from jdap.pipelines.weights import read_part


class TalkingNetworks(JointPipeline):
    """Codec, clip model, ReferenceNet, audio tokens and noise schedule of a portrait that talks.

    Args:
        codec, unet, reference, audio: the networks. Without a ReferenceNet nobody's likeness is kept; without ``audio``
            (of a clip model without layers of audio) the video only gets the sound's length.
        scheduler: the noise schedule that the weights were trained with, or its form in diffusers.
        image_tokens: what makes tokens of the reference for the cross-attention; None: the networks see none.
        drive: what makes tokens of conditions (pose, lips' opening); None: the networks take none.
        shape: how windows are made, a :class:`WindowShape` or its fields.
        preset: the name of the builder that made the image model.
        size_px: the side of the pictures that the weights were trained on; it must be given.

    Raises:
        ValueError: where the parts do not go together.
    """

    kinds = {  # noqa: RUF012
        "codec": (ImageCodec, DiffusersCodec),
        "unet": (ClipUNet,),
        "reference": (ReferenceNet,),
        "audio": (AudioTokens,),
        "scheduler": (DDIMScheduler,),
        "image_tokens": (ImageTokens,),
        "drive": (DriveTokens,),
    }
    _optional_components = ["reference", "audio", "image_tokens", "drive"]  # noqa: RUF012
    model_cpu_offload_seq = "image_tokens->reference->audio->drive->unet->codec"  # type: ignore[assignment]
    remedy = "make train-video"
    pipeline_tag = "image-to-video"

    def __init__(
        self,
        codec: ImageCodec | DiffusersCodec,
        unet: ClipUNet,
        reference: ReferenceNet | None,
        audio: AudioTokens | None,
        scheduler: DDIMScheduler | NoiseSchedule,
        image_tokens: ImageTokens | None = None,
        drive: DriveTokens | None = None,
        *,
        shape: WindowShape | dict[str, Any] | None = None,
        preset: str = "",
        size_px: int = 0,
    ) -> None:
        super().__init__()
        made = shape if isinstance(shape, WindowShape) else WindowShape(**(shape or {}))
        check_settings({"preset": (preset, str), "size_px": (size_px, int)})
        check_image_model(codec, unet, reference, image_tokens, size_px)
        check_fit(unet, audio, drive, made)
        networks = {"codec": codec, "unet": unet, "reference": reference, "audio": audio}
        others = {"scheduler": scheduler, "image_tokens": image_tokens, "drive": drive}
        self._register(networks | others, {"shape": made, "preset": preset, "size_px": size_px})

    @property
    def shape(self) -> WindowShape:
        """How windows are made."""
        return WindowShape(**self.config["shape"])

    @shape.setter
    def shape(self, shape: WindowShape) -> None:
        self.register_to_config(shape=asdict(shape))

    def settings(self) -> dict[str, Any]:
        """See :meth:`jdap.pipelines.base.JointPipeline.settings`."""
        return super().settings() | {"shape": asdict(self.shape)}

    @classmethod
    def _read_parts(cls, folder: Path, index: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        if index.get(IMAGE) is None:
            return super()._read_parts(folder, index, given)
        image = named_image(folder, index[IMAGE])
        parts = {name: getattr(image, name) for name in IMAGE_PARTS}
        parts["unet"] = ClipUNet.on(image.unet, folder / "unet")
        own = {name: index[name] and read_part(index[name], folder / name) for name in ("audio", "drive")}
        return parts | own | given
