"""Typed containers for what a model reads: every field states shape, range and unit, checked on construction.

Shapes: B pictures or clips, F frames, H = W pixels (square), C channels of h x w latent cells, S audio samples.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from jdap.units import SAMPLE_RATE

_FLOAT16 = torch.finfo(torch.float16).min, torch.finfo(torch.float16).max


def _references(reference: Tensor, pictures: int) -> int:
    """How many references there may be: as many as there are, if they divide the pictures evenly."""
    count = len(reference)
    return count if count and pictures % count == 0 else pictures


def other_people(person_id: Sequence[str]) -> tuple[list[int], Tensor]:
    """For each picture of a batch the next one of another person, and (B,) bool where there is none (then itself)."""
    count = len(person_id)
    found = []
    for i in range(count):
        turns = ((i + k) % count for k in range(1, count))
        found.append(next((j for j in turns if person_id[j] != person_id[i]), i))
    return found, torch.tensor([i == j for i, j in enumerate(found)])


class TypedBatch:
    """What all batches share: they move to a device, and check themselves."""

    rgb: Tensor

    def __len__(self) -> int:
        return len(self.rgb)

    def to(self, device: torch.device | str, **options: Any) -> Self:
        """The same batch with every tensor on ``device``; ``options`` are those of ``Tensor.to`` (``non_blocking`` …).

        Types stay, and what was checked once is not checked again: on a GPU each check of a range would wait for it.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return self.changed(**{name: value.to(device, **options) for name, value in tensors.items()})

    def changed(self, **tensors: Tensor) -> Self:
        """The same batch with other tensors of the same shapes, which are not checked again."""
        made = copy.copy(self)
        for name, value in tensors.items():
            object.__setattr__(made, name, value)  # the batch is frozen
        return made

    def _check(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        value: Tensor = getattr(self, name)
        if tuple(value.shape) != shape or value.dtype != dtype:
            raise ValueError(
                f"{type(self).__name__}.{name} must be {shape} {dtype}, got {tuple(value.shape)} {value.dtype}"
            )

    def _check_range(self, name: str, low: float, high: float) -> None:
        value: Tensor = getattr(self, name)
        # A NaN fails both comparisons, so it is caught here too.
        if value.numel() and not (value.amin() >= low and value.amax() <= high):
            raise ValueError(f"{type(self).__name__}.{name} must lie in [{low}, {high}]")

    def _check_pictures(self, references: int) -> None:
        """Fields of pictures, whatever comes before their channels, and of so many references."""
        *each, _, h, w = self.rgb.shape
        for name, channels, dtype in (
            ("rgb", 3, self.rgb.dtype),
            ("depth_mm", 1, torch.float32),
            ("depth", 1, self.rgb.dtype),
            ("skin", 1, torch.bool),
            ("confidence", 1, torch.float32),
        ):
            self._check(name, (*each, channels, h, w), dtype)
        self._check("reference_rgb", (references, 3, h, w), self.rgb.dtype)
        for name in ("reference_rgb", "rgb", "depth"):
            self._check_range(name, -1, 1)
        self._check_range("depth_mm", 0, float("inf"))
        self._check_range("confidence", 0, 1)

    def _check_latents(self, references: int) -> None:
        """Fields of latents, as above."""
        *each, c, h, w = self.rgb.shape
        for name, channels in (("rgb", c), ("depth", c), ("skin", 1), ("confidence", 1)):
            self._check(name, (*each, channels, h, w), torch.float16)
        self._check("reference", (references, c, h, w), torch.float16)
        for name in ("skin", "confidence"):
            self._check_range(name, 0, 1)
        for name in ("reference", "rgb", "depth"):
            self._check_range(name, *_FLOAT16)

    def _check_names(self, count: int, *names: str) -> None:
        for name in names:
            if len(getattr(self, name)) != count:
                raise ValueError(f"{type(self).__name__}.{name} must have one entry a sample ({count})")


@dataclass(frozen=True)
class ImageBatch(TypedBatch):
    """B target pictures, and a reference picture of the same person for each, or for several one after another.

    * ``reference_rgb`` (R, 3, H, W) float32 in [-1, 1], R = B / ``targets``
    * ``rgb`` (B, 3, H, W) float32 in [-1, 1]
    * ``depth_mm`` (B, 1, H, W) float32, z-depth in millimetres, 0 = no value
    * ``depth`` (B, 1, H, W) float32 in [-1, 1]: ``depth_mm`` normalised by ``range_mm`` (see :mod:`jdap.depth`)
    * ``skin`` (B, 1, H, W) bool: valid skin, where depth is supervised and measured
    * ``range_mm`` (B, 2) float32: the skin's (q2, q98); (0, 1) where the picture has no usable depth
    * ``confidence`` (B, 1, H, W) float32 in [0, 1]: how far ``depth`` is trusted; it multiplies the depth loss
    * ``camera_px`` (B, 3) float32: focal length and principal point (f, cx, cy) in pixels of this picture
    * ``key``, ``person_id``, ``depth_source``: B strings each; the depth's source is ``studio`` or ``fitted``
    * ``source``: B strings: the named set that a sample was drawn of; its ``depth_source`` where sets have no names
    * ``mean_head_mm`` (B, 1, H, W) float32 or None: z-depth of the posed mean head, 0 = no value, for the baseline
    * ``yaw_deg`` (B,) float32 or None: how far the head is turned, positive to the picture's left
    * ``pose`` (B, 6), ``reference_pose`` (R, 6) float32 or None: head to camera, see :mod:`jdap.data.pose`
    * ``reference_camera_px`` (R, 3) float32 or None: as ``camera_px``, of the references
    """

    reference_rgb: Tensor
    rgb: Tensor
    depth_mm: Tensor
    depth: Tensor
    skin: Tensor
    confidence: Tensor
    range_mm: Tensor
    camera_px: Tensor
    key: tuple[str, ...]
    person_id: tuple[str, ...]
    depth_source: tuple[str, ...]
    source: tuple[str, ...]
    mean_head_mm: Tensor | None = None
    yaw_deg: Tensor | None = None
    pose: Tensor | None = None
    reference_pose: Tensor | None = None
    reference_camera_px: Tensor | None = None

    def __post_init__(self) -> None:
        b, _, h, w = self.rgb.shape
        self._check_pictures(_references(self.reference_rgb, b))
        self._check("range_mm", (b, 2), torch.float32)
        self._check("camera_px", (b, 3), torch.float32)
        if self.mean_head_mm is not None:
            self._check("mean_head_mm", (b, 1, h, w), torch.float32)
        references = len(self.reference_rgb)
        for name, shape in (
            ("yaw_deg", (b,)),
            ("pose", (b, 6)),
            ("reference_pose", (references, 6)),
            ("reference_camera_px", (references, 3)),
        ):
            if getattr(self, name) is not None:
                self._check(name, shape, torch.float32)
        self._check_names(b, "key", "person_id", "depth_source", "source")

    @property
    def targets(self) -> int:
        """Pictures of each reference."""
        return len(self) // len(self.reference_rgb)


@dataclass(frozen=True)
class LatentBatch(TypedBatch):
    """What :class:`ImageBatch` is to a training step once a codec has encoded it: C channels of h x w latent cells.

    * ``reference`` (R, C, h, w) float16: latents of the references, R = B / ``targets``
    * ``rgb``, ``depth`` (B, C, h, w) float16: latents of the target and of its depth
    * ``skin`` (B, 1, h, w) float16 in [0, 1]: how much of each cell is skin
    * ``confidence`` (B, 1, h, w) float16 in [0, 1]: how far each cell's depth is trusted
    * ``range_mm`` (B, 2) float32, as in :class:`ImageBatch`
    * ``codec``: the fingerprint of the codec whose latents these are
    * ``key``, ``person_id``, ``depth_source``, ``source``: B strings each, as in :class:`ImageBatch`
    """

    reference: Tensor
    rgb: Tensor
    depth: Tensor
    skin: Tensor
    confidence: Tensor
    range_mm: Tensor
    codec: str
    key: tuple[str, ...]
    person_id: tuple[str, ...]
    depth_source: tuple[str, ...]
    source: tuple[str, ...]

    def __post_init__(self) -> None:
        b = len(self)
        self._check_latents(_references(self.reference, b))
        self._check("range_mm", (b, 2), torch.float32)
        self._check_names(b, "key", "person_id", "depth_source", "source")

    @property
    def targets(self) -> int:
        """Pictures of each reference."""
        return len(self) // len(self.reference)


@dataclass(frozen=True, kw_only=True)
class Clips(TypedBatch):
    """What batches of clips hold, be their frames pictures or latents.

    * ``range_mm`` (B, 2) float32, over the skin of all frames
    * ``camera_px`` (B, F, 3) float32: (f, cx, cy) in pixels
    * ``pose`` (B, F, 6) float32: head to camera, axis-angle in radians and translation in millimetres
    * ``lip_opening_mm`` (B, F) float32: distance of the inner lips; NaN where the shard does not say
    * ``mouth_px`` (B, F, 3) float32: (x, y) of the mouth's centre and its radius, in pixels of these pictures
    * ``audio`` (B, S) float32 in [-1, 1], mono, 16 kHz, S = (F + 2 ``audio_margin``) x 16000 / fps: from
      ``audio_margin`` frames' time before the first frame to as much after the last; zeros where there is no sound
    * ``has_audio`` (B,) bool
    * ``fps``: frames per second, the same for the batch
    * ``key``, ``person_id``, ``depth_source``, ``source``: B strings each, as in :class:`ImageBatch`
    """

    rgb: Tensor
    depth: Tensor
    skin: Tensor
    confidence: Tensor
    range_mm: Tensor
    camera_px: Tensor
    pose: Tensor
    lip_opening_mm: Tensor
    mouth_px: Tensor
    audio: Tensor
    has_audio: Tensor
    fps: float
    key: tuple[str, ...]
    person_id: tuple[str, ...]
    depth_source: tuple[str, ...]
    source: tuple[str, ...]
    audio_margin: int = 0

    def __post_init__(self) -> None:
        b, f = self.rgb.shape[:2]
        self._check("range_mm", (b, 2), torch.float32)
        self._check("camera_px", (b, f, 3), torch.float32)
        self._check("pose", (b, f, 6), torch.float32)
        self._check("lip_opening_mm", (b, f), torch.float32)
        self._check("mouth_px", (b, f, 3), torch.float32)
        for name in ("pose", "mouth_px"):
            self._check_range(name, -torch.inf, torch.inf)
        if self.audio_margin < 0:
            raise ValueError(f"{type(self).__name__}.audio_margin must be at least 0, got {self.audio_margin}")
        self._check("audio", (b, round((f + 2 * self.audio_margin) * SAMPLE_RATE / self.fps)), torch.float32)
        self._check_range("audio", -1, 1)
        self._check("has_audio", (b,), torch.bool)
        self._check_names(b, "key", "person_id", "depth_source", "source")


@dataclass(frozen=True, kw_only=True)
class ClipBatch(Clips):
    """F consecutive frames of one person, with sound, per sample: as ``Clips`` says, and

    * ``reference_rgb`` (B, 3, H, W) float32 in [-1, 1]: a frame of the same clip
    * ``rgb`` (B, F, 3, H, W) float32 in [-1, 1]
    * ``depth_mm``, ``depth``, ``skin``, ``confidence`` (B, F, 1, H, W), as in :class:`ImageBatch`; one range serves a
      whole clip
    """

    reference_rgb: Tensor
    depth_mm: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_pictures(len(self))


@dataclass(frozen=True, kw_only=True)
class ClipLatentBatch(Clips):
    """What :class:`ClipBatch` is to a training step once a codec has encoded it: as ``Clips`` says, and

    * ``reference`` (B, C, h, w) float16: latents of a frame of the same clip
    * ``rgb``, ``depth`` (B, F, C, h, w) float16; ``skin``, ``confidence`` (B, F, 1, h, w) float16 in [0, 1], all as in
      :class:`LatentBatch`; one range serves a whole sample, of which these frames are a part
    * ``codec``: the fingerprint of the codec whose latents these are
    """

    reference: Tensor
    codec: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_latents(len(self))
