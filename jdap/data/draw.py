"""From the undecoded members of one sample to examples: which frames are drawn, and only those are decoded.

A sample is a dict of member name → bytes as :mod:`jdap.shards.schema` names them.

Shapes: F frames, H = W pixels (square), N audio samples; T frames of the whole sample.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from jdap import depth
from jdap.batch import ImageBatch
from jdap.data.pose import pose_of
from jdap.data.position import StreamPosition
from jdap.data.transforms import Example
from jdap.geometry import head_angles_deg
from jdap.shards import schema
from jdap.shards.latents import latents_member
from jdap.shards.sample import decode_picture
from jdap.shards.schema import FITTED, FRAME_KINDS, OPTIONAL_KINDS, STUDIO, Record, SchemaError, frame_member
from jdap.units import SAMPLE_RATE

#: How far depth is trusted that no map and no setting says more of. The studio's is exact. That of a fit is off by 3–5
#: mm of a face's 15 mm of relief on the one scan there is; a half is a choice, not a measurement.
CONFIDENCE_OF = {STUDIO: 1.0, FITTED: 0.5}


@dataclass(frozen=True)
class Drawn:
    """A choice of frames of one sample, still encoded.

    ``members`` holds the frame ``reference``, the frames ``targets``, and nothing else; ``stride`` is how far these lie
    apart in a clip; ``url`` is the shard's; ``chance`` seeds what is drawn later for this choice (:func:`seeded`);
    ``place`` is where it was read.
    """

    key: str
    url: str
    record: Record
    reference: int
    targets: Sequence[int]
    members: dict[str, bytes]
    chance: tuple[object, ...] = ()
    place: StreamPosition = field(default_factory=StreamPosition)
    stride: int = 1


def read_record(sample: dict[str, Any]) -> Record:
    """The record of a sample, after a check that every member it promises is there (none is decoded).

    Raises :class:`SchemaError`, for another schema version too.
    """
    if "json" not in sample:
        raise SchemaError("member json is missing")
    try:
        record = Record.from_json(json.loads(sample["json"]))
    except (TypeError, ValueError) as error:
        raise SchemaError(f"json: {error}") from error
    names = frame_members(sample, record, range(record.frames))
    missing = [name for name in names if name not in sample]
    if missing:
        raise SchemaError(f"{len(missing)} members are missing, {missing[0]} first")
    return record


def frame_members(sample: dict[str, Any], record: Record, frames: Sequence[int]) -> list[str]:
    """Names of the members that hold these frames, of pictures or of latents."""
    if record.latents:
        return list(map(latents_member, frames))
    kinds = [*FRAME_KINDS, *(kind for kind in OPTIONAL_KINDS if frame_member(kind, 0) in sample)]
    return [*(frame_member(kind, i) for kind in kinds for i in frames), "arrays.safetensors"]


def seeded(*parts: object) -> Generator:
    """A generator whose seed is a hash of ``parts``: the same in every process and on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def choose(options: Sequence[int], generator: Generator) -> int:
    """One of the options, each as likely."""
    return options[int(torch.randint(len(options), (), generator=generator))]


def far_from(record: Record, frame: float) -> list[int]:
    """The frames that may be the reference of this one, or of several around it, or whose reference it may be.

    Of a clip those at least half the sample away, or as far as there is; of stills any other frame. The only frame of a
    sample is its own reference.
    """
    if record.frames == 1:
        return [0]
    least = 1.0 if record.fps == 0 else min(record.frames / 2, max(frame, record.frames - 1 - frame))
    return [i for i in range(record.frames) if abs(i - frame) >= least]


def random_targets(record: Record, generator: Generator, targets: int = 1) -> tuple[int, list[int]]:
    """A reference and its target frames for training.

    The first target is uniformly random, the reference uniformly one of those that are :func:`far_from` it, and further
    targets are far from the reference; none comes twice before all have come.
    """
    first = choose(range(record.frames), generator)
    reference = choose(far_from(record, first), generator)
    if targets == 1:
        return reference, [first]
    others = [i for i in far_from(record, reference) if i != first]
    mixed = [first, *(others[i] for i in torch.randperm(len(others), generator=generator).tolist())]
    return reference, [mixed[k % len(mixed)] for k in range(targets)]


def fixed_pairs(record: Record, limit: int | None = None) -> list[tuple[int, int]]:
    """Frames (reference, target) for evaluation, the same every time.

    Targets are ``limit`` frames evenly spread; by default every frame of stills, and first, middle and last of a clip.
    The reference is a clip's first or last frame, whichever is farther, and the next one of stills.
    """
    last = record.frames - 1
    count = min(limit or (record.frames if record.fps == 0 else 3), record.frames)
    targets = sorted({round(i) for i in np.linspace(0, last, count)}) if count > 1 else [last // 2]
    if record.fps == 0:
        return [((target + 1) % record.frames, target) for target in targets]
    return [(0 if target > last / 2 else last, target) for target in targets]


def choose_pairs(
    record: Record, generator: Generator | None, pairs: int, eval_frames: int | None, targets: int = 1
) -> list[tuple[int, Sequence[int]]]:
    """``pairs`` random references with ``targets`` each; without a generator fixed pairs, ``eval_frames`` at most."""
    if generator is None:
        return [(reference, [target]) for reference, target in fixed_pairs(record, eval_frames)]
    return [random_targets(record, generator, targets) for _ in range(pairs)]


def pick(
    sample: dict[str, Any],
    record: Record,
    reference: int,
    targets: Sequence[int],
    chance: tuple[object, ...] = (),
    pair: int = 0,
    stride: int = 1,
) -> Drawn:
    """Keep the members of the reference and of the target frames, and let go of the rest."""
    names = set(frame_members(sample, record, targets))
    names.add(latents_member(reference) if record.latents else frame_member("rgb", reference))
    if record.fps > 0 and "audio.wav" in sample:
        names.add("audio.wav")
    members = {name: sample[name] for name in names}
    key, place = f"{sample['__key__']}/{targets[0]:04d}", replace(sample.get("place", StreamPosition()), pair=pair)
    return Drawn(key, sample["__url__"], record, reference, targets, members, chance, place, stride)


def decode(
    drawn: Drawn, audio_margin: int | None = None, source: str | None = None, confidence: float | None = None
) -> Example:
    """Decode what was drawn. Raises :class:`SchemaError` that names the member.

    ``audio_margin`` is how many frames' time of sound comes before and after the drawn ones; None: no sound.
    ``source`` names the set that it was drawn of (None: after its depth_source); ``confidence`` is that of samples
    without a map of their own (None: :data:`CONFIDENCE_OF` of its depth_source).
    """
    record, members, targets = drawn.record, drawn.members, drawn.targets

    def stack(kind: str, read: Callable[[bytes], np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack([decode_picture(members, kind, i, read, record) for i in targets])).unsqueeze(
            1
        )

    rgb = [decode_picture(members, "rgb", i, schema.decode_rgb, record) for i in (drawn.reference, *targets)]
    rgb_F3HW = torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2).contiguous().float().div_(255)
    arrays = schema.decode_arrays(members["arrays.safetensors"], record.frames)
    shown = list(targets)
    pose = pose_of(arrays)
    camera_px = torch.from_numpy(arrays["camera_px"])
    has_mean_head = frame_member("meanhead", targets[0]) in members
    if frame_member("confidence", targets[0]) in members:
        confidence_F1HW = stack("confidence", schema.decode_confidence)
    else:
        trust = CONFIDENCE_OF[record.depth_source] if confidence is None else confidence
        confidence_F1HW = torch.tensor(trust).expand(len(targets), 1, record.size_px, record.size_px)
    return Example(
        key=drawn.key,
        person_id=record.person_id,
        depth_source=record.depth_source,
        source=source or record.depth_source,
        reference_3HW=rgb_F3HW[0],
        rgb_F3HW=rgb_F3HW[1:],
        depth_mm_F1HW=stack("depth", _decode_mm),
        skin_F1HW=stack("skin", schema.decode_skin),
        confidence_F1HW=confidence_F1HW,
        camera_px_F3=camera_px[shown],
        pose_F6=pose[shown],
        reference_camera_px_3=camera_px[drawn.reference],
        reference_pose_6=pose[drawn.reference],
        mean_head_mm_F1HW=stack("meanhead", _decode_mm) if has_mean_head else None,
        lip_opening_mm_F=lip_opening_mm(record)[shown],
        audio=None if audio_margin is None else decode_audio(drawn, audio_margin),
        audio_margin=audio_margin or 0,
        fps=record.fps / drawn.stride,
    )


def image_batch(examples: list[Example], range_mm: Tensor | None = None) -> ImageBatch:
    """Examples of equally many frames as a batch, the frames of an example one after the other.

    Depth is normalised here, after every resize and crop, by ``range_mm`` (B, 2) (None: each picture's own).
    """
    check_sizes(examples)
    depth_mm = torch.cat([e.depth_mm_F1HW for e in examples])
    skin = torch.cat([e.skin_F1HW for e in examples])
    if range_mm is None:
        range_mm = depth.skin_range_mm(depth_mm, skin)
    pose = torch.cat([e.pose_F6 for e in examples])
    mean_heads = [e.mean_head_mm_F1HW for e in examples if e.mean_head_mm_F1HW is not None]
    return ImageBatch(
        reference_rgb=signed(torch.stack([e.reference_3HW for e in examples])),
        rgb=signed(torch.cat([e.rgb_F3HW for e in examples])),
        depth_mm=depth_mm,
        depth=depth.normalise(depth_mm, range_mm),
        skin=skin,
        confidence=torch.cat([e.confidence_F1HW for e in examples]),
        range_mm=range_mm,
        camera_px=torch.cat([e.camera_px_F3 for e in examples]),
        # All or none: a baseline on a part of the pictures would be compared with a score over all of them.
        mean_head_mm=torch.cat(mean_heads) if len(mean_heads) == len(examples) else None,
        yaw_deg=head_angles_deg(pose[:, :3])[:, 0].float(),
        pose=pose,
        reference_pose=torch.stack([e.reference_pose_6 for e in examples]),
        reference_camera_px=torch.stack([e.reference_camera_px_3 for e in examples]),
        **names_of(examples, len(examples[0].rgb_F3HW)),
    )


def signed(rgb: Tensor) -> Tensor:
    """[0, 1] to [-1, 1], in place: fresh memory for a batch costs twenty times the arithmetic."""
    return rgb.mul_(2).sub_(1)


def check_sizes(examples: list[Example]) -> None:
    """Raise :class:`SchemaError` unless all pictures are of one size."""
    sizes = sorted({e.size_px for e in examples})
    if len(sizes) > 1:
        raise SchemaError(f"shards hold pictures of {sizes} pixels: give size_px, to which all are resized")


def names_of(examples: Sequence[Any], times: int = 1) -> dict[str, Any]:
    """The batch's fields of strings, those of each example so many times."""
    names = ("key", "person_id", "depth_source", "source")
    return {name: tuple(getattr(e, name) for e in examples for _ in range(times)) for name in names}


def _decode_mm(data: bytes) -> np.ndarray:
    return depth.from_tenths(schema.decode_depth(data))


def lip_opening_mm(record: Record) -> Tensor:
    """(T,) distance of the inner lips, NaN where the record does not say. Raises :class:`SchemaError`."""
    opening = record.scores.get("lip_opening_mm", [math.nan] * record.frames)
    if len(opening) != record.frames:
        raise SchemaError(f"json: the score lip_opening_mm has {len(opening)} numbers for {record.frames} frames")
    return torch.tensor(opening, dtype=torch.float32)


def decode_audio(drawn: Drawn, margin: int) -> Tensor | None:
    """The window's part of the sound and ``margin`` frames' time on both sides; None where the sample has none.

    Silence where the sample's sound does not reach.
    """
    if "audio.wav" not in drawn.members:
        return None
    audio = torch.from_numpy(schema.decode_audio(drawn.members["audio.wav"]))
    frame = drawn.stride * SAMPLE_RATE / drawn.record.fps
    start = round(drawn.targets[0] * SAMPLE_RATE / drawn.record.fps - margin * frame)
    count = round((len(drawn.targets) + 2 * margin) * frame)
    part = audio[max(0, start) : max(0, start + count)]
    before = max(0, -start)
    return torch.nn.functional.pad(part, (before, count - before - len(part)))
