"""The shard contract: what a sample of a WebDataset tar holds, under which names, in which types and units.

A sample is one chunk of a clip: F frames of one person, square, of one size. Its members are ``KEY.NAME``:

==========================  =====================================================================================
``json``                    the record, :class:`Record`
``rgb.0000.jpg`` …          a frame, 8-bit RGB JPEG, no chroma subsampling
``depth.0000.png`` …        z-depth, 16-bit PNG in tenths of a millimetre, 0 = no value
``skin.0000.png`` …         valid skin, 1-bit PNG
``meanhead.0000.png`` …     optional: z-depth of the posed mean head, for the baseline of the benchmarks
``confidence.0000.png`` …   optional: how far the depth is trusted, 8-bit PNG, 0 … 255 = 0 … 1
``relit.0000.jpg`` …        optional: the frame once more in other light, as ``rgb``; nothing else differs
``normal.0000.png`` …       optional: normals in camera space, 8-bit RGB PNG, :func:`encode_normal`
``albedo.0000.png`` …       optional: linear albedo, 8-bit RGB PNG of its square root, :func:`encode_albedo`
``part.0000.png`` …         optional: 8-bit PNG, 0 = nothing, else 1 + the part's index in the studio's list
``wrap.0000.png`` …         optional: how far light wraps round the terminator, 8-bit PNG, 0 … 255 = 0 … 1
``open.0000.png`` …         optional: how much of the ambient light and of three lamps arrives, 8-bit RGBA, 0 … 1
``arrays.safetensors``      per-frame arrays, :data:`ARRAYS`
``audio.wav``               optional: mono 16 kHz 16-bit PCM, in time with the first frame
==========================  =====================================================================================

One file a frame lets the image stage draw two frames without decoding the rest.

That is version 1. Samples of version 3 hold latents rather than pictures: :mod:`jdap.shards.latents`.
"""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import safetensors.numpy
from PIL import Image, UnidentifiedImageError

from jdap.shards import png
from jdap.units import SAMPLE_RATE

#: Of samples that hold pictures, and of samples that hold latents (:mod:`jdap.shards.latents`).
VERSION, LATENTS_VERSION = 1, 3
VERSIONS = (VERSION, LATENTS_VERSION)
STUDIO, FITTED = "studio", "fitted"
DEPTH_SOURCES = (STUDIO, FITTED)
#: What every frame has, and what it may have beside; the studio's truth (:data:`TRUTH_MAPS`) comes on top.
FRAME_KINDS, OPTIONAL_KINDS = ("rgb", "depth", "skin"), ("meanhead", "confidence")
JPEG_QUALITY = 95
#: Pictures of up to this side are coded for size rather than for speed.
SMALL_PX = 256

#: Arrays of a sample: name -> (shape after the frame axis, unit). float32; the first axis is F unless noted.
#: A ``None`` size is free. ``landmarks_px`` may be absent (studio stills); the rest are always there.
ARRAYS: dict[str, tuple[tuple[int | None, ...], str]] = {
    "camera_px": ((3,), "focal length and principal point (f, cx, cy), pixels of the stored frame"),
    "rotation": ((3,), "head to camera, axis-angle, radians"),
    "translation_mm": ((3,), "head to camera, millimetres"),
    "identity": ((None,), "identity coefficients in standard deviations, repeated for each frame"),
    "expression": ((None,), "expression coefficients, 0 … 1"),
    "landmarks_px": ((None, 2), "mediapipe landmarks, pixels of the stored frame"),
    "light_ambient": ((9, 3), "ambient irradiance, linear RGB, of 1, y, z, x, xy, yz, 3z²−1, xz, x²−y² of the normal"),
    "light_lamps": ((3, 3), "unit vectors to the lamps, camera space"),
    "light_power": ((3, 3), "irradiance of the lamps at normal incidence, linear RGB; 0 = no lamp"),
    "exposure_gain": ((), "what linear light is multiplied with by exposure"),
    "relit_ambient": ((9, 3), "light_ambient of the relit picture"),
    "relit_lamps": ((3, 3), "light_lamps of the relit picture"),
    "relit_power": ((3, 3), "light_power of the relit picture"),
    "relit_gain": ((), "exposure_gain of the relit picture"),
}
OPTIONAL_ARRAYS = set(ARRAYS) - {"camera_px", "rotation", "translation_mm", "identity", "expression"}


class SchemaError(ValueError):
    """A sample or shard that does not keep the contract."""


@dataclass(frozen=True)
class Record:
    """What the JSON member says of a sample.

    ``fps`` is 0 where frames are stills of one person rather than consecutive. ``scores`` has one list of F numbers a
    score; ``software`` names versions that made the sample. ``speech``, where somebody is known to talk: ``text``,
    ``language``, ``voice`` and ``phonemes`` (``ipa:start_ms`` with ``_`` for a pause, parted by blanks).
    ``latents``, in version 3 alone: how they were made, :class:`jdap.shards.latents.LatentSettings`.
    """

    clip_id: str
    person_id: str
    depth_source: str
    frames: int
    size_px: int
    fps: float
    first_frame: int = 0
    source: str = ""
    scores: dict[str, list[float]] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    speech: dict[str, str] = field(default_factory=dict)
    latents: dict[str, object] = field(default_factory=dict)
    schema_version: int = VERSION

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        if bool(self.latents) != (self.schema_version == LATENTS_VERSION):
            raise SchemaError(f"a record says how its latents were made where its version is {LATENTS_VERSION}: {self}")
        if self.depth_source not in DEPTH_SOURCES:
            raise SchemaError(f"depth_source must be one of {DEPTH_SOURCES}, got {self.depth_source!r}")
        if self.frames < 1 or self.size_px < 1 or self.fps < 0:
            raise SchemaError(f"frames and size_px must be positive, fps not negative: {self}")
        if "." in self.clip_id or "/" in self.clip_id:
            raise SchemaError(f"clip_id {self.clip_id!r} must hold neither '.' nor '/': WebDataset keys end at a dot")

    @property
    def key(self) -> str:
        """The WebDataset key of the sample: the clip's id and the chunk's first frame."""
        return f"{self.clip_id}-{self.first_frame:06d}"

    def to_json(self) -> dict[str, object]:
        """The JSON object that is stored; ``speech`` and ``latents`` only where there are some."""
        return {name: value for name, value in asdict(self).items() if name not in _MAY_LACK or value}

    def encoded(self) -> bytes:
        """The member that is stored."""
        return json.dumps(self.to_json(), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: dict) -> Record:
        """The inverse of :meth:`to_json`; raises :class:`SchemaError` for another version or missing fields."""
        if not isinstance(data, dict):
            raise SchemaError(f"a record must be a JSON object, got {type(data).__name__}")
        _check_version(data.get("schema_version"))
        names = {f.name for f in fields(cls)}
        if set(data) | _MAY_LACK != names:
            raise SchemaError(f"record fields differ from the schema: {sorted((set(data) | _MAY_LACK) ^ names)}")
        try:
            return cls(**data)
        except TypeError as error:
            raise SchemaError(f"a record's field has the wrong type: {error}") from error


_MAY_LACK = {"speech", "latents"}


def _check_version(version: object) -> None:
    if version not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        raise SchemaError(f"shard schema version {version!r} is not {known}, which this jdap reads; prepare it again")


def frame_member(kind: str, index: int) -> str:
    """The member name of frame ``index``: ``rgb``, ``depth``, ``skin``, or one of the optional kinds."""
    return f"{kind}.{index:04d}.{'jpg' if kind in ('rgb', 'relit') else 'png'}"


def encode_rgb(rgb: np.ndarray) -> bytes:
    """(S, S, 3) uint8 → JPEG bytes."""
    # Tables of the picture's own: the same pixels, a seventh fewer bytes at 128², a thirtieth at 512², where they cost
    # more time than that is worth.
    image, how = Image.fromarray(rgb), {"quality": JPEG_QUALITY, "subsampling": 0}
    if len(rgb) <= SMALL_PX:
        with suppress(OSError):  # Pillow's buffer for this is too small for pictures of little but noise
            return _encode(image, "JPEG", optimize=True, **how)
    return _encode(image, "JPEG", **how)


def decode_rgb(data: bytes) -> np.ndarray:
    """JPEG bytes → (S, S, 3) uint8."""
    return np.asarray(_as(_decode(data), "RGB"))


def encode_depth(tenths: np.ndarray) -> bytes:
    """(S, S) uint16 tenths of a millimetre (:func:`jdap.depth.to_tenths`), 0 = no value → 16-bit PNG bytes."""
    if tenths.dtype != np.uint16:
        raise SchemaError(f"depth is stored as uint16 tenths of a millimetre, got {tenths.dtype}")
    return png.encode_smooth(tenths)


def decode_depth(data: bytes) -> np.ndarray:
    """16-bit PNG bytes → (S, S) uint16 tenths of a millimetre (:func:`jdap.depth.from_tenths` makes millimetres)."""
    image = _decode(data)
    if not image.mode.startswith("I"):
        raise SchemaError(f"depth must be a 16-bit PNG, got mode {image.mode}")
    return np.asarray(image).astype(np.uint16, copy=False)


def encode_skin(skin: np.ndarray) -> bytes:
    """(S, S) bool → 1-bit PNG bytes."""
    return png.encode_runs(skin)


def decode_skin(data: bytes) -> np.ndarray:
    """1-bit PNG bytes → (S, S) bool."""
    return np.asarray(_as(_decode(data), "1"))


def encode_confidence(confidence: np.ndarray) -> bytes:
    """(S, S) float32 in [0, 1] → 8-bit PNG bytes; rounded to 1/255."""
    if not (confidence.min(initial=0) >= 0 and confidence.max(initial=0) <= 1):
        raise SchemaError("confidence must lie in [0, 1]")
    return png.encode_runs(np.rint(confidence * 255).astype(np.uint8))


def decode_confidence(data: bytes) -> np.ndarray:
    """8-bit PNG bytes → (S, S) float32 in [0, 1]."""
    image = _decode(data)
    if image.mode != "L":
        raise SchemaError(f"confidence must be an 8-bit grey PNG, got mode {image.mode}")
    return np.asarray(image, np.float32) / 255


def encode_normal(normal: np.ndarray) -> bytes:
    """(S, S, 3) float32 unit vectors, camera space, 0 = nothing → 8-bit RGB PNG bytes: 128 + 127 n.

    Rounding turns a normal by 0.4 degrees at most; 16-bit RGB is beyond most PNG libraries, and four times the bytes.
    """
    return _encode(Image.fromarray((np.rint(normal * 127) + 128).astype(np.uint8)), "PNG", optimize=True)


def decode_normal(data: bytes) -> np.ndarray:
    """8-bit RGB PNG bytes → (S, S, 3) float32 unit vectors, 0 = nothing."""
    normal = np.asarray(_mode(data, "RGB"), np.float32) - 128
    length = np.sqrt(np.square(normal).sum(-1, keepdims=True))
    return normal / np.maximum(length, 1)


def encode_albedo(albedo: np.ndarray) -> bytes:
    """(S, S, 3) float32 linear RGB, 0 … 1 → 8-bit RGB PNG bytes of the square root: finer steps where it is dark."""
    return encode_unit(np.sqrt(albedo))


def decode_albedo(data: bytes) -> np.ndarray:
    """8-bit RGB PNG bytes → (S, S, 3) float32 linear RGB."""
    return np.square(np.asarray(_mode(data, "RGB"), np.float32) / 255)


def encode_unit(values: np.ndarray) -> bytes:
    """(S, S) or (S, S, 3 or 4) float32, 0 … 1 → 8-bit PNG bytes, rounded to 1/255; raises :class:`SchemaError`."""
    if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
        raise SchemaError("shares must lie in [0, 1] to be stored")
    return _encode(Image.fromarray(np.rint(values * 255).astype(np.uint8)), "PNG", optimize=True)


def decode_wrap(data: bytes) -> np.ndarray:
    """8-bit PNG bytes → (S, S) float32, 0 … 1."""
    return np.asarray(_mode(data, "L"), np.float32) / 255


def decode_open(data: bytes) -> np.ndarray:
    """8-bit RGBA PNG bytes → (S, S, 4) float32, 0 … 1: of the ambient light and of three lamps."""
    return np.asarray(_mode(data, "RGBA"), np.float32) / 255


def encode_part(part: np.ndarray) -> bytes:
    """(S, S) uint8 → 8-bit PNG bytes."""
    return _encode(Image.fromarray(part), "PNG", optimize=True)


def decode_part(data: bytes) -> np.ndarray:
    """8-bit PNG bytes → (S, S) uint8."""
    return np.asarray(_mode(data, "L"))


#: Optional maps of the studio's truth: kind -> (encode, decode).
TRUTH_MAPS: dict[str, tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]] = {
    "relit": (encode_rgb, decode_rgb),
    "normal": (encode_normal, decode_normal),
    "albedo": (encode_albedo, decode_albedo),
    "part": (encode_part, decode_part),
    "wrap": (encode_unit, decode_wrap),
    "open": (encode_unit, decode_open),
}


def encode_arrays(arrays: dict[str, np.ndarray], frames: int) -> bytes:
    """Per-frame float32 arrays → safetensors bytes, checked against :data:`ARRAYS`."""
    check_arrays(arrays, frames)
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


def decode_arrays(data: bytes, frames: int) -> dict[str, np.ndarray]:
    """safetensors bytes → the arrays, checked against :data:`ARRAYS`."""
    try:
        arrays = safetensors.numpy.load(data)
    except Exception as error:  # safetensors raises its own type, and others for short input
        raise SchemaError(f"arrays.safetensors cannot be read: {error}") from error
    check_arrays(arrays, frames)
    return arrays


def check_arrays(arrays: dict[str, np.ndarray], frames: int) -> None:
    """Raise :class:`SchemaError` unless the arrays keep :data:`ARRAYS`."""
    missing = set(ARRAYS) - OPTIONAL_ARRAYS - set(arrays)
    unknown = set(arrays) - set(ARRAYS)
    if missing or unknown:
        raise SchemaError(f"arrays: missing {sorted(missing)}, unknown {sorted(unknown)}")
    for name, array in arrays.items():
        shape = (frames, *ARRAYS[name][0])
        fits = array.ndim == len(shape) and all(w in (None, g) for g, w in zip(array.shape, shape, strict=True))
        if not fits or array.dtype != np.float32 or not np.isfinite(array).all():
            raise SchemaError(f"array {name} must be finite float32 {shape}, got {array.dtype} {array.shape}")


def encode_audio(audio: np.ndarray) -> bytes:
    """(N,) float32 in [-1, 1], mono 16 kHz → 16-bit WAV bytes."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def decode_audio(data: bytes) -> np.ndarray:
    """16-bit mono 16 kHz WAV bytes → (N,) float32 in [-1, 1]."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SAMPLE_RATE):
                raise SchemaError("audio.wav must be mono 16-bit PCM at 16 kHz")
            samples = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise SchemaError(f"audio.wav cannot be read: {error}") from error
    return np.frombuffer(samples, "<i2").astype(np.float32) / 32767


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The picture in this mode; ``convert`` would copy one that is in it already."""
    return image if image.mode == mode else image.convert(mode)


def _mode(data: bytes, mode: str) -> Image.Image:
    image = _decode(data)
    if image.mode != mode:
        raise SchemaError(f"a map must be an 8-bit {mode} PNG, got mode {image.mode}")
    return image


def _decode(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:  # its message is the address of the buffer
        raise SchemaError("a picture cannot be decoded: it is of no known format") from error
    except (OSError, SyntaxError) as error:
        raise SchemaError(f"a picture cannot be decoded: {error}") from error
    return image
