"""The temporal stage: trains motion modules and attention to sound on a frozen image model, so that a portrait talks.

Shapes: B clips, F frames drawn of each, M motion frames before them, N = B · F, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from jdap.batch import ClipBatch
from jdap.diffusion.denoiser import JointDenoiser, JointLoss, Pair
from jdap.diffusion.draws import Place, draw_noise, draw_timesteps
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, IMAGE_TO_DEPTH, LOG_SNR, UNIFORM, TimestepLaw
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Drive
from jdap.pipelines.talking import TalkingPipeline
from jdap.pipelines.talking_weights import NULL, WindowShape
from jdap.stages.parts.clip_latents import encode_clip
from jdap.stages.parts.clip_networks import clip_networks
from jdap.stages.parts.heard_lips import HeardLips
from jdap.stages.parts.steps import place_of, share_of, warmed_adamw
from jdap.units import FPS

#: Whose sound a clip is trained with; all but the first are controls.
OWN, SHUFFLED, NONE = "own", "shuffled", "none"
#: Chances that a step draws for each clip.
REFERENCE, AUDIO, MOTION, NOISY, CONDITIONS = range(5)


class TemporalStage(L.LightningModule):
    """Clips of joint RGB and depth, led by a reference, by sound, and by the frames before.

    The image model (codec, joint UNet, ReferenceNet) stays as it is; motion modules, attention to sound, and what makes
    tokens of sound and of conditions train. All frames of a clip have one timestep (a pair of them). Motion frames come
    with a timestep of their own; where they are dropped, zeros at the last timestep stand for them, as at the start of
    every clip that is drawn.

    Args:
        init: weights folder of an image stage that the clip model is built on; ``shipped:image-tiny`` ships. Or one of
            this stage, to train on.
        motion: AnimateDiff's motion modules to start from: a diffusers folder, or the original file as safetensors;
            null: fresh ones, which change nothing at first.
        audio_encoder: ``mel`` (log-mel and a small network that trains), ``wav2vec2:NAME`` or ``whisper:NAME`` (frozen;
            a transformers folder or a hub id), or null for a model that is deaf.
        audio_tokens: tokens of sound a frame.
        audio_dim: their channels.
        sound: ``own``; as controls ``shuffled`` (another clip's of the batch) or ``none``.
        conditions: what may drive a clip beside its sound, of ``pose`` and ``lips``; each is dropped on its own.
        frames: F, drawn at once.
        motion_frames: M, seen before them.
        anchor: whether the reference is one more frame that is always seen, where it looks exactly as it is; the
            ReferenceNet tells who it is, the anchor what it looks like where.
        gradient_checkpointing: keep few activations, and compute them again in the backward pass.
        learning_rate, warmup_steps, decay, weight_decay, beta2, optimizer: as in
            :class:`jdap.stages.image.ImageStage`.
        gamma: cap of the Min-SNR weight.
        reference_drop, audio_drop, motion_drop, condition_drop: shares of clips that train without.
        motion_noise: how noisy motion frames may be, as a share of the timesteps; half of them stay clean. What the
            model has drawn is not as clean as what it is trained on.
        noise_sharing: share of the noise's power that the frames of a clip have in common.
        mouth_focus: how much more the loss counts at the mouth than elsewhere, from 0.
        lip_loss: weight of a further loss that helps a fresh encoder to hear what lips do: the squared error of the
            lips' opening (in units of 5 mm) as a linear layer reads it from a frame's tokens of sound. The layer is
            dropped when training is over. Frames whose opening the shards do not say do not count.
        lip_steps: first steps of the run in which that loss is the only one; they cost next to nothing.
        outside_skin: weight of the depth loss off the skin, on studio samples only.
        image_to_depth, depth_to_image, nearly, terminal: the law of the pair of timesteps
            (:class:`jdap.diffusion.timesteps.TimestepLaw`).
        start: what stands for the motion frames of the first window of a video, ``null`` (nothing, as it is trained) or
            ``reference`` (the reference, as if it had been the frames before); stored with the weights.
        seed: of all that a step draws, alike on any number of processes.
    """

    def __init__(
        self,
        init: str = "shipped:image-tiny",
        motion: str | None = None,
        audio_encoder: str | None = "mel",
        audio_tokens: int = 32,
        audio_dim: int = 768,
        sound: str = OWN,
        conditions: list[str] | None = None,
        frames: int = 14,
        motion_frames: int = 2,
        anchor: bool = True,
        gradient_checkpointing: bool = False,
        learning_rate: float = 1e-5,
        warmup_steps: int = 500,
        decay: float = 0.0,
        weight_decay: float = 1e-2,
        beta2: float = 0.999,
        optimizer: str = "adamw",
        gamma: float = 5.0,
        reference_drop: float = 0.05,
        audio_drop: float = 0.05,
        motion_drop: float = 0.05,
        condition_drop: float = 0.5,
        motion_noise: float = 0.0,
        noise_sharing: float = 0.0,
        mouth_focus: float = 0.0,
        lip_loss: float = 0.0,
        lip_steps: int = 0,
        outside_skin: float = 0.1,
        image_to_depth: float = 0.0,
        depth_to_image: float = 0.0,
        nearly: float = 0.05,
        terminal: float = 0.0,
        start: str = NULL,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if sound not in (OWN, SHUFFLED, NONE):
            raise ValueError(f"model.sound must be {OWN}, {SHUFFLED} or {NONE}, got {sound!r}")
        made = clip_networks(
            init,
            motion=motion,
            audio_encoder=audio_encoder if sound != NONE else None,
            audio_tokens=audio_tokens,
            audio_dim=audio_dim,
            conditions=conditions or [],
            gradient_checkpointing=gradient_checkpointing,
        )
        most = made.unet.max_frames - anchor
        if frames < 1 or motion_frames < 1 or frames + motion_frames > most:
            raise ValueError(
                f"model.frames and model.motion_frames must be at least 1, and {most} together at most, "
                f"got {frames} and {motion_frames}"
            )
        self.codec, self.unet, self.reference = made.codec, made.unet, made.reference
        self.image_tokens, self.audio, self.drive = made.image_tokens, made.audio, made.drive
        self.schedule, self.preset, self.size_px = made.schedule, made.preset, made.size_px
        heard = self.audio is not None and lip_loss > 0
        self.lips = HeardLips(audio_tokens, audio_dim) if heard else None
        self.denoiser = JointDenoiser(self.schedule, gamma)
        density = LOG_SNR if self.schedule.spacing == LOG_SNR else UNIFORM
        self.law = TimestepLaw(image_to_depth, depth_to_image, nearly, terminal, terminal, density)
        self.shape = WindowShape(
            frames,
            motion_frames,
            self.audio_margin,
            float(FPS),
            start=start,
            noise_sharing=noise_sharing,
            anchor=anchor,
        )

    def pipeline(self) -> TalkingPipeline:
        """The networks as they are now, as a pipeline that shares them."""
        return TalkingPipeline(
            self.codec,
            self.unet,
            self.reference,
            self.audio,
            self.schedule,
            shape=self.shape,
            preset=self.preset,
            size_px=self.size_px,
            image_tokens=self.image_tokens,
            drive=self.drive,
        ).quiet()

    @property
    def audio_margin(self) -> int:
        """Frames of sound that the model hears around a window; more do no harm."""
        return 0 if self.audio is None else self.audio.required_margin

    def training_step(self, batch: ClipBatch, batch_idx: int) -> dict[str, Tensor]:
        """One step: its loss, and what each frame gave to it, for the logs; ValueError for clips that do not fit."""
        frames = self.hparams["frames"]
        if self.lips is not None and self.global_step < self.hparams["lip_steps"]:
            return {"loss": self._only_lips(self.lips, batch)}
        loss, t_N, lips = self._loss(batch, place_of(self, len(batch), batch_idx))
        rgb, depth = loss.rgb * share_of(self, loss.has_rgb_B), loss.depth * share_of(self, loss.has_depth_B)
        total = rgb + depth
        scalars = {"train/loss": total, "train/loss_rgb": rgb, "train/loss_depth": depth}
        if lips is not None:
            scalars["train/loss_lips"] = lips
            total = total + self.hparams["lip_loss"] * lips
        self.log_dict(scalars, batch_size=len(batch))
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        of_clips = {"loss_rgb": loss.rgb_B, "loss_depth": loss.depth_B}
        self.terms = {name: x.unflatten(0, (-1, frames)).mean(1) for name, x in of_clips.items()}
        of_frames = {name: getattr(loss, name) for name in ("rgb_B", "depth_B", "has_rgb_B", "has_depth_B")}
        return {"loss": total, **of_frames, "t_rgb_B": t_N.rgb, "t_depth_B": t_N.depth}

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """The loss on held-out clips, at the same draws at every validation, with nothing dropped."""
        loss, _, lips = self._loss(batch, Place.of(batch_idx, len(batch)), drops=False)
        scalars = {"val/loss": loss.total, "val/loss_rgb": loss.rgb, "val/loss_depth": loss.depth}
        if lips is not None:
            scalars["val/loss_lips"] = lips
        self.log_dict(scalars, batch_size=len(batch), sync_dist=True)

    def _loss(self, batch: ClipBatch, place: Place, drops: bool = True) -> tuple[JointLoss, Pair, Tensor | None]:
        """The loss of a batch, the timesteps of its frames, and the loss of lips that were heard."""
        told, frames, before = self.hparams, self.hparams["frames"], self.hparams["motion_frames"]
        self._check(batch)
        clean, reference, weight, confidence, focus = encode_clip(
            self.codec, batch, told["mouth_focus"], told["outside_skin"]
        )
        kinds = len(told["conditions"] or [])
        t, kind, chance = draw_timesteps(self.law, self.schedule, told["seed"], place, CONDITIONS + kinds)
        noise = self._noise(clean, place)
        if not drops:
            chance = torch.ones_like(chance)
            chance[NOISY] = 0
        tokens, has_audio_B = self._heard(batch, training=drops)
        conditions = self._conditions(batch, reference, tokens, chance, has_audio_B)
        conditions["motion"] = self._motion(clean, noise, chance)

        def drawn(x: Tensor) -> Tensor:
            return x[:, before:].flatten(0, 1)

        asked = Pair(kind != IMAGE_TO_DEPTH, kind != DEPTH_TO_IMAGE)
        t_here, asked_here = (Pair(*(x.to(self.device).repeat_interleave(frames) for x in pair)) for pair in (t, asked))
        loss = self.denoiser.loss(
            partial(self.unet, frames=frames, **conditions),
            Pair(*map(drawn, clean)),
            t_here,
            Pair(*map(drawn, noise)),
            drawn(weight),
            drawn(confidence),
            drawn(focus),
            asked_here,
        )
        if self.lips is None or tokens is None:
            return loss, t_here, None
        return loss, t_here, self.lips.loss(tokens, batch.lip_opening_mm, has_audio_B)

    def _check(self, batch: ClipBatch) -> None:
        frames = self.hparams["frames"] + self.hparams["motion_frames"]
        if batch.rgb.shape[1] != frames:
            raise ValueError(
                f"clips of {batch.rgb.shape[1]} frames, but model.frames and model.motion_frames are {frames} "
                f"together: set data.frames to {frames}"
            )
        if batch.audio_margin < self.audio_margin:
            raise ValueError(
                f"clips have {batch.audio_margin} frames of sound around them, and the model hears {self.audio_margin} "
                f"of them: set data.audio_margin to {self.audio_margin}"
            )

    def _heard(self, batch: ClipBatch, training: bool) -> tuple[Tensor | None, Tensor]:
        """Tokens of the sound that the frames are led by, (B, M + F, L, D), None of a deaf model; and who has sound.

        Sound is shuffled in training alone: validation asks every model the same.
        """
        audio, has_audio = batch.audio, batch.has_audio
        if self.audio is None:
            return None, torch.zeros_like(has_audio)
        if training and self.hparams["sound"] == SHUFFLED:
            if len(batch) < 2:
                raise ValueError("model.sound shuffled takes the sound of another clip of the batch: data.batch_size 1")
            audio, has_audio = audio.roll(1, dims=0), has_audio.roll(1, dims=0)
        return self.audio(audio, batch.rgb.shape[1], batch.audio_margin), has_audio

    def _only_lips(self, lips: HeardLips, batch: ClipBatch) -> Tensor:
        """A step in which the encoder alone learns; all that trains has a gradient, as DDP wants it."""
        self._check(batch)
        tokens, has_audio_B = self._heard(batch, training=True)
        assert tokens is not None
        loss = lips.loss(tokens, batch.lip_opening_mm, has_audio_B)
        self.log("train/loss_lips", loss, batch_size=len(batch))
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        self.terms = {}
        return loss + sum(0 * p.sum() for p in self.parameters() if p.requires_grad)

    def _conditions(
        self, batch: ClipBatch, reference: Tensor, tokens: Tensor | None, chance: Tensor, has_audio_B: Tensor
    ) -> dict[str, Any]:
        """What leads the clips: the reference, its image tokens, sound and numbers, where they are not dropped."""
        keep_reference = chance[REFERENCE] >= self.hparams["reference_drop"]
        with torch.no_grad():
            known = self.unet.project_reference(self.reference(reference))
            conditions: dict[str, Any] = {"reference": known, "keep_reference_B": keep_reference}
            if self.hparams["anchor"]:
                conditions["anchor"] = Anchor(reference, self.schedule.timesteps - 1)
            if self.image_tokens is not None:
                keep = keep_reference.to(self.device)
                conditions["tokens_BLD"] = self.image_tokens(batch.reference_rgb, keep)
        if tokens is None:
            return conditions
        if self.drive is not None:
            kept = chance[CONDITIONS:] >= self.hparams["condition_drop"]
            tokens = torch.cat([tokens, self.drive(Drive(batch.pose, batch.lip_opening_mm), kept)], dim=2)
        conditions["audio"] = self.unet.project_audio(tokens, self.hparams["anchor"])
        conditions["keep_audio_B"] = (chance[AUDIO] >= self.hparams["audio_drop"]) & has_audio_B.cpu()
        return conditions

    def _motion(self, clean: Pair, noise: Pair, chance: Tensor) -> MotionFrames:
        """The motion frames, a little noisy in some clips; nothing in those that begin here."""
        before, last = self.hparams["motion_frames"], self.schedule.timesteps - 1
        known = Pair(*(x[:, :before] for x in clean))
        # 0 … 1: clean in one half, up to the noisiest in the other
        level = (2 * chance[NOISY] - 1).clamp_min(0)
        t = (level * self.hparams["motion_noise"] * self.schedule.timesteps).long().to(self.device)
        noisy = self.denoiser.add_noise(known, Pair(*(x[:, :before] for x in noise)), Pair(t, t))
        known = Pair(
            *(torch.where((t > 0)[:, None, None, None, None], n, k) for n, k in zip(noisy, known, strict=True))
        )
        keep = (chance[MOTION] >= self.hparams["motion_drop"]).to(self.device)
        rgb, depth = (x * _wide(keep) for x in known)
        return MotionFrames(rgb, depth, torch.where(keep, t, last))

    def _noise(self, clean: Pair, place: Place) -> Pair:
        """Noise of all frames, of which a part is common to those of a clip: s^½ common + (1 − s)^½ own."""
        seed, s = self.hparams["seed"], self.hparams["noise_sharing"]
        own = draw_noise(clean, seed, place)
        if s == 0:
            return own
        common = draw_noise(Pair(*(x[:, :1] for x in clean)), -1 - seed, place)
        return Pair(*(s**0.5 * c + (1 - s) ** 0.5 * o for c, o in zip(common, own, strict=True)))

    def configure_optimizers(self) -> Any:
        """AdamW over what trains, with warm-up and, if asked for, a fall of its rate."""
        return warmed_adamw(self)


def _wide(flag_B: Tensor) -> Tensor:
    return flag_B[:, None, None, None, None]
