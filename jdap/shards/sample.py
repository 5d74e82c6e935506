"""The sample that is stored: one chunk of a clip, or some stills of one person; encoding and decoding.

Shapes: F frames, H = W pixels (square), N audio samples at 16 kHz.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jdap import depth
from jdap.shards import schema
from jdap.shards.schema import Record, SchemaError, frame_member


@dataclass(frozen=True)
class Sample:
    """One chunk of a clip, or some stills of one person, as :mod:`jdap.shards.schema` stores it.

    * ``rgb_FHW3`` uint8
    * ``depth_mm_FHW`` float32 z-depth in millimetres, 0 = no value
    * ``skin_FHW`` bool
    * ``arrays``: float32, named and shaped by :data:`jdap.shards.schema.ARRAYS`
    * ``audio`` (N,) float32 in [-1, 1], mono 16 kHz, or None
    * ``mean_head_mm_FHW`` float32 millimetres, 0 = no value, or None
    * ``maps``: of the studio's truth by kind of :data:`jdap.shards.schema.TRUTH_MAPS`, (F, S, S, …)
    * ``confidence_FHW`` float32 in [0, 1], how far the depth is trusted, or None: the reader's setting

    Raises :class:`SchemaError` where a shape or type differs from the record or the schema.
    """

    record: Record
    rgb_FHW3: np.ndarray
    depth_mm_FHW: np.ndarray
    skin_FHW: np.ndarray
    arrays: dict[str, np.ndarray]
    audio: np.ndarray | None = None
    mean_head_mm_FHW: np.ndarray | None = None
    confidence_FHW: np.ndarray | None = None
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        f, s = self.record.frames, self.record.size_px
        self._check("rgb_FHW3", (f, s, s, 3), np.uint8)
        self._check("depth_mm_FHW", (f, s, s), np.float32)
        self._check("skin_FHW", (f, s, s), np.bool_)
        if self.mean_head_mm_FHW is not None:
            self._check("mean_head_mm_FHW", (f, s, s), np.float32)
        if self.confidence_FHW is not None:
            self._check("confidence_FHW", (f, s, s), np.float32)
        if self.audio is not None:
            self._check("audio", (self.audio.size,), np.float32)
        for kind, values in self.maps.items():
            if kind not in schema.TRUTH_MAPS or values.shape[:3] != (f, s, s):
                raise SchemaError(f"{self.key}: {kind} is no map, or {values.shape} is not ({f}, {s}, {s}, …)")
        schema.check_arrays(self.arrays, f)

    def _check(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        value: np.ndarray = getattr(self, name)
        if value.shape != shape or value.dtype != dtype:
            raise SchemaError(
                f"{self.key}: {name} must be {shape} {dtype.__name__}, got {value.shape} {value.dtype.name}"
            )

    @property
    def key(self) -> str:
        """The WebDataset key, :attr:`jdap.shards.schema.Record.key`."""
        return self.record.key

    def members(self) -> dict[str, bytes]:
        """The encoded members, name → bytes, in the order in which they are stored: the record comes first."""
        members = {"json": self.record.encoded()}
        for i in range(self.record.frames):
            members[frame_member("rgb", i)] = schema.encode_rgb(self.rgb_FHW3[i])
            members[frame_member("depth", i)] = schema.encode_depth(depth.to_tenths(self.depth_mm_FHW[i]))
            members[frame_member("skin", i)] = schema.encode_skin(self.skin_FHW[i])
            if self.mean_head_mm_FHW is not None:
                tenths = depth.to_tenths(self.mean_head_mm_FHW[i])
                members[frame_member("meanhead", i)] = schema.encode_depth(tenths)
            if self.confidence_FHW is not None:
                members[frame_member("confidence", i)] = schema.encode_confidence(self.confidence_FHW[i])
            for kind, values in self.maps.items():
                members[frame_member(kind, i)] = schema.TRUTH_MAPS[kind][0](values[i])
        members["arrays.safetensors"] = schema.encode_arrays(self.arrays, self.record.frames)
        if self.audio is not None:
            members["audio.wav"] = schema.encode_audio(self.audio)
        return members

    @classmethod
    def from_members(cls, members: dict[str, bytes]) -> Sample:
        """The inverse of :meth:`members`; every member is decoded. Raises :class:`SchemaError`."""
        if "json" not in members:
            raise SchemaError("member json is missing")
        try:
            record = Record.from_json(json.loads(members["json"]))
        except (TypeError, ValueError) as error:
            raise SchemaError(f"json: {error}") from error
        optional = (*schema.OPTIONAL_KINDS, *schema.TRUTH_MAPS)
        kinds = (*schema.FRAME_KINDS, *(kind for kind in optional if frame_member(kind, 0) in members))
        expected = {"json", "arrays.safetensors"}
        expected |= {frame_member(kind, i) for kind in kinds for i in range(record.frames)}
        missing, unknown = sorted(expected - set(members)), sorted(set(members) - expected - {"audio.wav"})
        if missing or unknown:
            raise SchemaError(f"members missing: {missing or 'none'}, unknown: {unknown or 'none'}")
        stacks = {kind: _decode_frames(kind, members, record) for kind in kinds}
        return cls(
            record=record,
            rgb_FHW3=stacks["rgb"],
            depth_mm_FHW=depth.from_tenths(stacks["depth"]),
            skin_FHW=stacks["skin"],
            arrays=schema.decode_arrays(members["arrays.safetensors"], record.frames),
            audio=schema.decode_audio(members["audio.wav"]) if "audio.wav" in members else None,
            mean_head_mm_FHW=depth.from_tenths(stacks["meanhead"]) if "meanhead" in stacks else None,
            confidence_FHW=stacks.get("confidence"),
            maps={kind: stacks[kind] for kind in schema.TRUTH_MAPS if kind in stacks},
        )


@dataclass(frozen=True)
class StoredSample:
    """A sample as it was encoded: :class:`jdap.shards.writer.ShardWriter` asks for no more than this."""

    key: str
    record: Record
    encoded: dict[str, bytes]

    def members(self) -> dict[str, bytes]:
        """The encoded members."""
        return self.encoded


def _decode_frames(kind: str, members: dict[str, bytes], record: Record) -> np.ndarray:
    readers: dict[str, Callable[[bytes], np.ndarray]] = {
        "rgb": schema.decode_rgb,
        "skin": schema.decode_skin,
        "confidence": schema.decode_confidence,
    }
    readers |= {name: decode for name, (_, decode) in schema.TRUTH_MAPS.items()}
    decode = readers.get(kind, schema.decode_depth)
    return np.stack([decode_picture(members, kind, i, decode, record) for i in range(record.frames)])


def decode_picture(
    members: dict[str, bytes], kind: str, index: int, decode: Callable[[bytes], np.ndarray], record: Record
) -> np.ndarray:
    """The map ``kind`` of frame ``index``, (H, W) or (H, W, 3). Raises SchemaError that names the member."""
    name = frame_member(kind, index)
    try:
        picture = decode(members[name])
    except SchemaError as error:
        raise SchemaError(f"{name}: {error}") from error
    if picture.shape[:2] != (record.size_px, record.size_px):
        raise SchemaError(f"{name}: {picture.shape[1]}x{picture.shape[0]} pixels, the record says {record.size_px}")
    return picture
