"""How readers of mouths are trained: on true frames of talking people, as they are and as an image codec makes them.

A reader must be as good on what a diffusion model draws, which is softer than any true frame. So a third of the clips
it sees is as stored, a third went through the codec, and a third was decoded from latents to which noise was added;
and half of all are blurred besides.

Shapes: K clips of F frames, B clips in a batch, G frames of each, N = K F frames or B G, C channels, H = W = 128.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks import BenchmarkError
from jdap import depth as depth_frames
from jdap.batch import ClipBatch
from jdap.blur import gaussian_blur
from jdap.metrics.mouth import DEPTH, OPENING_UNIT_MM, READER_SIDE_PX, RGB, USUAL_RADIUS_PX, MouthReader
from jdap.models.codec import Codec

#: Standard deviations at most of the noise in latents (unit variance), of blur in pixels, and of noise in a picture.
LATENT_NOISE, BLUR_PX, PICTURE_NOISE = 0.3, 2.5, 0.06
#: A random view: e-folds of zoom, shift as a share of the picture's half side.
ZOOM, SHIFT = 0.2, 0.12
#: Where the reader looks in training: off the true mouth by these shares of its radius, in a clip and in each of its
#: frames, and e-folds of the radius.
OFF, OFF_FRAME, OFF_SIZE = 0.2, 0.05, 0.12
#: Frames of each clip in a batch in which the mouth is sought.
SOUGHT = 2
CODEC_BATCH = 64


@dataclass(frozen=True)
class MouthClips:
    """Clips of equally many frames to train on: ``versions`` of them (K, F, C, H, W) uint8, true and through the codec;
    where mouths are (K, F, 3), and the opening in millimetres (K, F)."""

    versions: tuple[Tensor, ...]
    mouth_px_KF3: Tensor
    opening_mm_KF: Tensor


def pictures(clip: ClipBatch, kind: str) -> Tensor:
    """What a reader of ``kind`` reads of a clip: RGB (F, 3, H, W) or normalised depth (F, 1, H, W), in [-1, 1]."""
    return clip.rgb[0] if kind == RGB else clip.depth[0]


def through_codec(codec: Codec, frames_FCHW: Tensor) -> Tensor:
    """What the codec, of whatever type, makes of RGB (F, 3, H, W) or normalised depth (F, 1, H, W); float32."""
    frames = frames_FCHW.to(next(codec.parameters()).dtype)
    return _decoded(codec, _encoded(codec, frames), frames_FCHW.shape[1]).float()


@torch.inference_mode()
def _encoded(codec: Codec, frames_FCHW: Tensor) -> Tensor:
    frames = depth_frames.to_codec(frames_FCHW) if frames_FCHW.shape[1] == 1 else frames_FCHW
    return torch.cat([codec.encode(some) for some in frames.split(CODEC_BATCH)])


@torch.inference_mode()
def _decoded(codec: Codec, latents_FChw: Tensor, channels: int) -> Tensor:
    made = torch.cat([codec.decode(some) for some in latents_FChw.split(CODEC_BATCH)])
    return depth_frames.from_codec(made) if channels == 1 else made.clamp(-1, 1)


def frames_of(clips: Iterable[ClipBatch], codec: Codec, seed: int = 0) -> dict[str, MouthClips]:
    """The frames of clips by kind. Raises BenchmarkError where clips have different lengths."""
    generator = Generator().manual_seed(seed)
    versions: dict[str, tuple[list[Tensor], ...]] = {kind: ([], [], []) for kind in (RGB, DEPTH)}
    mouths, openings = [], []
    for clip in clips:
        for kind, (true, coded, noisy) in versions.items():
            frames = pictures(clip, kind)
            latents = _encoded(codec, frames)
            share = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator)
            noise = share * torch.randn(latents.shape, generator=generator)
            true.append(_bytes(frames))
            coded.append(_bytes(_decoded(codec, latents, frames.shape[1])))
            noisy.append(_bytes(_decoded(codec, latents + noise, frames.shape[1])))
        mouths.append(clip.mouth_px[0])
        openings.append(clip.lip_opening_mm[0])
    if len({len(x) for x in openings}) > 1:
        raise BenchmarkError(f"--train: clips have {sorted({len(x) for x in openings})} frames, not equally many")
    where, opening = torch.stack(mouths), torch.stack(openings)
    return {kind: MouthClips(tuple(map(torch.stack, some)), where, opening) for kind, some in versions.items()}


def train(
    frames: MouthClips,
    steps: int,
    seed: int = 0,
    clips: int = 6,
    group: int = 8,
    rate: float = 2e-3,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[MouthReader, float]:
    """A reader after ``steps`` batches of ``group`` frames of each of ``clips`` clips, and its processor seconds.

    ``on_step`` is told the step and the loss. The same seed on the same machine gives the same reader.
    """
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    reader = MouthReader(frames.versions[0].shape[2]).train()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    start = time.process_time()
    for step in range(steps):
        view, mouth, opening = batch(frames, clips, group, generator)
        loss = _loss(reader, view, mouth, opening, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    return reader.eval(), time.process_time() - start


def _loss(
    reader: MouthReader, view_BGCHW: Tensor, mouth_px_BG3: Tensor, opening_mm_BG: Tensor, generator: Generator
) -> Tensor:
    read = reader.read(view_BGCHW, _misplaced(mouth_px_BG3, generator)) / OPENING_UNIT_MM
    true = opening_mm_BG / OPENING_UNIT_MM
    # How it changes within a clip is what will be measured; how far it is open at all says what a change looks like.
    moved, wanted = (x - x.mean(1, keepdim=True) for x in (read, true))
    changes = F.smooth_l1_loss(moved, wanted, beta=0.3)
    # Neighbours are alike to who looks for the mouth: two of them do.
    mouth = mouth_px_BG3[:, :SOUGHT]
    found, heat = reader.find(view_BGCHW[:, :SOUGHT])
    side = round(heat.shape[-1] ** 0.5)
    cell = (mouth[..., :2] * (side / READER_SIDE_PX)).long().clamp(0, side - 1)
    where = F.cross_entropy(heat.flatten(0, 1), (cell[..., 1] * side + cell[..., 0]).flatten())
    off = (found - mouth)[..., :2].norm(dim=-1).mean() / USUAL_RADIUS_PX
    size = (found[..., 2] / mouth[..., 2]).log().abs().mean()
    return changes + 0.5 * F.smooth_l1_loss(read, true, beta=0.3) + 0.1 * (where + off + size)


def _misplaced(mouth_px_BG3: Tensor, generator: Generator) -> Tensor:
    """Where a reader that has to find mouths itself would look: off in the same way over a clip, and a little more."""
    clips, group = mouth_px_BG3.shape[:2]
    size = torch.exp(OFF_SIZE * torch.randn(clips, 1, generator=generator))
    off = OFF * torch.randn(clips, 1, 2, generator=generator)
    off = off + OFF_FRAME * torch.randn(clips, group, 2, generator=generator)
    radius = mouth_px_BG3[..., 2:]
    return torch.cat([mouth_px_BG3[..., :2] + off * radius, radius * size[..., None]], -1)


def batch(frames: MouthClips, clips: int, group: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random views (B, G, C, H, W) float32 of random frames, one version, view and blur a clip; mouths and openings."""
    count, length = frames.opening_mm_KF.shape
    k = torch.randint(count, (clips, 1), generator=generator)
    f = torch.rand(clips, length, generator=generator).argsort(1)[:, :group]
    version = torch.randint(len(frames.versions), (clips,), generator=generator).tolist()
    view = torch.stack([frames.versions[v][k[i, 0], f[i]] for i, v in enumerate(version)]).float() / 127.5 - 1
    zoom = torch.exp(ZOOM * _even(generator, clips))
    shift = SHIFT * _even(generator, clips, 2)
    mirror = torch.where(torch.rand(clips, generator=generator) < 0.5, -1.0, 1.0)
    view, mouth = _seen(view, frames.mouth_px_KF3[k, f], zoom, shift, mirror)
    soft = BLUR_PX * torch.rand(clips, generator=generator) * (torch.rand(clips, generator=generator) < 0.5)
    view = torch.stack([gaussian_blur(one, sigma) for one, sigma in zip(view, soft.tolist(), strict=True)])
    level = PICTURE_NOISE * torch.rand(clips, 1, 1, 1, 1, generator=generator)
    view = view + level * torch.randn(view.shape, generator=generator)
    if view.shape[2] == 3:
        view = view * (1 + 0.3 * _even(generator, clips, 1, 3, 1, 1)) + 0.2 * _even(generator, clips, 1, 1, 1, 1)
    return view, mouth, frames.opening_mm_KF[k, f]


def _seen(
    clips_BGCHW: Tensor, mouth_px_BG3: Tensor, zoom_B: Tensor, shift_B2: Tensor, mirror_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Clips enlarged by ``zoom`` about a shifted point and mirrored, and where the mouths are then."""
    group, matrix = clips_BGCHW.shape[1], torch.zeros(len(clips_BGCHW), 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = mirror_B / zoom_B, 1 / zoom_B, shift_B2
    flat = clips_BGCHW.flatten(0, 1)
    grid = F.affine_grid(matrix.repeat_interleave(group, 0), list(flat.shape), align_corners=False)
    seen = F.grid_sample(flat, grid, padding_mode="border", align_corners=False).unflatten(0, clips_BGCHW.shape[:2])
    at = (mouth_px_BG3[..., :2] / READER_SIDE_PX * 2 - 1 - shift_B2[:, None]) * zoom_B[:, None, None]
    at = at * torch.stack([mirror_B, torch.ones_like(mirror_B)], -1)[:, None]
    return seen, torch.cat([(at + 1) / 2 * READER_SIDE_PX, mouth_px_BG3[..., 2:] * zoom_B[:, None, None]], -1)


def _even(generator: Generator, *shape: int) -> Tensor:
    """Evenly distributed in [-1, 1]."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _bytes(frames_FCHW: Tensor) -> Tensor:
    return (frames_FCHW * 127.5 + 127.5).round().byte()
