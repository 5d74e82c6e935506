"""The temporal stage: trains motion modules and attention to sound on a frozen image model, so that a portrait talks.

Shapes: B clips, F frames of each, M motion frames before them, N = B · F, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from jdap.batch import ClipBatch, ClipLatentBatch, Clips
from jdap.diffusion.denoiser import JointDenoiser, JointLoss, Pair
from jdap.diffusion.draws import StepSlice, draw_noise, draw_timesteps
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, IMAGE_TO_DEPTH, LOG_SNR, UNIFORM, TimestepLaw
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Conditions
from jdap.models.codec import fingerprint
from jdap.pipelines.talking import TalkingPipeline
from jdap.pipelines.talking_weights import WindowShape
from jdap.stages.parts.clip_latents import encode_clip
from jdap.stages.parts.clip_networks import clip_networks
from jdap.stages.parts.latents import CODEC_OF_INIT, NEED_PICTURES, latents_of
from jdap.stages.parts.lip_loss import LipLoss, SeenLips, mouth_patches
from jdap.stages.parts.means import ValidationMeans
from jdap.stages.parts.optimizers import warmed_optimizer
from jdap.stages.parts.report import DiffusionStage, HalfReport, StepOutput, StepReport
from jdap.stages.parts.steps import place_of, share_of
from jdap.stages.settings.checks import save_settings
from jdap.stages.settings.optimizer import OptimizerSettings
from jdap.stages.settings.temporal import (
    SHUFFLED,
    ClipConditioningSettings,
    ClipLossSettings,
    ClipNoiseSettings,
    SoundSettings,
    WindowSettings,
)
from jdap.units import FPS

#: Whose chance a step draws for each clip: places in ``chance``. Those of the conditions come last, one after another.
OF_REFERENCE, OF_AUDIO, OF_MOTION, OF_NOISE, OF_CONDITIONS = range(5)
#: Losses of the lips, in the logs: as they are heard, seen in what is drawn, and read in what is true.
LIPS_HEARD, LIPS_SEEN, LIPS_READ = "loss_lips", "loss_lips_seen", "loss_lips_read"


class TemporalStage(DiffusionStage):
    """Clips of joint RGB and depth, led by a reference, by sound, and by the frames before.

    The image model (codec, joint UNet, ReferenceNet) stays as it is; motion modules, attention to sound, and what makes
    tokens of sound and of conditions train. All frames of a clip have one timestep (a pair of them). Motion frames come
    with a timestep of their own; where they are dropped, zeros at the last timestep stand for them, as at the start of
    every clip that is made.

    Args:
        init: weights folder of an image stage that the clip model is built on; ``shipped:image-tiny`` ships. Or one
            of this stage, to train on.
        motion: AnimateDiff's motion modules to start from: a diffusers folder, or the original file as safetensors;
            null: fresh ones, which change nothing at first.
        sound: what the model hears.
        window: the frames that are made at once.
        noise: how noisy frames are.
        conditioning: what a clip is given beside its noise.
        loss: how the parts of the loss weigh.
        optimizer: AdamW, and how its rate rises and falls.
        gradient_checkpointing: keep few activations, and compute them again in the backward pass.
        seed: of all that a step draws, alike on any number of processes.
    """

    def __init__(
        self,
        init: str = "shipped:image-tiny",
        motion: str | None = None,
        sound: SoundSettings = SoundSettings(),
        window: WindowSettings = WindowSettings(),
        noise: ClipNoiseSettings = ClipNoiseSettings(),
        conditioning: ClipConditioningSettings = ClipConditioningSettings(),
        loss: ClipLossSettings = ClipLossSettings(),
        optimizer: OptimizerSettings = OptimizerSettings(),
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        save_settings(self, locals())
        self.sound, self.window, self.noise, self.conditioning = sound, window, noise, conditioning
        self.loss_settings, self.optimizer_settings, self.seed = loss, optimizer, seed
        made = clip_networks(
            init,
            motion=motion,
            sound=sound,
            conditions=conditioning.conditions,
            checkpointing=gradient_checkpointing,
        )
        most = made.unet.max_frames - window.anchor
        if window.frames + window.motion_frames > most:
            raise ValueError(
                f"model.window.frames and model.window.motion_frames must be {most} together at most, "
                f"got {window.frames} and {window.motion_frames}"
            )
        self.codec, self.unet, self.reference = made.codec, made.unet, made.reference
        self.image_tokens, self.audio, self.drive = made.image_tokens, made.audio, made.drive
        self.schedule, self.preset, self.size_px = made.schedule, made.preset, made.size_px
        self.codec_mark = fingerprint(self.codec)  # now, before a precision plugin may cast it
        heard = self.audio is not None and loss.lips > 0
        self.lips = LipLoss(sound.dim) if heard else None
        seen = self.audio is not None and loss.lips_seen > 0
        self.seen_lips = SeenLips(self.codec.latent_channels) if seen else None
        self.means = ValidationMeans(("loss", "loss_rgb", "loss_depth", LIPS_HEARD, LIPS_SEEN, LIPS_READ))
        self.denoiser = JointDenoiser(self.schedule, loss.gamma)
        density = LOG_SNR if self.schedule.spacing == LOG_SNR else UNIFORM
        self.law = TimestepLaw(
            conditioning.image_to_depth,
            conditioning.depth_to_image,
            noise.condition_noise,
            noise.last_step_fraction,
            noise.last_step_fraction,
            density,
        )
        self.shape = WindowShape(
            window.frames,
            window.motion_frames,
            self.audio_margin,
            float(FPS),
            start=window.start,
            noise_sharing=noise.sharing if noise.drawn_sharing is None else noise.drawn_sharing,
            anchor=window.anchor,
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

    def training_step(self, batch: ClipBatch | ClipLatentBatch, batch_idx: int) -> StepOutput:
        """One step: its loss, and what each frame gave to it, for the logs; ValueError for clips that do not fit."""
        place = place_of(self, len(batch), batch_idx)
        if self.lips is not None and self.global_step < self.loss_settings.lip_steps:
            self.report = StepReport()
            return {"loss": self._only_lips(self.lips, batch, place), "report": self.report}
        loss, t_N, lips = self._loss(batch, place)
        rgb, depth = loss.rgb * share_of(self, loss.has_rgb_B), loss.depth * share_of(self, loss.has_depth_B)
        total = rgb + depth
        scalars = {"train/loss": total, "train/loss_rgb": rgb, "train/loss_depth": depth}
        scalars |= {f"train/{name}": value for name, value in lips.items()}
        weights = {LIPS_HEARD: self.loss_settings.lips, LIPS_SEEN: self.loss_settings.lips_seen, LIPS_READ: 1.0}
        total = total + sum(weights[name] * value for name, value in lips.items())
        self.log_dict(scalars, batch_size=len(batch))
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        self.report = StepReport(
            HalfReport(loss.rgb_B.detach(), loss.has_rgb_B, t_N.rgb),
            HalfReport(loss.depth_B.detach(), loss.has_depth_B, t_N.depth),
        )
        return {"loss": total, "report": self.report}

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """The loss on held-out clips, at the same draws at every validation, with nothing dropped."""
        loss, _, lips = self._loss(batch, StepSlice.of(batch_idx, len(batch)), drops=False)
        self.means.add({"loss": loss.total, "loss_rgb": loss.rgb, "loss_depth": loss.depth, **lips}, len(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all held-out clips."""
        self.log_dict({f"val/{name}": value for name, value in self.means.take(self).items()})

    def _loss(
        self, batch: ClipBatch | ClipLatentBatch, place: StepSlice, drops: bool = True
    ) -> tuple[JointLoss, Pair, dict[str, Tensor]]:
        """The loss of a batch, the timesteps of its frames, and the losses of lips by name."""
        frames, before = self.window.frames, self.window.motion_frames
        self._check(batch)
        clean, reference, weight, confidence, focus = encode_clip(
            self.codec, batch, self.codec_mark, self.loss_settings.mouth_focus, self.loss_settings.outside_skin
        )
        kinds = len(self.conditioning.conditions)
        t, kind, chance = draw_timesteps(self.law, self.schedule, self.seed, place, OF_CONDITIONS + kinds)
        noise = self._noise(clean, place)
        if not drops:
            chance = torch.ones_like(chance)
            chance[OF_NOISE] = 0
        tokens, has_audio_B = self._heard(batch, training=drops)
        conditions = self._conditions(batch, reference, tokens, chance, has_audio_B)
        conditions["motion"] = self._motion(clean, noise, chance)

        def later(x: Tensor) -> Tensor:
            return x[:, before:].flatten(0, 1)

        asked = Pair(kind != IMAGE_TO_DEPTH, kind != DEPTH_TO_IMAGE)
        t_here, asked_here = (Pair(*(x.to(self.device).repeat_interleave(frames) for x in pair)) for pair in (t, asked))
        loss = self.denoiser.loss(
            partial(self.unet, frames=frames, **conditions),
            Pair(*map(later, clean)),
            t_here,
            Pair(*map(later, noise)),
            later(weight),
            later(confidence),
            later(focus),
            asked_here,
        )
        lips: dict[str, Tensor] = {}
        if self.lips is not None and tokens is not None:
            lips[LIPS_HEARD] = self.lips.loss(tokens, batch.lip_opening_mm, has_audio_B)
        if self.seen_lips is not None:
            counts_B = asked.rgb & asked.depth & conditions["keep_audio_B"]
            lips |= self._seen(self.seen_lips, loss, t_here, clean, noise, batch, counts_B.to(self.device))
        return loss, t_here, lips

    def _seen(
        self, reader: SeenLips, loss: JointLoss, t: Pair, clean: Pair, noise: Pair, batch: Clips, counts_B: Tensor
    ) -> dict[str, Tensor]:
        """The losses of lips that are seen: in what the network takes for clean, and in what is true."""
        before, shape = self.window.motion_frames, (len(batch), self.window.frames)
        drawn = Pair(*(x.unflatten(0, shape) for x in self.denoiser.clean(loss.noisy, loss.v, t)))
        true, noise = (Pair(*(x[:, before:] for x in pair)) for pair in (clean, noise))
        drawn_BF, true_BF, noise_BF = (
            mouth_patches(x, batch.mouth_px[:, before:], self.codec.factor) for x in (drawn, true, noise)
        )
        return {
            LIPS_SEEN: reader.judging_loss(drawn_BF, true_BF, counts_B[:, None].expand(shape)),
            LIPS_READ: reader.reading_loss(true_BF, noise_BF, batch.lip_opening_mm[:, before:]),
        }

    def _check(self, batch: Clips) -> None:
        frames = self.window.frames + self.window.motion_frames
        if batch.rgb.shape[1] != frames:
            raise ValueError(
                f"clips of {batch.rgb.shape[1]} frames, but model.window.frames and model.window.motion_frames are "
                f"{frames} together: set data.frames to {frames}"
            )
        if batch.audio_margin < self.audio_margin:
            raise ValueError(
                f"clips have {batch.audio_margin} frames of sound around them, and the model hears {self.audio_margin} "
                f"of them: set data.audio_margin to {self.audio_margin}"
            )

    def _heard(self, batch: Clips, training: bool) -> tuple[Tensor | None, Tensor]:
        """Tokens of the sound that the frames are led by, (B, M + F, L, D), None of a deaf model; and who has sound.

        Sound is shuffled in training alone: validation asks every model the same.
        """
        audio, has_audio = batch.audio, batch.has_audio
        if self.audio is None:
            return None, torch.zeros_like(has_audio)
        if training and self.sound.whose == SHUFFLED:
            if len(batch) < 2:
                raise ValueError(
                    "model.sound.whose shuffled takes the sound of another clip of the batch: data.batch_size 1"
                )
            audio, has_audio = audio.roll(1, dims=0), has_audio.roll(1, dims=0)
        return self.audio(audio, batch.rgb.shape[1], batch.audio_margin), has_audio

    def _only_lips(self, lips: LipLoss, batch: ClipBatch | ClipLatentBatch, place: StepSlice) -> Tensor:
        """A step in which encoder and reader of mouths learn alone; all that trains has a gradient, as DDP wants it."""
        self._check(batch)
        tokens, has_audio_B = self._heard(batch, training=True)
        assert tokens is not None
        heard = lips.loss(tokens, batch.lip_opening_mm, has_audio_B)
        losses = {LIPS_HEARD: heard}
        if self.seen_lips is not None and isinstance(batch, ClipLatentBatch):  # pictures had to be encoded for it
            rgb, depth, *_ = latents_of(self.codec, batch, self.codec_mark, CODEC_OF_INIT)
            clean = Pair(rgb, depth)
            noise = Pair(*(x.to(self.device) for x in self._noise(clean, place)))
            true_BF, noise_BF = (mouth_patches(x, batch.mouth_px, self.codec.factor) for x in (clean, noise))
            losses[LIPS_READ] = self.seen_lips.reading_loss(true_BF, noise_BF, batch.lip_opening_mm)
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(batch))
        self.log("loss", heard.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        total = heard + losses.get(LIPS_READ, 0.0)
        return total + sum(0 * p.sum() for p in self.parameters() if p.requires_grad)

    def _conditions(
        self,
        batch: ClipBatch | ClipLatentBatch,
        reference: Tensor,
        tokens: Tensor | None,
        chance: Tensor,
        has_audio_B: Tensor,
    ) -> dict[str, Any]:
        """What leads the clips: the reference, its image tokens, sound and numbers, where they are not dropped."""
        keep_reference = chance[OF_REFERENCE] >= self.conditioning.reference_drop
        with torch.no_grad():
            known = self.unet.project_reference(self.reference(reference))
            conditions: dict[str, Any] = {"reference": known, "keep_reference_B": keep_reference}
            if self.window.anchor:
                conditions["anchor"] = Anchor(reference, self.schedule.timesteps - 1)
            if self.image_tokens is not None:
                if isinstance(batch, ClipLatentBatch):
                    raise ValueError(NEED_PICTURES)
                keep = keep_reference.to(self.device)
                conditions["tokens_BLD"] = self.image_tokens(batch.reference_rgb, keep)
        if tokens is None:
            return conditions
        if self.drive is not None:
            kept = chance[OF_CONDITIONS:] >= self.conditioning.condition_drop
            tokens = torch.cat([tokens, self.drive(Conditions(batch.pose, batch.lip_opening_mm), kept)], dim=2)
        conditions["audio"] = self.unet.project_audio(tokens, self.window.anchor)
        conditions["keep_audio_B"] = (chance[OF_AUDIO] >= self.conditioning.audio_drop) & has_audio_B.cpu()
        return conditions

    def _motion(self, clean: Pair, noise: Pair, chance: Tensor) -> MotionFrames:
        """The motion frames, a little noisy in some clips; nothing in those that begin here."""
        before, last = self.window.motion_frames, self.schedule.timesteps - 1
        known = Pair(*(x[:, :before] for x in clean))
        # 0 … 1: clean in one half, up to the noisiest in the other
        level = (2 * chance[OF_NOISE] - 1).clamp_min(0)
        t = (level * self.noise.motion_noise * self.schedule.timesteps).long().to(self.device)
        noisy = self.denoiser.add_noise(known, Pair(*(x[:, :before] for x in noise)), Pair(t, t))
        known = Pair(
            *(torch.where((t > 0)[:, None, None, None, None], n, k) for n, k in zip(noisy, known, strict=True))
        )
        keep = (chance[OF_MOTION] >= self.conditioning.motion_drop).to(self.device)
        rgb, depth = (x * _wide(keep) for x in known)
        return MotionFrames(rgb, depth, torch.where(keep, t, last))

    def _noise(self, clean: Pair, place: StepSlice) -> Pair:
        """Noise of all frames, of which a part is common to those of a clip: s^½ common + (1 − s)^½ own."""
        seed, s = self.seed, self.noise.sharing
        own = draw_noise(clean, seed, place)
        if s == 0:
            return own
        common = draw_noise(Pair(*(x[:, :1] for x in clean)), -1 - seed, place)
        return Pair(*(s**0.5 * c + (1 - s) ** 0.5 * o for c, o in zip(common, own, strict=True)))

    def configure_optimizers(self) -> Any:
        """AdamW over what trains, with warm-up and, if asked for, a fall of its rate."""
        return warmed_optimizer(self, self.optimizer_settings, 0 if self.lips is None else self.loss_settings.lip_steps)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """In the steps of lips alone, leave out of the optimiser what was not asked.

        Adam would take zeros for gradients: by the first true one its averages count as settled, at nothing, and the
        weight moves several times as far as it should.
        """
        if self.lips is not None and self.global_step < self.loss_settings.lip_steps:
            for parameter in self.parameters():
                if parameter.grad is not None and not parameter.grad.any():
                    parameter.grad = None


def _wide(flag_B: Tensor) -> Tensor:
    return flag_B[:, None, None, None, None]
