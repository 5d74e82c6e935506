"""The contract of samples that hold latents: schema version 3, written by ``jdap cache-latents``.

=============================  ==================================================================================
``json``                       :class:`jdap.shards.schema.Record` with ``latents``, the :class:`LatentSettings`
``latents.0000.safetensors``…  a frame, :class:`FrameLatents`, for each frame of the sample
``audio.wav``                  of clips that have sound, as in :mod:`jdap.shards.schema`
=============================  ==================================================================================

Frames hold V versions of themselves: ``variants`` of colour and crop, the first of which is the picture as it is, and
each of them mirrored, too, where ``mirrored`` (a codec's latents of a mirrored picture are not the mirrored latents).
Version v has the same colour and the same side in all frames of a sample, so any two frames make a pair of one version.

Shapes: V versions, C latent channels, h = w latent cells.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor

from jdap.shards.schema import Record, SchemaError, decode_audio


@dataclass(frozen=True)
class LatentSettings:
    """How latents were made.

    ``codec`` is :func:`jdap.models.codec.fingerprint`. ``jitter`` and ``zoom`` are those of
    :func:`jdap.data.transforms.augment`, which the second and further of ``variants`` were drawn with, by ``seed``.
    ``clips``: for the temporal stage, with sound, and depth normalised by the range of all of a sample's frames; else
    for the image stage, and each frame's depth by a range of its own.
    """

    codec: str
    channels: int
    factor: int
    variants: int = 1
    mirrored: bool = False
    jitter: float = 0.0
    zoom: float = 0.0
    seed: int = 0
    clips: bool = False

    def __post_init__(self) -> None:
        if min(self.channels, self.factor, self.variants) < 1 or not self.codec:
            raise SchemaError(f"latents need a codec, and at least one channel, pixel a cell and variant: {self}")

    @property
    def versions(self) -> int:
        """V: how often each frame is there."""
        return self.variants * (2 if self.mirrored else 1)

    def version(self, variant: int, mirror: bool) -> int:
        """Where a variant, or its mirrored picture, stands among the versions of a frame."""
        return variant * (2 if self.mirrored else 1) + mirror

    def to_json(self) -> dict[str, object]:
        """What a record and a sidecar hold."""
        return asdict(self)

    @classmethod
    def of(cls, record: Record) -> Self:
        """The settings in a record. Raises :class:`SchemaError` where they differ from the contract."""
        names = {f.name for f in fields(cls)}
        if set(record.latents) != names:
            raise SchemaError(f"record.latents differs from the schema: {sorted(set(record.latents) ^ names)}")
        try:
            return cls(**record.latents)  # type: ignore[arg-type]
        except TypeError as error:
            raise SchemaError(f"a field of record.latents has the wrong type: {error}") from error


@dataclass(frozen=True)
class FrameLatents:
    """The V versions of one frame.

    * ``rgb_VChw``, ``depth_VChw`` float16: latents of the picture and of its normalised depth
    * ``skin_V1hw`` float16: :func:`jdap.depth.latent_weight`
    * ``range_mm_V2`` float32: the skin's (q2, q98), as in :class:`jdap.batch.ImageBatch`; one for all frames of a clip
    * ``camera_px_V3``, ``pose_V6`` float32: as in :class:`jdap.batch.ClipBatch`; flip and zoom moved them
    * ``confidence_V1hw`` float16: :func:`jdap.depth.latent_confidence`, or None: the reader's setting
    * ``reference_VChw`` float16: latents of the frame as a reference, which is never zoomed, or None: ``rgb_VChw``
    """

    rgb_VChw: Tensor
    depth_VChw: Tensor
    skin_V1hw: Tensor
    range_mm_V2: Tensor
    camera_px_V3: Tensor
    pose_V6: Tensor
    confidence_V1hw: Tensor | None = None
    reference_VChw: Tensor | None = None

    def check(self, settings: LatentSettings, size_px: int) -> None:
        """Raise :class:`SchemaError` unless shapes and types are those of the settings, and all numbers finite."""
        side = size_px // settings.factor
        sizes = {"V": settings.versions, "C": settings.channels, "h": side, "w": side}
        for name, value in vars(self).items():
            if value is None:
                continue
            letters = name.rsplit("_", 1)[1]
            shape = tuple(sizes.get(letter) or int(letter) for letter in letters)
            dtype = torch.float16 if "h" in letters else torch.float32
            if tuple(value.shape) != shape or value.dtype != dtype:
                raise SchemaError(f"{name} must be {shape} {dtype}, got {tuple(value.shape)} {value.dtype}")
            if not value.isfinite().all():
                raise SchemaError(f"{name} must be finite")


def latents_member(index: int) -> str:
    """The member name of frame ``index``."""
    return f"latents.{index:04d}.safetensors"


def encode_frame(frame: FrameLatents) -> bytes:
    """A frame → safetensors bytes."""
    tensors = {name: value.contiguous() for name, value in vars(frame).items() if value is not None}
    return safetensors.torch.save(tensors)


def decode_frame(data: bytes, record: Record) -> FrameLatents:
    """safetensors bytes → a frame, checked against its record. Raises :class:`SchemaError`."""
    try:
        tensors: dict[str, Any] = safetensors.torch.load(data)
    except Exception as error:  # safetensors raises its own type, and others for short input
        raise SchemaError(f"latents cannot be read: {error}") from error
    try:
        frame = FrameLatents(**tensors)
    except TypeError as error:
        raise SchemaError(f"latents have the wrong members: {error}") from error
    frame.check(LatentSettings.of(record), record.size_px)
    return frame


def decode_members(members: dict[str, bytes]) -> tuple[Record, list[FrameLatents]]:
    """A whole sample, everything decoded and checked. Raises :class:`SchemaError` that names the member."""
    record = Record.from_json(json.loads(members["json"]))
    expected = {"json", *map(latents_member, range(record.frames))}
    if LatentSettings.of(record).clips and "audio.wav" in members:
        expected.add("audio.wav")
        decode_audio(members["audio.wav"])
    if set(members) != expected:
        missing, unknown = sorted(expected - set(members)), sorted(set(members) - expected)
        raise SchemaError(f"members missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    frames = []
    for name in map(latents_member, range(record.frames)):
        try:
            frames.append(decode_frame(members[name], record))
        except SchemaError as error:
            raise SchemaError(f"{name}: {error}") from error
    return record, frames
