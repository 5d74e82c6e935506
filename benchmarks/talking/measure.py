"""What the frames and depths of a talking clip are worth: against the truth, and against themselves over time.

Shapes: F frames, C latent channels, H = W pixels, h x w latent cells, S audio samples.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.modes.measure import HEAD, masked_mean, psnr, ssim
from jdap import depth as depth_frames
from jdap.batch import ClipBatch
from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import draw_frames
from jdap.diffusion.samplers import ddim
from jdap.metrics.depth import DEPTH_MEASURES, NORMALISED, ground_truth, scale_shift
from jdap.metrics.motion import border_jumps, changes, flicker, jitter, static_pairs
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Conditions
from jdap.pipelines.sound_windows import SoundWindows
from jdap.pipelines.talking import TalkingPipeline, WindowShape

#: Of :func:`drift`.
OVER_CLIP = "over the clip"


def depth_of_clip(made_F1HW: Tensor, clip: ClipBatch) -> dict[str, float]:
    """AbsRel, delta1 and RMSE on skin in the normalised frame, means over frames; one scale and shift for the clip."""
    range_mm = clip.range_mm.expand(len(made_F1HW), -1)
    target, mask = ground_truth(NORMALISED, clip.depth_mm[0], clip.skin[0], range_mm)
    # Frames one below the other are one picture, and get one alignment.
    scale, shift = scale_shift(*(x.flatten(0, 2)[None, None] for x in (made_F1HW, target, mask)))
    aligned = scale * made_F1HW.double() + shift
    return {name: float(measure(aligned, target, mask).nanmean()) for name, measure in DEPTH_MEASURES.items()}


def likeness(made_F3HW: Tensor, clip: ClipBatch) -> dict[str, float]:
    """PSNR (dB) and SSIM against the true frames on the true head, means over frames."""
    head = clip.depth_mm[0] > 0
    true = clip.rgb[0]
    return {"psnr": float(psnr(made_F3HW, true, head).nanmean()), "ssim": float(ssim(made_F3HW, true, head).nanmean())}


def drift(distances_K: Tensor) -> dict[str, float]:
    """How faces leave the reference as a clip goes on, by their K ≥ 2 distances at even steps from its first frame to
    its last: those distances by their time, as a share of the clip, and :data:`OVER_CLIP`, the last minus the first,
    along the straight line of least squares. NaN stays NaN."""
    count = len(distances_K)
    time = torch.linspace(0, 1, count, dtype=torch.float64)
    found = {f"at {round(100 * float(t))} %": float(x) for t, x in zip(time, distances_K, strict=True)}
    centred = time - time.mean()
    return found | {OVER_CLIP: float((distances_K.double() * centred).sum() / centred.square().sum())}


def head_of(depth_F1HW: Tensor) -> Tensor:
    """Where a head is in both frames of each pair (F − 1, 1, H, W) bool: normalised depth nearer than :data:`HEAD`."""
    head = depth_F1HW < HEAD
    return head[1:] & head[:-1]


def steadiness(depth_F1HW: Tensor, rgb_F3HW: Tensor, head_P1HW: Tensor) -> dict[str, float]:
    """Flicker and jitter of depth (range 2) where the head in ``rgb`` stands still; NaN where it never does.

    ``static``: the share of the head that does, over all pairs of frames.
    """
    static = static_pairs(rgb_F3HW) & head_P1HW
    return {
        "flicker": float(flicker(depth_F1HW, static)),
        "jitter": float(jitter(depth_F1HW, static)),
        "static": float(masked_mean(static.double().flatten(0, 2)[None, None], head_P1HW.flatten(0, 2)[None, None])),
    }


def borders(frames: int, shape: WindowShape) -> list[int]:
    """The frames of a video of so many to which it may jump: where windows begin, and where they leave the one before.

    With overlap K a window that begins with frame f takes over in K + 1 steps: to the frames f … f + K.
    """
    overlap = shape.overlap()
    starts = range(shape.frames - overlap, frames - overlap, shape.frames - overlap)
    return [k for start in starts for k in range(start, min(start + overlap + 1, frames))]


def jumps(rgb_F3HW: Tensor, depth_F1HW: Tensor, at: list[int]) -> dict[str, float]:
    """Whether a video jumps to the frames ``at``: :func:`jdap.metrics.motion.border_jumps`."""
    found: dict[str, float] = {}
    for name, half in (("rgb", rgb_F3HW), ("depth", depth_F1HW)):
        jump = border_jumps(changes(half), at)
        found |= {f"{name}_jump": jump["ratio"], f"{name}_above": jump["above_usual"]}
    return found


def estimate(
    pipeline: TalkingPipeline, rgb_F3HW: Tensor, reference_13HW: Tensor, sound_S: Tensor, steps: int, seed: int
) -> Tensor:
    """Normalised depth (F, 1, H, W) that the clip model sees in frames that it is given, window by window, on the CPU.

    The RGB half of each window and of its motion frames is known; the depth half is drawn, and what was drawn of the
    window before goes on as the depth of its motion frames. A last window that is not full repeats the last frame.
    """
    shape, device = pipeline.shape, pipeline.device
    latents = pipeline.codec.encode(reference_13HW.to(device))
    given: dict[str, object] = {"frames": shape.frames}
    if pipeline.reference is not None:
        given["reference"] = pipeline.unet.project_reference(pipeline.reference(latents))
    if shape.anchor:
        given["anchor"] = Anchor(latents, pipeline.schedule.timesteps - 1)
    if pipeline.image_tokens is not None:
        given["tokens_BLD"] = pipeline.image_tokens(reference_13HW.to(device))
    sound = SoundWindows(sound_S.cpu(), shape.fps)
    motion = None
    if shape.motion_frames:
        like = latents[:, None].expand(-1, shape.motion_frames, -1, -1, -1)
        motion = MotionFrames.null(like, pipeline.schedule.timesteps)
    made = []
    around = shape.motion_frames + shape.audio_margin
    for first in range(0, len(rgb_F3HW), shape.frames):
        frames = rgb_F3HW[first : first + shape.frames]
        there = len(frames)
        frames = torch.cat([frames, frames[-1:].expand(shape.frames - there, -1, -1, -1)])
        rgb = pipeline.codec.encode(frames.to(device))
        if pipeline.audio is not None:
            heard = sound.cut(first - around, shape.frames + around + shape.audio_margin).to(device)
            tokens = pipeline.audio(heard[None], shape.motion_frames + shape.frames, shape.audio_margin)
            if pipeline.drive is not None:
                free = heard.new_full((1, tokens.shape[1], 7), torch.nan)
                tokens = torch.cat([tokens, pipeline.drive(Conditions(free[..., :6], free[..., 6]))], dim=2)
            given["audio"] = pipeline.unet.project_audio(tokens, shape.anchor)
        network = partial(pipeline.unet, motion=motion, **given)
        noise = draw_frames(Pair(rgb, rgb), seed, first, shape.noise_sharing)
        drawn = ddim(pipeline.denoiser, network, noise, known_rgb=rgb, steps=steps)
        if motion is not None:
            before, its_depth = (x[-shape.motion_frames :][None] for x in (rgb, drawn.depth))
            motion = MotionFrames(before, its_depth, torch.zeros_like(motion.t))
        made.append(depth_frames.from_codec(pipeline.codec.decode(drawn.depth))[:there].cpu())
    return torch.cat(made)


def repeated(frame_CHW: Tensor, frames: int) -> Tensor:
    """A still video (F, C, H, W)."""
    return frame_CHW.expand(frames, *frame_CHW.shape[-3:])


def looped(sound_S: Tensor, samples: int) -> Tensor:
    """Sound over and over, to so many samples."""
    return sound_S.repeat(-(-samples // len(sound_S)))[:samples]
