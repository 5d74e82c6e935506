"""The shard contract: what a sample of a WebDataset tar holds, under which names, in which types and units.

A sample is one chunk of a clip: F frames of one person, square, of one size. Its members are ``KEY.NAME``:

==========================  =====================================================================================
``json``                    the record, :class:`Record`
``rgb.0000.jpg`` …          a frame, 8-bit RGB JPEG, no chroma subsampling
``depth.0000.png`` …        z-depth, 16-bit PNG in tenths of a millimetre, 0 = no value
``skin.0000.png`` …         valid skin, 1-bit PNG
``meanhead.0000.png`` …     optional: z-depth of the posed mean head, for the baseline of the benchmarks
``confidence.0000.png`` …   optional: how far the depth is trusted, 8-bit PNG, 0 … 255 = 0 … 1
``arrays.safetensors``      per-frame arrays, :data:`ARRAYS`
``audio.wav``               optional: mono 16 kHz 16-bit PCM, in time with the first frame
==========================  =====================================================================================

One file a frame lets the image stage draw two frames without decoding the rest.
"""

from __future__ import annotations

import io
import wave
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import safetensors.numpy
from PIL import Image, UnidentifiedImageError

VERSION = 1
STUDIO, FITTED = "studio", "fitted"
DEPTH_SOURCES = (STUDIO, FITTED)
SAMPLE_RATE = 16000
JPEG_QUALITY = 95

#: Arrays of a sample: name -> (shape after the frame axis, unit). float32; the first axis is F unless noted.
#: A ``None`` size is free. ``landmarks_px`` may be absent (studio stills); the rest are always there.
ARRAYS: dict[str, tuple[tuple[int | None, ...], str]] = {
    "camera_px": ((3,), "focal length and principal point (f, cx, cy), pixels of the stored frame"),
    "rotation": ((3,), "head to camera, axis-angle, radians"),
    "translation_mm": ((3,), "head to camera, millimetres"),
    "identity": ((None,), "identity coefficients in standard deviations, repeated for each frame"),
    "expression": ((None,), "expression coefficients, 0 … 1"),
    "landmarks_px": ((None, 2), "mediapipe landmarks, pixels of the stored frame"),
}
OPTIONAL_ARRAYS = {"landmarks_px"}


class SchemaError(ValueError):
    """A sample or shard that does not keep the contract."""


@dataclass(frozen=True)
class Record:
    """What the JSON member says of a sample.

    ``fps`` is 0 where frames are stills of one person rather than consecutive. ``scores`` has one list of F numbers a
    score; ``software`` names versions that made the sample. ``speech``, where somebody is known to talk: ``text``,
    ``language``, ``voice`` and ``phonemes`` (``ipa:start_ms`` with ``_`` for a pause, parted by blanks).
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
    schema_version: int = VERSION

    def __post_init__(self) -> None:
        if self.schema_version != VERSION:
            raise SchemaError(
                f"shard schema version {self.schema_version} is not {VERSION}, which this jdap reads; prepare it again"
            )
        if self.depth_source not in DEPTH_SOURCES:
            raise SchemaError(f"depth_source must be one of {DEPTH_SOURCES}, got {self.depth_source!r}")
        if self.frames < 1 or self.size_px < 1 or self.fps < 0:
            raise SchemaError(f"frames and size_px must be positive, fps not negative: {self}")
        if "." in self.clip_id or "/" in self.clip_id:
            raise SchemaError(f"clip_id {self.clip_id!r} must hold neither '.' nor '/': WebDataset keys end at a dot")

    def to_json(self) -> dict[str, object]:
        """The JSON object that is stored; ``speech`` only where there is some."""
        return {name: value for name, value in asdict(self).items() if name != "speech" or value}

    @classmethod
    def from_json(cls, data: dict) -> Record:
        """The inverse of :meth:`to_json`; raises :class:`SchemaError` for another version or missing fields."""
        if not isinstance(data, dict):
            raise SchemaError(f"a record must be a JSON object, got {type(data).__name__}")
        version = data.get("schema_version")
        if version != VERSION:
            raise SchemaError(f"shard schema version {version!r} is not {VERSION}, the one this jdap reads")
        names = {f.name for f in fields(cls)}
        if set(data) | {"speech"} != names:
            raise SchemaError(f"record fields differ from the schema: {sorted((set(data) | {'speech'}) ^ names)}")
        try:
            return cls(**data)
        except TypeError as error:
            raise SchemaError(f"a record's field has the wrong type: {error}") from error


def frame_member(kind: str, index: int) -> str:
    """The member name of frame ``index``: ``rgb``, ``depth``, ``skin``, ``meanhead`` or ``confidence``."""
    return f"{kind}.{index:04d}.{'jpg' if kind == 'rgb' else 'png'}"


def encode_rgb(rgb: np.ndarray) -> bytes:
    """(S, S, 3) uint8 → JPEG bytes."""
    return _encode(Image.fromarray(rgb), "JPEG", quality=JPEG_QUALITY, subsampling=0)


def decode_rgb(data: bytes) -> np.ndarray:
    """JPEG bytes → (S, S, 3) uint8."""
    return np.asarray(_decode(data).convert("RGB"))


def encode_depth(tenths: np.ndarray) -> bytes:
    """(S, S) uint16 tenths of a millimetre (:func:`jdap.depth.to_tenths`), 0 = no value → 16-bit PNG bytes."""
    if tenths.dtype != np.uint16:
        raise SchemaError(f"depth is stored as uint16 tenths of a millimetre, got {tenths.dtype}")
    return _encode(Image.fromarray(tenths), "PNG", optimize=True)


def decode_depth(data: bytes) -> np.ndarray:
    """16-bit PNG bytes → (S, S) uint16 tenths of a millimetre (:func:`jdap.depth.from_tenths` makes millimetres)."""
    image = _decode(data)
    if not image.mode.startswith("I"):
        raise SchemaError(f"depth must be a 16-bit PNG, got mode {image.mode}")
    return np.asarray(image).astype(np.uint16)


def encode_skin(skin: np.ndarray) -> bytes:
    """(S, S) bool → 1-bit PNG bytes."""
    return _encode(Image.fromarray(skin), "PNG", optimize=True)


def decode_skin(data: bytes) -> np.ndarray:
    """1-bit PNG bytes → (S, S) bool."""
    return np.asarray(_decode(data).convert("1"))


def encode_confidence(confidence: np.ndarray) -> bytes:
    """(S, S) float32 in [0, 1] → 8-bit PNG bytes; rounded to 1/255."""
    if not (confidence.min(initial=0) >= 0 and confidence.max(initial=0) <= 1):
        raise SchemaError("confidence must lie in [0, 1]")
    return _encode(Image.fromarray(np.rint(confidence * 255).astype(np.uint8)), "PNG", optimize=True)


def decode_confidence(data: bytes) -> np.ndarray:
    """8-bit PNG bytes → (S, S) float32 in [0, 1]."""
    image = _decode(data)
    if image.mode != "L":
        raise SchemaError(f"confidence must be an 8-bit grey PNG, got mode {image.mode}")
    return np.asarray(image, np.float32) / 255


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


def _decode(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:  # its message is the address of the buffer
        raise SchemaError("a picture cannot be decoded: it is of no known format") from error
    except (OSError, SyntaxError) as error:
        raise SchemaError(f"a picture cannot be decoded: {error}") from error
    return image
