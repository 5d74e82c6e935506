"""The clip model: a frozen joint UNet that makes several frames at once, by motion modules and attention to sound.

Shapes: B clips, F frames of each, M motion frames before them, N = B · F pictures, C latent channels, h x w
latent cells, L tokens of D channels a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jdap.models.clip.audio_attention import AudioAttention, AudioReader
from jdap.models.clip.before import Anchor, MotionFrames, put_before
from jdap.models.clip.blocks import down, larger, middle, up, with_motion
from jdap.models.clip.motion import load_motion
from jdap.models.component import Component
from jdap.models.image.attention import AttentionContext, Features, Layers, PlainAttention, Reference, ReferenceReader
from jdap.models.image.joint_unet import JointUNet, no_tokens, project_features, seen, seen_latents
from jdap.models.image.plain import sees
from jdap.models.loading import WeightsError, diffusers_unheard, load_strict, one_line

#: Folders of the component's folder.
MOTION_FOLDER, AUDIO_ATTENTION = "motion", "audio_attention"


class ClipUNet(Component, ModelMixin):
    """Denoises the frames of clips: the joint UNet's frozen weights, motion modules, and attention to sound.

    The layers are those of a diffusers ``UNetMotionModel``; fresh motion modules and layers of sound answer zero, so
    that a fresh clip model answers as the image model, frame by frame. Its blocks are driven from here, because motion
    frames have a timestep of their own and ``UNetMotionModel.forward`` knows one for a whole clip.

    Args:
        joint: the image model; its tensors are copied, and frozen.
        motion: motion modules of the same widths (:func:`jdap.models.clip.motion.new_motion`, or AnimateDiff's).
        audio: layers of the joint UNet's names, None for a model that is deaf.

    Raises:
        ValueError: where the parts do not fit.
    """

    def __init__(self, joint: JointUNet, motion: MotionAdapter, audio: AudioAttention | None) -> None:
        super().__init__()
        self.image_config: dict[str, Any] = dict(joint.unet.config)
        self.rotary, self.sees_reference = joint.rotary, joint.sees_reference
        if motion.config["motion_layers_per_block"] != joint.unet.config["layers_per_block"] or (
            tuple(motion.config["block_out_channels"]) != tuple(joint.unet.config["block_out_channels"])
        ):
            raise ValueError(
                f"motion modules of widths {list(motion.config['block_out_channels'])} with "
                f"{motion.config['motion_layers_per_block']} layers do not fit a UNet of widths "
                f"{list(joint.unet.config['block_out_channels'])} with {joint.unet.config['layers_per_block']}"
            )
        with diffusers_unheard():  # of a cast that there is not
            self.unet = with_motion(joint.unet, motion)
        self.motion_config: dict[str, Any] = dict(motion.config)
        self.audio = audio
        processors: dict[str, Any] = dict(self.unet.attn_processors)
        spatial = [name for name in processors if "motion_modules" not in name]
        heard = {name.removesuffix(".processor") for name in spatial if ".attn2." in name}
        if audio is not None and set(audio.config["channels"]) != heard:
            raise ValueError("the layers of sound are not those beside this UNet's cross-attention")
        for name in spatial:
            layer = name.removesuffix(".processor")
            if ".attn1." in name:
                processors[name] = ReferenceReader(name, self.rotary)
            else:
                processors[name] = PlainAttention() if audio is None else AudioReader(layer, audio.layer(layer))
        for name in processors.keys() - set(spatial):
            processors[name] = PlainAttention()
        self.unet.set_attn_processor(processors)
        self.unet.freeze_unet2d_params()
        blocks: Any = self.unet.down_blocks
        #: finest levels without attention, which see each frame by itself: their many cells are too dear for motion
        self.still_levels = next(i for i, block in enumerate(blocks) if sees(block))
        ups: Any = self.unet.up_blocks
        for block in (*blocks[: self.still_levels], *ups[len(ups) - self.still_levels :]):
            block.motion_modules.requires_grad_(False)
        self.checkpointing = False

    @property
    def latent_channels(self) -> int:
        """C: channels of one half."""
        return self.image_config["out_channels"] // 2

    @property
    def max_frames(self) -> int:
        """The most frames, motion frames included, that the motion modules have positions for."""
        return self.motion_config["motion_max_seq_length"]

    @apply_forward_hook
    def project_reference(self, features: Features) -> Reference:
        """As :meth:`jdap.models.image.joint_unet.JointUNet.project_reference`: once for all frames and windows."""
        return project_features(self.unet, features, self.rotary)

    @apply_forward_hook
    def project_audio(self, tokens_BFLD: Tensor, anchored: bool = False) -> Layers:
        """Tokens of the frames' sound as keys and values of the layers of audio: once for all steps of a window.

        ``anchored``: an anchor comes before the frames, in silence.
        """
        if self.audio is None:
            raise ValueError("this clip model is deaf: it was built without layers of sound")
        if anchored:
            tokens_BFLD = torch.cat([torch.zeros_like(tokens_BFLD[:, :1]), tokens_BFLD], dim=1)
        return self.audio.project(tokens_BFLD.flatten(0, 1))

    def forward(
        self,
        rgb_NChw: Tensor,
        depth_NChw: Tensor,
        t_rgb_N: Tensor,
        t_depth_N: Tensor,
        *,
        frames: int,
        motion: MotionFrames | None = None,
        anchor: Anchor | None = None,
        reference: Reference | None = None,
        keep_reference_B: Tensor | None = None,
        reference_from: int = 0,
        audio: Layers | None = None,
        keep_audio_B: Tensor | None = None,
        audio_from: int = 0,
        audio_scale: float = 1.0,
        tokens_BLD: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Noisy halves of the frames of clips, one clip after another → the v-prediction of each half, (N, C, h, w).

        With all but the first four bound it is a :data:`jdap.diffusion.denoiser.Network` whose batch is frames.

        Args:
            rgb_NChw, depth_NChw, t_rgb_N, t_depth_N: as the joint UNet's.
            frames: F, of every clip.
            motion: what came before, of B clips; None: nothing, and no frames stand for it.
            anchor: the references of B clips as frames before all others; dropped where the reference is; None: none.
            reference: of :meth:`project_reference`, of B people. ``keep_reference_B`` bool: who may be seen.
            reference_from: how many clips have none, from the first on.
            audio: of :meth:`project_audio`, of all F frames (and of what is before them, if it is given) of the clips
                from ``audio_from`` on. ``keep_audio_B`` bool: of which clips among them it may be heard.
            audio_scale: strength of the sound; 1 is as trained.
            tokens_BLD: image tokens of the references, for all clips; None: one zero token.

        Guidance asks for the B clips several times over in one batch, those without a reference or sound first;
        ``reference``, ``motion`` and ``tokens`` are then still those of B clips.

        Raises:
            ValueError: for more frames than the motion modules have positions for.
        """
        unet: Any = self.unet
        clips = len(rgb_NChw) // frames
        z = torch.cat([rgb_NChw, depth_NChw], dim=1).unflatten(0, (clips, frames))
        t = torch.stack([t_rgb_N, t_depth_N]).unflatten(1, (clips, frames))
        z, t = put_before(z, t, motion, anchor, reference_from, keep_reference_B)
        whole = z.shape[1]
        if whole > self.max_frames:
            raise ValueError(f"{whole} frames at once; the motion modules have positions for {self.max_frames}")

        x, (t_rgb, t_depth) = z.flatten(0, 1), t.flatten(1)
        emb = unet.time_embedding(unet.time_proj(t_rgb).to(x.dtype), unet.time_proj(t_depth).to(x.dtype))
        if tokens_BLD is None:
            tokens = no_tokens(unet, x)
        else:
            tokens = tokens_BLD.repeat(clips // len(tokens_BLD), 1, 1).repeat_interleave(whole, dim=0)
        keep = seen(keep_reference_B, x.device)
        if self.sees_reference:
            x = torch.cat(
                [x, seen_latents(x[:, : self.latent_channels], reference, keep, reference_from * whole, whole)], 1
            )
        beside = AttentionContext(
            None if reference is None else reference.layers,
            keep,
            reference_from * whole,
            whole,
            audio,
            None if keep_audio_B is None else keep_audio_B.to(x.device).repeat_interleave(whole),
            audio_from * whole,
            audio_scale,
        )
        seeing = {"encoder_hidden_states": tokens, "cross_attention_kwargs": {"beside": beside}}
        x = unet.conv_in(x)
        skips = [x]
        for level, block in enumerate(unet.down_blocks):
            x, left = self._run(down, block, x, emb, whole if level >= self.still_levels else 0, seeing)
            skips += left
        x = self._run(middle, unet.mid_block, x, emb, whole, seeing)
        for level, block in enumerate(unet.up_blocks, self.still_levels + 1 - len(unet.up_blocks)):
            count = len(block.resnets)
            taken, skips = skips[-count:], skips[:-count]
            x = self._run(up, block, x, emb, taken, whole if level <= 0 else 0, seeing)
            if level == 0 and whole > frames:  # from here on each frame is by itself, and nobody asks for those before
                x, emb, *skips = (y.unflatten(0, (clips, whole))[:, -frames:].flatten(0, 1) for y in (x, emb, *skips))
            if skips:
                x = larger(block, x, skips[-1].shape[2:])
        rgb, depth = unet.conv_out(unet.conv_act(unet.conv_norm_out(x))).chunk(2, dim=1)
        return rgb, depth

    def write(self, folder: Path) -> None:
        """Write the image model's plain UNet to a folder, and into it ``motion`` and, unless deaf, ``audio_attention``.

        So diffusers reads the folder as a UNet, and ``motion`` as a ``MotionAdapter``.
        """
        self.image_model().write(folder)
        self.motion_adapter().save_pretrained(folder / MOTION_FOLDER)
        if self.audio is not None:
            self.audio.save_pretrained(folder / AUDIO_ATTENTION)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        return cls.on(JointUNet.read(folder), folder)

    @classmethod
    def on(cls, joint: JointUNet, folder: Path) -> Self:
        """The motion modules and layers of sound of ``folder`` on an image model: strictly, in evaluation mode."""
        motion = load_motion(folder / MOTION_FOLDER)
        audio = load_strict(AudioAttention, folder / AUDIO_ATTENTION) if (folder / AUDIO_ATTENTION).is_dir() else None
        try:
            return cls(joint, motion, audio).eval()
        # Parts that do not belong together fail in as many ways as there are.
        except Exception as error:
            raise WeightsError(f"{folder}: {one_line(error)}") from error

    @apply_forward_hook
    def image_model(self) -> JointUNet:
        """The image model inside, in evaluation mode: it shares its tensors with this one."""
        with torch.device("meta"):
            plain = UNet2DConditionModel.from_config(
                {name: value for name, value in self.image_config.items() if not name.startswith("_")}
            )
        own = self.unet.state_dict()
        plain.load_state_dict({name: own[name] for name in plain.state_dict()}, assign=True)
        return JointUNet(plain, self.rotary).eval().requires_grad_(False)

    def motion_adapter(self) -> MotionAdapter:
        """The motion modules as diffusers stores them; shares its tensors with this model."""
        names = {name: value for name, value in self.motion_config.items() if not name.startswith("_")}
        with torch.device("meta"):
            adapter = MotionAdapter.from_config(names)
        own = self.unet.state_dict()
        adapter.load_state_dict({name: own[name] for name in adapter.state_dict()}, assign=True)
        return adapter.eval()

    def _run(self, way: Callable[..., Any], *given: Any) -> Any:
        """A block, whose activations are computed again in the backward pass where checkpointing is on."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(way, *given, use_reentrant=False)
        return way(*given)
