"""Pictures of the studio, another of the same sitting moved to them, and what the UNet makes of them at some noise.

One picture of a sitting is moved to the others by turns: as in use, by heads fitted to both; by the true heads, a
little wrong; and every second time the whole head is carried by depth and poses (:mod:`jdap.pipelines.carried`). A
second picture is carried to all others.

Shapes: T pictures of a sitting, S x S pixels, C latent channels, h x w latent cells, E expressions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from benchmarks.pose.pairs import seen_by, true_head
from jdap import depth as depth_frames
from jdap.data.pose import pose_of
from jdap.diffusion.denoiser import Pair
from jdap.geometry import axis_angle_to_matrix
from jdap.io.files import make_folder
from jdap.pipelines.carried import carry, posed_heads
from jdap.pipelines.moved import LOG_SNR_LED, MovedReferences, cells_of
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.likeness import LIKENESS_GRID_PX, ReferenceFace, enlarged, face_in_picture, move_face, reference_mover
from jdap.pose.motion import Mover
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.urls import resolve_shards

#: Each pair is met so often, every second time mirrored, at other noise.
MET = 2
#: People a file.
CHUNK = 20
#: How wrong true heads are made: a quarter of the expressions by as much, the pose by degrees, the place by mm and by a
#: share of the distance.
_EXPRESSION, _TURN_DEGREES, _PLACE_MM, _FAR = 0.1, 2.0, 1.5, 0.01


class Tried(NamedTuple):
    """What training needs of N pictures: latents as the UNet saw them ``noisy`` and the ``clean`` ones that it said,
    the true ``target``, the ``moved`` reference and ``depth`` (N, C, h, w); what is ``seen`` of it (N, 2, h, w);
    ``skin`` (N, 1, h, w) in [0, 1]; ``log_snr`` (N,)."""

    noisy: Tensor
    clean: Tensor
    target: Tensor
    moved: Tensor
    depth: Tensor
    seen: Tensor
    skin: Tensor
    log_snr: Tensor


def try_missing(
    folder: Path, shards: str, pipeline: PortraitPipeline, heads: Heads, people: int, seed: int
) -> Iterator[int]:
    """Write a file for each :data:`CHUNK` people of sittings that has none; tells how many people are done."""
    make_folder(folder)
    samples = islice((sample for url in resolve_shards(shards) for sample in read_samples(url)), people)
    for k, some in enumerate(iter(lambda: list(islice(samples, CHUNK)), [])):
        file = folder / f"{k:05d}.safetensors"
        if not file.is_file():
            tried = [_tried(x, pipeline, heads, [seed, CHUNK * k + i]) for i, x in enumerate(some)]
            found = {name: torch.cat([getattr(x, name) for x in tried]) for name in Tried._fields}
            part = file.with_suffix(".part")
            save_file({name: (x if name == "log_snr" else x.half()).contiguous() for name, x in found.items()}, part)
            part.replace(file)
        yield CHUNK * k + len(some)


def read_tried(folder: Path) -> Tried:
    """All that was written, in half precision."""
    files = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    return Tried(*(torch.cat([one[name] for one in files]) for name in Tried._fields))


@torch.inference_mode()
def _tried(sample: Sample, pipeline: PortraitPipeline, heads: Heads, seed: list[int]) -> Tried:
    """The pictures of a sitting by one of them, and by another one."""
    rng = np.random.default_rng(seed)
    rgb = torch.from_numpy(sample.rgb_FHW3).permute(0, 3, 1, 2).float() / 127.5 - 1
    depth_mm, skin = torch.from_numpy(sample.depth_mm_FHW)[:, None], torch.from_numpy(sample.skin_FHW)[:, None]
    depth = depth_frames.normalise(depth_mm, depth_frames.skin_range_mm(depth_mm, skin))
    turns = []
    for by_heads, at in zip((True, False), rng.permutation(len(rgb)).tolist(), strict=False):
        others = [k for k in range(len(rgb)) if k != at]
        if by_heads:
            moved = _moved(sample, at, others, rgb, depth, heads, rng)
        else:
            moved = _carried(sample, at, others, rgb)
        for turn in range(MET):
            shown = [rgb[at][None], rgb[others], depth[others], skin[others], *moved]
            if (seed[-1] + turn) % 2:
                shown = [x.flip(-1) for x in shown]
            generator = Generator().manual_seed(int(rng.integers(2**31)))
            turns.append(_answered(pipeline, generator, *shown))
    return Tried(*(torch.cat(parts) for parts in zip(*turns, strict=True)))


def _answered(
    pipeline: PortraitPipeline,
    generator: Generator,
    reference: Tensor,
    rgb: Tensor,
    depth: Tensor,
    skin: Tensor,
    moved: Tensor,
    seen: Tensor,
) -> Tried:
    """What the UNet says of them, each at noise of its own, with their depth given."""
    codec, denoiser, count = pipeline.codec, pipeline.denoiser, len(rgb)
    target, shown, known = (codec.encode(x) for x in (rgb, moved, depth_frames.to_codec(depth)))
    low, high = LOG_SNR_LED
    # One of each of as many equal parts of the range, in any order.
    place = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    t_rgb = denoiser.schedule.at_log_snr(low + (high - low) * place)
    t = Pair(t_rgb, torch.zeros_like(t_rgb))
    noise = Pair(torch.randn(target.shape, generator=generator), torch.zeros_like(known))
    noisy = Pair(denoiser.add_noise(Pair(target, known), noise, t).rgb, known)
    v = Pair(*pipeline.network(reference, 1, count)(*noisy, *t))
    factor = codec.factor
    return Tried(
        noisy.rgb,
        denoiser.clean(noisy, v, t).rgb,
        target,
        shown,
        known,
        cells_of(seen, factor),
        depth_frames.latent_weight(skin, factor),
        denoiser.schedule.snr(t_rgb).log().clamp_min(low),
    )


def _moved(
    sample: Sample,
    at: int,
    others: list[int],
    rgb: Tensor,
    depth: Tensor,
    heads: Heads,
    rng: np.random.Generator,
) -> MovedReferences:
    """Picture ``at`` of a sitting, moved to every second one of the others by heads, and carried to the rest."""
    pictures, seen = torch.zeros(len(others), *rgb.shape[1:]), torch.zeros(len(others), 2, *rgb.shape[2:])
    pictures[1::2], seen[1::2] = _carried(sample, at, others[1::2], rgb)
    fitted = face_in_picture(heads, rgb[at])
    head = true_head(heads, sample, at)
    mover = Mover(heads, _jittered(head, rng) if rng.random() < 0.5 else head, LIKENESS_GRID_PX)
    true = ReferenceFace(enlarged(rgb[at]), mover)
    for k in range(0, len(others), 2):
        other = others[k]
        if k % 4 == 0 and fitted is not None:
            drawn = rgb[other][None] if rng.random() < 0.5 else None
            moved = reference_mover(heads, [fitted])(drawn, depth[other][None])
            if moved.found.all():
                pictures[k], seen[k] = moved.rgb[0], moved.seen[0]
                continue
        there = true_head(heads, sample, other)
        points = seen_by(heads.acting(mover.head, _jittered(there, rng)), there, mover.head)
        moved_face = move_face(heads, points, true, rgb.shape[-1])
        pictures[k], seen[k] = moved_face.rgb_13SS[0], moved_face.seen_12SS[0]
    return MovedReferences(pictures, seen)


def _carried(sample: Sample, at: int, others: list[int], rgb: Tensor) -> MovedReferences:
    """Picture ``at`` carried to each of the others by their depth."""
    camera_px, count = torch.from_numpy(sample.arrays["camera_px"]), len(others)
    pose = pose_of(sample.arrays)
    reference = posed_heads(pose[at].expand(count, 6), camera_px[at].expand(count, 3))
    depth_mm = torch.from_numpy(sample.depth_mm_FHW)[others, None]
    return carry(rgb[at].expand(count, -1, -1, -1), reference, depth_mm, posed_heads(pose[others], camera_px[others]))


def _normal(count: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(count).astype(np.float32))


def _jittered(head: FittedHead, rng: np.random.Generator) -> FittedHead:
    """A true head, as wrong as a fitted one."""
    some = torch.from_numpy(rng.random(len(head.expression_E)) < 0.25)
    turn = _normal(3, rng) * float(np.deg2rad(_TURN_DEGREES)) / 3**0.5
    place = _normal(3, rng) * torch.tensor([_PLACE_MM, _PLACE_MM, _FAR * float(head.translation_mm_3[2])])
    return replace(
        head,
        expression_E=(head.expression_E + _EXPRESSION * _normal(len(head.expression_E), rng) * some).clamp(0, 1),
        rotation_33=axis_angle_to_matrix(turn) @ head.rotation_33,
        translation_mm_3=head.translation_mm_3 + place,
    )
