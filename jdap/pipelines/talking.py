"""The talking pipeline: a reference picture and sound of any length → video and depth, window by window.

Shapes: F frames sampled in a window, M motion frames before them, C latent channels, H = W = ``size_px`` pixels, h x w
cells, S audio samples at 16 kHz, L tokens of D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jdap.choices import FROM_REFERENCE, NULL, WINDOW_STARTS
from jdap.diffusion.denoiser import Network, Pair
from jdap.diffusion.draws import draw_frames
from jdap.diffusion.samplers import ddim, guided, needed_branches
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Conditions
from jdap.models.image.attention import Reference
from jdap.pipelines.base import LATENTS, Callback
from jdap.pipelines.pictures import Pictures, Portrait, check_pictures, decode, depth_as, kind_of, rgb_as, rgb_of
from jdap.pipelines.sound_windows import SoundWindows
from jdap.pipelines.talking_networks import TalkingNetworks
from jdap.pipelines.talking_weights import WindowShape

__all__ = ["FROM_REFERENCE", "NULL", "WINDOW_STARTS", "TalkingPipeline", "WindowShape"]

#: The branches of guidance: nothing is given, the reference is, the sound is, too.
FREE, LED, SOUND_GIVEN = 0, 1, 2
#: Frames that are decoded at once: at 512² a window of them would need more memory than sampling it.
DECODED = 4


class _Person(NamedTuple):
    """What is read of the reference once for the whole video."""

    latents_1Chw: Tensor
    projected: Reference | None
    tokens_1LD: Tensor | None


class TalkingPipeline(TalkingNetworks):
    """Codec, clip model, ReferenceNet, audio tokens and noise schedule, ready to talk; called, it does.

    For the components see :class:`jdap.pipelines.talking_networks.TalkingNetworks`.
    """

    def talk(
        self,
        reference: Pictures,
        sound: Tensor | np.ndarray | Iterable[Tensor | np.ndarray],
        *,
        steps: int = 20,
        guidance: float = 1.0,
        audio_guidance: float = 1.0,
        seed: int = 0,
        overlap: int | None = None,
        noise_sharing: float | None = None,
        start: str | None = None,
        drive: Conditions | None = None,
        output_type: str | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> Iterator[Portrait]:
        """The person in ``reference`` says what is in ``sound``: windows of frames as sampled.

        Each is a :class:`Portrait` of up to F frames, ``rgb`` (F, 3, H, W) and ``depth`` (F, 1, H, W), of the
        reference's kind (:mod:`jdap.pipelines.pictures`); together they are as many frames as begin before the sound
        ends. A window continues the one before by the M frames before its own, which are kept as latents. Its first
        ``overlap`` frames were made by that one, too: their latents go over from the one to the other in equal steps,
        frame by frame. Memory does not depend on the length, nor the video on how the sound is cut into blocks. The
        first error in the sound comes when it is reached.

        Args:
            reference: one picture of the person; of a tensor (1, 3, H, W), H and W as trained (``size_px``).
            sound: mono at 16 kHz in [-1, 1], (S,), or blocks of it of any lengths.
            steps: of DDIM in each window.
            guidance, audio_guidance: strength of the reference and of the sound
                (:func:`jdap.diffusion.samplers.guided`); with both 1, as trained, the network is asked once a step.
            seed: of the noise, which is a function of it and of a frame's index.
            overlap: of windows, in frames (:meth:`WindowShape.overlap`); it takes F / (F - overlap) times as long.
            noise_sharing: 0 … 1, share of the noise's power that all frames have in common; None: as the weights say.
            start: what stands for the motion frames of the first window, ``null`` (none) or ``reference``; None: as
                the weights say.
            drive: pose (1, T, 6) and lips' opening (1, T) of the video's frames, of weights that take them; frames that
                are NaN, or beyond T, are free.
            output_type: ``pil``, ``np`` or ``pt``; None: the kind of the reference.
            callback_on_step_end: called as by diffusers' pipelines after each step of each window, with ``latents``
                (F, 2·C, h, w); ``pipeline.num_timesteps`` says how many a window has.

        Raises:
            ValueError: for a picture of another shape, settings that do not exist, sound that is empty or out of range,
                and guidance by what these weights do not have.
        """
        kind = kind_of(reference, output_type)
        reference_13HW = rgb_of(reference, "the reference", self.size_px)
        check_pictures(reference_13HW, "the reference")
        if tuple(reference_13HW.shape) != (1, 3, self.size_px, self.size_px):
            raise ValueError(f"the reference must be one picture of {self.size_px} pixels square")
        self.schedule.spaced(steps)
        overlap = self.shape.overlap(overlap)
        if start not in (None, *WINDOW_STARTS):
            raise ValueError(f"start must be one of {', '.join(WINDOW_STARTS)}, got {start!r}")
        if self.reference is None and guidance != 1:
            raise ValueError("these weights have no ReferenceNet and keep nobody's likeness: guidance must be 1")
        if self.audio is None and audio_guidance != 1:
            raise ValueError("these weights are deaf: audio guidance must be 1")
        if self.drive is None and drive is not None:
            raise ValueError("these weights take no conditions: they were trained without")
        given = [(LED, guidance)] * (self.reference is not None) + [(SOUND_GIVEN, audio_guidance)] * (
            self.audio is not None
        )
        places, scales = needed_branches(*(scale for _, scale in given))
        branches = [[FREE, *(branch for branch, _ in given)][place] for place in places]
        sample = partial(
            self._sample,
            drive=drive or Conditions(),
            branches=branches,
            scales=scales,
            seed=seed,
            sharing=self.shape.noise_sharing if noise_sharing is None else noise_sharing,
            steps=steps,
            steps_told=partial(self._steps, steps, callback_on_step_end, callback_on_step_end_tensor_inputs),
        )
        windows = SoundWindows(sound, self.shape.fps)
        pictures = reference_13HW.to(self._execution_device, self.unet.dtype)
        return self._freed(self._talk(pictures, windows, sample, start or self.shape.start, seed, overlap, kind))

    __call__ = talk

    def _freed(self, windows: Iterator[Portrait]) -> Iterator[Portrait]:
        """Offloaded networks leave the device when the video ends, or nobody asks for more of it."""
        try:
            yield from windows
        finally:
            self.maybe_free_model_hooks()

    @torch.no_grad()
    def _talk(
        self,
        reference_13HW: Tensor,
        sound: SoundWindows,
        sample: Callable[..., Pair],
        start: str,
        seed: int,
        overlap: int,
        kind: str,
    ) -> Iterator[Portrait]:
        shape = self.shape
        person = self._read(reference_13HW)
        motion = self._first_motion(person, start, seed)
        around = shape.motion_frames + shape.audio_margin
        new = shape.frames - overlap
        sampled: Pair | None = None
        for first in count(step=new):
            left = sound.frames(first + shape.frames + 1) - first  # one more than F: another window follows
            if left <= 0:
                raise ValueError("the sound is empty: there is nothing to say")
            heard_S = sound.cut(first - around, shape.frames + around + shape.audio_margin)
            before, sampled = sampled, sample(first, person, motion, heard_S.to(reference_13HW.device))
            if before is not None:
                sampled = Pair(*(_cross_fade(old[new:], x) for old, x in zip(before, sampled, strict=True)))
            if motion is not None:
                rgb, depth = (x[new - shape.motion_frames : new][None] for x in sampled)
                motion = MotionFrames(rgb, depth, torch.zeros_like(motion.t))
            last = left <= shape.frames
            made = self._decode(Pair(*(x[: left if last else new] for x in sampled)))
            yield Portrait(rgb_as(kind, made.rgb), depth_as(kind, made.depth))
            if last:
                return

    def _decode(self, latents: Pair) -> Portrait:
        pieces = [decode(self.codec, Pair(*few)) for few in zip(*(x.split(DECODED) for x in latents), strict=True)]
        return Portrait(*(torch.cat(x) for x in zip(*pieces, strict=True)))

    def _sample(
        self,
        first: int,
        person: _Person,
        motion: MotionFrames | None,
        heard_S: Tensor,
        *,
        drive: Conditions,
        branches: list[int],
        scales: list[float],
        seed: int,
        sharing: float,
        steps: int,
        steps_told: Callable[[], Any],
    ) -> Pair:
        """Latents of the window that begins with frame ``first``."""
        shape = self.shape
        given: dict[str, Any] = {"frames": shape.frames, "motion": motion}
        led = person.projected if branches[-1] >= LED else None
        given |= {"reference": led, "reference_from": sum(b < LED for b in branches)}
        if shape.anchor:  # also where nothing leads: an anchor that holds nothing then, as in training
            given["anchor"] = Anchor(person.latents_1Chw, self.schedule.timesteps - 1)
        if person.tokens_1LD is not None:
            # no tokens are zero tokens, however many
            given["tokens_BLD"] = torch.cat([person.tokens_1LD * (b >= LED) for b in branches])
        if branches[-1] >= SOUND_GIVEN and self.audio is not None:
            tokens = self.audio(heard_S[None], shape.motion_frames + shape.frames, shape.audio_margin)
            if self.drive is not None:
                numbers = _of_frames(drive, first - shape.motion_frames, tokens.shape[1], heard_S)
                tokens = torch.cat([tokens, self.drive(numbers)], dim=2)
            given |= {
                "audio": self.unet.project_audio(tokens, shape.anchor),
                "audio_from": sum(b < SOUND_GIVEN for b in branches),
            }
        network: Network = partial(self.unet, **given)
        like = person.latents_1Chw.expand(shape.frames, -1, -1, -1)
        noise = draw_frames(Pair(like, like), seed, first, sharing)
        with steps_told() as on_step:
            return ddim(self.denoiser, guided(network, *scales), noise, steps=steps, on_step=on_step)

    def _read(self, reference_13HW: Tensor) -> _Person:
        latents = self.codec.encode(reference_13HW)
        projected = None if self.reference is None else self.unet.project_reference(self.reference(latents))
        return _Person(latents, projected, None if self.image_tokens is None else self.image_tokens(reference_13HW))

    def _first_motion(self, person: _Person, start: str, seed: int) -> MotionFrames | None:
        """What the first window continues: nothing, or the reference and its depth, by the image model in one step."""
        if not self.shape.motion_frames:
            return None
        rgb = person.latents_1Chw
        if start == NULL:
            like = rgb[:, None].expand(-1, self.shape.motion_frames, -1, -1, -1)
            return MotionFrames.null(like, self.schedule.timesteps)
        image = partial(self.unet.image_model(), reference=person.projected, tokens_BLD=person.tokens_1LD)
        sampled = ddim(self.denoiser, image, draw_frames(Pair(rgb, rgb), seed, -1), known_rgb=rgb, steps=1)
        rgb, depth = (x[:, None].expand(-1, self.shape.motion_frames, -1, -1, -1) for x in sampled)
        return MotionFrames(rgb, depth, torch.zeros(1, dtype=torch.long, device=rgb.device))


def _cross_fade(old_KChw: Tensor, new_FChw: Tensor) -> Tensor:
    """The frames of a window, of which the first K go over from how the window before drew them, in K + 1 steps."""
    k = len(old_KChw)
    share = (torch.arange(1, k + 1, device=new_FChw.device) / (k + 1)).to(new_FChw)[:, None, None, None]
    return torch.cat([torch.lerp(old_KChw, new_FChw[:k], share), new_FChw[k:]])


def _of_frames(drive: Conditions, first: int, frames: int, like: Tensor) -> Conditions:
    """The conditions of ``frames`` frames from ``first`` on; NaN where the video has none, as in training."""

    def cut(x_1T: Tensor | None, *numbers: int) -> Tensor:
        window = like.new_full((1, frames, *numbers), torch.nan)
        if x_1T is not None:
            there = x_1T[:, max(first, 0) : max(first + frames, 0)]
            window[:, max(-first, 0) :][:, : there.shape[1]] = there.to(like)
        return window

    return Conditions(cut(drive.pose, 6), cut(drive.lips_mm))
