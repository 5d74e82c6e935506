"""Shards of pictures → shards of latents, so that training need not encode.

Every shard becomes one of :mod:`jdap.shards.latents`, ``latents-000000.tar`` … in the order of the input. A run that
was interrupted goes on where it stopped: finished shards are skipped. Beside each lies ``latents-000000.safetensors``,
the sums that the training set's mean depth is made of (:class:`jdap.callbacks.mean_depth.MeanDepth`).

Shapes: V versions of a frame, N pictures, H = W pixels.
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jdap import depth
from jdap.batch import ImageBatch
from jdap.data import draw
from jdap.data.draw import image_batch
from jdap.data.latents import MeanSums
from jdap.data.shards import ShardError, resolve_shards
from jdap.data.tars import BadSamplePolicy, RawSample, samples_of
from jdap.data.transforms import Example, augment, flip, resize
from jdap.io.assets import resolve
from jdap.io.device import find_device
from jdap.io.files import make_folder
from jdap.io.progress import track
from jdap.models.codec import Codec, fingerprint, load_codec
from jdap.shards import schema
from jdap.shards.latents import FrameLatents, LatentSettings, encode_frame, latents_member
from jdap.shards.schema import Record, SchemaError, frame_member
from jdap.shards.writer import write_tar

_log = logging.getLogger(__name__)


class CacheError(ValueError):
    """Latents that cannot be made or gone on with; the message names the file and the remedy."""


class CachedFrame(NamedTuple):
    """One frame of the ``nth`` sample of a shard, ready to be encoded; ``pictures`` may say what is wrong with it.

    ``pose_V6`` is that of its versions; ``beside`` are members that the sample keeps as they are.
    """

    nth: int
    record: Record | None
    number: int
    has_confidence: bool
    pictures: ImageBatch | str
    pose_V6: Tensor | None = None
    beside: dict[str, bytes] | None = None


@dataclass
class Pending:
    """A sample whose frames are being encoded."""

    record: Record | None
    members: dict[str, bytes] = field(default_factory=dict)
    wrong: str = ""


class ShardFrames(IterableDataset):
    """The frames of a shard, each in all its V versions as an :class:`jdap.batch.ImageBatch`; workers share samples.

    The first variant is the frame as it is. The others have a colour and a crop that (seed, sample, variant) draw: the
    same for all frames of a sample, with the reference in the same colour and whole. For clips the depth of a version
    has one range in all frames, and stills are left out.
    """

    def __init__(self, url: str, size_px: int | None, settings: LatentSettings) -> None:
        self.url, self.size_px, self.settings = url, size_px, settings

    def __iter__(self) -> Iterator[CachedFrame]:
        """Frames in order. Raises :class:`ShardError` for a shard that cannot be read."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        faults = BadSamplePolicy(strict=True)
        try:
            for index, sample in enumerate(samples_of(self.url)):
                if index % workers == worker:
                    yield from self._of(index, sample)
        except (OSError, EOFError, ImportError, ValueError, tarfile.TarError) as error:
            faults.bad(self.url, error)

    def _of(self, index: int, sample: RawSample) -> Iterator[CachedFrame]:
        try:
            record = draw.read_record(sample)
        except SchemaError as error:
            yield CachedFrame(index, None, 0, False, f"{sample['__key__']}: {error}")
            return
        if record.latents:
            raise SchemaError("holds latents already: name the shards of pictures that they were made of")
        clips = self.settings.clips
        if clips and record.fps == 0:
            return
        sound = {name: sample[name] for name in ("audio.wav",) if clips and name in sample}
        try:
            range_mm = self._range_mm(sample, record) if clips else None
            for i in range(record.frames):
                versions = self._versions(sample, record, i)
                pose, confidence = torch.cat([one.pose_F6 for one in versions]), frame_member("confidence", i) in sample
                beside = {} if i else sound
                yield CachedFrame(index, record, i, confidence, image_batch(versions, range_mm), pose, beside)
        except SchemaError as error:
            yield CachedFrame(index, record, 0, False, f"{sample['__key__']}: {error}")

    def _range_mm(self, sample: RawSample, record: Record) -> Tensor:
        """(V, 2) the range of each version's depth over the skin of all frames."""
        seen: list[list[Tensor]] = [[] for _ in range(self.settings.versions)]
        for i in range(record.frames):
            for values, one in zip(seen, self._versions(sample, record, i), strict=True):
                values.append(one.depth_mm_F1HW[one.skin_F1HW])
        all_ = [torch.cat(values)[None, None, None] for values in seen]
        return torch.cat([depth.skin_range_mm(z, torch.ones_like(z, dtype=torch.bool)) for z in all_])

    def _versions(self, sample: RawSample, record: Record, index: int) -> list[Example]:
        """A frame in its V versions. Raises :class:`SchemaError`."""
        frame, s = draw.decode(draw.pick(sample, record, index, [index])), self.settings
        frame = frame if self.size_px is None else resize(frame, self.size_px)
        made = [frame]
        for variant in range(1, s.variants):
            chance = draw.seeded("cache", s.seed, sample["__key__"], variant)
            made.append(augment(frame, chance, flip_=False, jitter=s.jitter, zoom=s.zoom))
        return [side for one in made for side in ((one, flip(one)) if s.mirrored else (one,))]


@torch.no_grad()
def encode(codec: Codec, frames: list[CachedFrame], device: torch.device) -> list[FrameLatents]:
    """Encode good frames, all at once. Raises :class:`CacheError` for latents that float16 cannot hold."""
    batches = [f.pictures for f in frames if isinstance(f.pictures, ImageBatch)]
    poses = [f.pose_V6 for f in frames if f.pose_V6 is not None]
    sizes = [len(b) for b in batches]
    pictures = torch.cat([x for b in batches for x in (b.rgb, depth.to_codec(b.depth), b.reference_rgb)])
    latents = codec.encode(pictures.to(device)).half().cpu()
    if not latents.isfinite().all():
        raise CacheError(f"{batches[0].key[0]} or a frame after it: the codec gives latents that are not finite")
    made = []
    for frame, batch, pose, three in zip(frames, batches, poses, latents.split([3 * n for n in sizes]), strict=True):
        rgb, z, reference = three.chunk(3)
        skin = depth.latent_weight(batch.skin, codec.factor).half()
        trust = depth.latent_confidence(batch.confidence, batch.skin, codec.factor).half()
        zoomed = not torch.equal(batch.rgb, batch.reference_rgb)
        made.append(
            FrameLatents(
                rgb,
                z,
                skin,
                batch.range_mm,
                batch.camera_px,
                pose,
                trust if frame.has_confidence else None,
                reference if zoomed else None,
            )
        )
    return made


def cache(
    shards: str | list[str],
    codec: str,
    out: Path,
    size_px: int | None = None,
    mirrored: bool = False,
    variants: int = 1,
    jitter: float = 0.0,
    zoom: float = 0.0,
    seed: int = 0,
    clips: bool = False,
    device: str = "cpu",
    batch_size: int = 32,
    workers: int = 0,
) -> tuple[list[Path], list[str]]:
    """Make latents of all shards → the shards in ``out``, and what was wrong with those that could not be read.

    ``clips``: for the temporal stage, else for the image stage, see :class:`jdap.shards.latents.LatentSettings`.
    ``batch_size`` pictures are encoded at a time. What cannot be decoded is left out, warned of and counted in the
    sidecar. Raises :class:`CacheError` where ``out`` holds latents of other pictures, another codec or other settings.
    """
    if variants == 1:
        jitter = zoom = 0.0  # they act on the second and further variants
    place, model = find_device(device), load_codec(resolve(codec))
    settings = LatentSettings(
        fingerprint(model), model.latent_channels, model.factor, variants, mirrored, jitter, zoom, seed, clips
    )
    model.to(place)  # type: ignore[arg-type]
    make_folder(out)
    done, wrong = [], []
    urls = resolve_shards(shards)
    surplus = sorted(p for p in out.glob("latents-*.tar") if int(p.stem.partition("-")[2] or 0) >= len(urls))
    if surplus:
        raise CacheError(
            f"{surplus[0]}: what it was made of is not among the {len(urls)} shards: delete {out}, or name another one"
        )
    for index, url in enumerate(track(urls, "shard")):
        path = out / f"latents-{index:06d}.tar"
        origin = {"from": url.rsplit("/", 1)[-1], "from_bytes": _size(url), "size_px": size_px}
        if not _is_done(path, origin | {"latents": settings.to_json()}):
            loader = DataLoader(ShardFrames(url, size_px, settings), batch_size=None, num_workers=workers)
            try:
                _cache_shard(path, loader, model, place, settings, batch_size, origin)
            except ShardError as error:
                _log.warning("left out: %s", error)
                wrong.append(str(error))
                continue
        done.append(path)
    return done, wrong


def _cache_shard(
    path: Path,
    frames: Iterable[CachedFrame],
    codec: Codec,
    device: torch.device,
    settings: LatentSettings,
    batch_size: int,
    origin: dict[str, Any],
) -> None:
    samples: dict[int, Pending] = {}
    waiting: list[CachedFrame] = []
    sums = MeanSums()

    def flush() -> None:
        for frame, latents in zip(waiting, encode(codec, waiting, device) if waiting else [], strict=True):
            samples[frame.nth].members[latents_member(frame.number)] = encode_frame(latents)
        waiting.clear()

    for frame in frames:
        sample = samples.setdefault(frame.nth, Pending(frame.record, dict(frame.beside or {})))
        if isinstance(frame.pictures, str) or frame.record is None:
            sample.wrong = sample.wrong or str(frame.pictures)
            continue
        side = frame.pictures.rgb.shape[-1]
        if side % codec.factor:
            raise CacheError(f"{origin['from']}: {side} pixels a side, give a --size that {codec.factor} divides")
        sample.record = replace(
            frame.record,
            size_px=side,
            latents=settings.to_json(),
            schema_version=schema.LATENTS_VERSION,
        )
        sums.add(frame.pictures)
        waiting.append(frame)
        if 3 * settings.versions * len(waiting) >= batch_size:
            flush()
    flush()
    bad = [one.wrong for one in samples.values() if one.wrong]
    good = [(one.record, one.members) for _, one in sorted(samples.items()) if one.record and not one.wrong]
    if bad:
        _log.warning("%d samples of %s are left out: %s", len(bad), origin["from"], bad[0])
    if not good:
        raise ShardError(f"{origin['from']}: holds no usable {'clip' if settings.clips else 'sample'}")
    if not settings.clips:
        sums.write(path.with_suffix(".safetensors"))
    write_tar(
        path,
        (
            (
                record.key,
                {"json": json.dumps(record.to_json(), sort_keys=True).encode(), **dict(sorted(members.items()))},
            )
            for record, members in good
        ),
        {
            "schema_version": schema.LATENTS_VERSION,
            "samples": len(good),
            "frames": sum(record.frames for record, _ in good),
            "rejected": {"cannot be decoded": len(bad)} if bad else {},
            **origin,
            "latents": settings.to_json(),
        },
    )


def _is_done(path: Path, made_of: dict[str, Any]) -> bool:
    """Whether a shard is there. Raises :class:`CacheError` where it was made of or with something else."""
    sidecar = path.with_suffix(".json")
    if not sidecar.exists():
        return False
    found = json.loads(sidecar.read_bytes())
    differs = [name for name, value in made_of.items() if found.get(name) != value]
    if differs:
        raise CacheError(f"{path}: made with another {differs[0]}: name another folder for --out, or delete this one")
    return path.exists()


def _size(url: str) -> int:
    system, inside = fsspec.core.url_to_fs(url)
    return int(system.size(inside))
