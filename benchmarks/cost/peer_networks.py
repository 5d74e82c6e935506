"""Depth of a picture and a clip: our pipelines, and diffusers' own of the same size, with random weights.

The UNets have Stable Diffusion 1.5's architecture with the same widths, and all codecs are the same ``AutoencoderKL``.
Nobody reads a prompt: theirs are given an empty one's embedding, ready.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import AnimateDiffPipeline, MarigoldDepthPipeline
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from benchmarks.cost.side_by_side import Part
from benchmarks.cost.timing import Call
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import new_audio_tokens
from jdap.models.clip.audio_attention import new_audio_attention
from jdap.models.clip.motion import new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.codec import DiffusersCodec
from jdap.models.image.build import build
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline, WindowShape
from jdap.units import FPS, SAMPLE_RATE

#: Latent channels of the codec, and channels of a prompt's tokens.
_CHANNELS, _TOKEN_DIM = 4, 768
#: Tokens of an empty prompt: Marigold does not fill it up, AnimateDiff does.
_BARE_TOKENS, _FULL_TOKENS = 2, 77
#: Frames that our window sees before those that it draws, and of sound around it.
_MOTION_FRAMES, _AUDIO_MARGIN = 2, 4
#: Of ours by the reference, and AnimateDiff's by the prompt, its default. Any but 1 costs the same.
_GUIDANCE, _PROMPT_GUIDANCE = 2.0, 7.5

_Widths = tuple[int, ...]


def depth_part(widths: _Widths, codec_widths: _Widths, size_px: int, ensemble: int, device: str) -> Part:
    """Depth in one step of ours, against Marigold's in one and four, and both as a mean of ``ensemble`` draws."""
    sizes = (widths, codec_widths, size_px, device)
    builders = {"ours": partial(our_depth, *sizes, 1)} | {
        f"marigold {steps}": partial(marigold, *sizes, steps, 1) for steps in (1, 4)
    }
    compared = [
        ("1 step, Marigold 1 step", "ours", "marigold 1"),
        ("1 step, Marigold 4 steps", "ours", "marigold 4"),
    ]
    if ensemble > 1:
        builders |= {
            "our ensemble": partial(our_depth, *sizes, ensemble),
            "marigold ensemble": partial(marigold, *sizes, 1, ensemble),
        }
        compared.append((f"both 1 step, ensemble of {ensemble}", "our ensemble", "marigold ensemble"))
    return Part("depth", f"{size_px}²", builders, tuple(compared))


def clip_part(widths: _Widths, codec_widths: _Widths, size_px: int, frames: int, steps: int, device: str) -> Part:
    """A window of ours, pictures and depth, against as many frames by AnimateDiff, pictures alone."""
    sizes = (widths, codec_widths, size_px, device, frames, steps)
    builders: dict[str, Any] = {
        "ours": partial(our_clip, *sizes, 1.0),
        "animatediff": partial(animatediff, *sizes, 1.0),
        "ours, guided": partial(our_clip, *sizes, _GUIDANCE),
        "animatediff, guided": partial(animatediff, *sizes, _PROMPT_GUIDANCE),
    }
    compared = (
        (f"{steps} steps", "ours", "animatediff"),
        (f"{steps} guided steps", "ours, guided", "animatediff, guided"),
    )
    return Part("clip", f"{frames} frames, {size_px}²", builders, compared)


def our_depth(widths: _Widths, codec_widths: _Widths, size_px: int, device: str, ensemble: int) -> Call:
    """``image_to_depth`` of a picture, in one step."""
    torch.manual_seed(0)
    joint, reference = build("sd15", _CHANNELS, widths)
    codec = DiffusersCodec(_autoencoder(codec_widths))
    pipeline = PortraitPipeline(
        codec.eval(), joint.eval(), reference.eval(), NoiseSchedule(), preset="sd15", size_px=size_px
    )
    pipeline.to(device)
    picture = torch.rand(1, 3, size_px, size_px) * 2 - 1
    return partial(pipeline.image_to_depth, picture, steps=1, ensemble=ensemble)


def marigold(widths: _Widths, codec_widths: _Widths, size_px: int, device: str, steps: int, ensemble: int) -> Call:
    """diffusers' Marigold on a picture, at its own size, as version 1.1 is set: DDIM, v-prediction, trailing."""
    torch.manual_seed(0)
    pipeline: Any = MarigoldDepthPipeline(
        unet=_plain_unet(widths, 2 * _CHANNELS).eval(),
        vae=_autoencoder(codec_widths).eval(),
        scheduler=DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        text_encoder=None,
        tokenizer=None,
        prediction_type="depth",
        default_denoising_steps=4,
        default_processing_resolution=0,
    )
    pipeline.to(device)
    pipeline.empty_text_embedding = torch.zeros(1, _BARE_TOKENS, _TOKEN_DIM, device=device)
    pipeline.set_progress_bar_config(disable=True)
    picture = torch.rand(1, 3, size_px, size_px)
    return partial(pipeline, picture, num_inference_steps=steps, ensemble_size=ensemble, output_type="pt")


def our_clip(
    widths: _Widths, codec_widths: _Widths, size_px: int, device: str, frames: int, steps: int, guidance: float
) -> Call:
    """The talking pipeline, asked for one window: pictures and depth, led by a reference and by sound."""
    torch.manual_seed(0)
    joint, reference = build("sd15", _CHANNELS, widths)
    unet = ClipUNet(joint, new_motion(joint.unet), new_audio_attention(joint.unet, _TOKEN_DIM))
    pipeline = TalkingPipeline(
        DiffusersCodec(_autoencoder(codec_widths)).eval(),
        unet.eval(),
        reference.eval(),
        new_audio_tokens(dim=_TOKEN_DIM).eval(),
        NoiseSchedule(),
        shape=WindowShape(frames, _MOTION_FRAMES, _AUDIO_MARGIN, anchor=True),
        preset="sd15",
        size_px=size_px,
    )
    pipeline.quiet().to(device)
    picture = torch.rand(1, 3, size_px, size_px) * 2 - 1
    sound = torch.rand(frames * SAMPLE_RATE // FPS) * 2 - 1
    return lambda: list(pipeline.talk(picture, sound, steps=steps, guidance=guidance))


def animatediff(
    widths: _Widths, codec_widths: _Widths, size_px: int, device: str, frames: int, steps: int, guidance: float
) -> Call:
    """diffusers' AnimateDiff with motion modules of the same shape as ours."""
    torch.manual_seed(0)
    unet = _plain_unet(widths, _CHANNELS)
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, timestep_spacing="linspace", steps_offset=1)
    pipeline: Any = AnimateDiffPipeline(
        vae=_autoencoder(codec_widths).eval(),
        text_encoder=None,
        tokenizer=None,
        unet=unet.eval(),
        motion_adapter=new_motion(unet).eval(),
        scheduler=scheduler,
    )
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    prompt = torch.zeros(1, _FULL_TOKENS, _TOKEN_DIM)
    return partial(
        pipeline,
        prompt_embeds=prompt,
        negative_prompt_embeds=prompt,
        num_frames=frames,
        height=size_px,
        width=size_px,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="pt",
    )


def _plain_unet(widths: _Widths, channels_in: int) -> UNet2DConditionModel:
    """Stable Diffusion's UNet for latents of :data:`_CHANNELS`, all processors diffusers' own."""
    levels = len(widths) - 1
    return UNet2DConditionModel(
        in_channels=channels_in,
        out_channels=_CHANNELS,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D",) * levels + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * levels,
        layers_per_block=2,
        attention_head_dim=8,  # the number of heads, as diffusers reads it
        cross_attention_dim=_TOKEN_DIM,
    )


def _autoencoder(widths: _Widths) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=2,
        latent_channels=_CHANNELS,
        scaling_factor=0.18215,
    )
