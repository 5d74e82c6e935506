"""The portrait pipeline: four questions to one model. Joint generation, image-to-depth, depth-to-image, editing.

Shapes: B pictures, R references of a person, K draws, C latent channels, H = W = ``size_px`` pixels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from jdap import depth as depth_frames
from jdap.choices import DEPTH_FIRST, GUIDANCE, METHODS
from jdap.diffusion import ensemble as ensembles
from jdap.diffusion.denoiser import Generators, Pair
from jdap.diffusion.onestep import ZEROS
from jdap.diffusion.samplers import network_calls
from jdap.pipelines.agreement import choose_best, disagreement
from jdap.pipelines.base import LATENTS, Callback, question
from jdap.pipelines.fitted import FittedDepth, lay_in
from jdap.pipelines.masks import known_cells, known_parts, paste_known
from jdap.pipelines.moved import MoveReference
from jdap.pipelines.pictures import (
    DepthEstimate,
    Pictures,
    Portrait,
    check_pictures,
    decode,
    depth_as,
    depth_of,
    kind_of,
    rgb_as,
    rgb_of,
    spread_as,
)
from jdap.pipelines.portrait_networks import PortraitNetworks

__all__ = ["GUIDANCE", "METHODS", "DepthEstimate", "Portrait", "PortraitPipeline"]


class PortraitPipeline(PortraitNetworks):
    """Codec, joint UNet, ReferenceNet and noise schedule, ready to answer.

    One model answers four questions, by what is given and what is sampled: :meth:`generate` (which is also what the
    pipeline does when it is called), :meth:`image_to_depth`, :meth:`depth_to_image`, :meth:`edit`. Pictures, depth and
    masks are tensors, arrays or PIL images, and so is the answer (:mod:`jdap.pipelines.pictures`). The questions have
    these arguments in common:

    * ``reference``: one picture a person, or several, (B, 3, H, W) or (B, R, 3, H, W), or a list of lists
    * ``steps``: of DDIM
    * ``guidance``: strength of the reference; 1 is as trained, another value costs a second network call a step. What
      it adds is brought back to the strength of the rest (:func:`jdap.diffusion.samplers.guided`)
    * ``method``, ``resample``, ``jump``: how what is known is held, see :func:`jdap.diffusion.samplers.ddim`; method
      None is ``clean``, or ``repaint`` of weights that only know halves at the same timestep
    * ``generator``: of all noise; the same state gives the same answer. Of a list each draws for one sample, which
      then does not depend on the others
    * ``output_type``: ``pil``, ``np`` or ``pt``; None: the kind of what was given
    * ``callback_on_step_end``: called as by diffusers' pipelines after each step, with ``latents`` (B, 2·C, h, w)

    They raise ValueError for pictures of another shape or range, and for what ablated networks cannot answer: no
    reference is read without a ReferenceNet; separate networks sample RGB first (inpainting what is known of it, blind
    to depth), then depth beside it (twice the calls), and do no depth-to-image.

    For the components see :class:`jdap.pipelines.portrait_networks.PortraitNetworks`.
    """

    @question
    def generate(
        self,
        reference: Pictures | None = None,
        *,
        count: int = 1,
        steps: int = 20,
        guidance: float = GUIDANCE,
        depth_first: float = DEPTH_FIRST,
        best_of: int = 1,
        move: MoveReference | None = None,
        generator: Generators | None = None,
        output_type: str | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> Portrait:
        """A new portrait of the person in ``reference``, with its depth: nothing is given, both halves are sampled.

        Without a reference (None) they are ``count`` portraits of anybody. A share ``depth_first`` of the steps, 0 …
        below 1, samples both halves; of that the depth is kept, and in the other steps RGB is sampled anew for it. What
        a picture shows is settled when its features are drawn, so more of the pictures are faces. At 0, and of networks
        that do no depth-to-image by clean depth, both halves are sampled together in all steps.

        ``move`` brings the references to the heads of that depth (:func:`jdap.pose.likeness.reference_mover`), and the
        picture is drawn by what they show there, which weights with a ``likeness_net`` do.

        Each portrait is drawn ``best_of`` times, one draw after the other from the same generator, and the one is kept
        whose depth comes out best when it is estimated again from the picture
        (:func:`jdap.pipelines.agreement.disagreement`).
        """
        if not 0 <= depth_first < 1:
            raise ValueError(f"depth_first must be within 0 … below 1, got {depth_first}")
        if best_of < 1:
            raise ValueError(f"best_of must be at least 1, got {best_of}")
        if best_of > 1 and self.shared_timestep:  # their one step of image-to-depth sees noise in place of the picture
            raise ValueError("weights that know halves at the same timestep alone tell no best draw: leave best_of 1")
        kind = kind_of(reference, output_type)
        latents = None
        if reference is None:
            side = self.size_px // self.codec.factor
            like = torch.empty(
                count, self.codec.latent_channels, side, side, device=self._execution_device, dtype=self.unet.dtype
            )
        else:
            latents = self._encode(self._here(rgb_of(reference, "references", self.size_px)))
            like = latents if latents.ndim == 4 else latents[:, 0]
        network = self.network(reference, guidance, len(like), latents)
        told: dict[str, Any] = {
            "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
        }
        first = self.steps_of_depth(steps, depth_first)
        if move is not None and first == steps:
            raise ValueError("with move, depth is drawn first: depth_first must be above 0, and there must be 2 steps")
        draws, off = [], []
        for draw in range(best_of):
            before, after = draw * steps, (best_of - 1 - draw) * steps
            counts: dict[str, Any] = {"passed": before, "to_come": after + steps - first}
            sampled = self._sample(network, Pair(like, like), generator, steps=first, **counts, **told)
            if first < steps:
                counts = {"passed": before + first, "to_come": after}
                how: dict[str, Any] = {"known_depth": sampled.depth, "steps": steps - first}
                seen = (
                    network if move is None else self._led(network, move(*decode(self.codec, sampled)), sampled.depth)
                )
                sampled = self._sample(seen, sampled, generator, **how, **counts, **told)
            draws.append(decode(self.codec, sampled))
            if best_of > 1:
                again = self.image_to_depth(draws[-1].rgb, generator=torch.Generator().manual_seed(0)).depth
                off.append(disagreement(draws[-1].depth, again))
        made = draws[0] if best_of == 1 else choose_best(draws, off)
        self._num_timesteps = best_of * steps
        return Portrait(rgb_as(kind, made.rgb), depth_as(kind, made.depth))

    __call__ = generate

    @question
    def image_to_depth(
        self,
        rgb: Pictures,
        *,
        head: FittedDepth | None = None,
        steps: int = 1,
        ensemble: int = 1,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        generator: Generators | None = None,
        output_type: str | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> DepthEstimate:
        """Depth of pictures: the RGB half is given, the depth half is sampled.

        No reference is asked: it would change nothing. Of ``ensemble`` draws, every second of the mirrored picture, the
        depth is the mean, aligned in closed form (:func:`jdap.diffusion.ensemble.align`), and the uncertainty their
        standard deviation.

        Weights that were fine-tuned to one step start from their own input. From zeros the answer does not depend on
        the generator; an ensemble, like other steps, is refused by a ValueError.

        ``head``: heads fitted to the pictures (:mod:`jdap.pose.depth` makes them). Weights with ``face_layers`` better
        each by its picture, in one step more, and the face of that is laid into the depth
        (:func:`jdap.pipelines.fitted.lay_in`). Pictures without a face keep theirs. Other weights refuse heads.
        """
        if ensemble < 1:
            raise ValueError(f"ensemble must be at least 1, got {ensemble}")
        if self.one_step_start == ZEROS and ensemble > 1:
            self._refuse("an ensemble, whose draws would be equal")
        kind, pictures = kind_of(rgb, output_type), self._here(rgb_of(rgb, "pictures", self.size_px))
        check_pictures(pictures, "pictures")
        bettered = None if head is None else self._better(pictures, head)
        seen = [self.codec.encode(x) for x in (pictures, pictures.flip(-1))[:ensemble]]
        draws = []
        for draw in range(ensemble):
            known = seen[draw % 2]
            sampled = self._sample(
                self.unet,
                Pair(known, known),
                generator,
                known_rgb=known,
                steps=steps,
                method=method,
                resample=resample,
                jump=jump,
                callback_on_step_end=callback_on_step_end,
                callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            )
            depth = depth_frames.from_codec(self.codec.decode(sampled.depth).float())
            draws.append(depth.flip(-1) if draw % 2 else depth)
        depth, uncertainty = (draws[0], None) if ensemble == 1 else ensembles.combine(torch.stack(draws))
        if head is not None and bettered is not None:
            depth = lay_in(bettered, depth, head.face.to(depth.device))
        return DepthEstimate(
            depth_as(kind, depth.clamp(-1, 1)), None if uncertainty is None else spread_as(kind, uncertainty)
        )

    @question
    def depth_to_image(
        self,
        depth: Pictures,
        *,
        reference: Pictures | None = None,
        rgb: Pictures | None = None,
        strength: float = 1.0,
        move: MoveReference | None = None,
        steps: int = 20,
        guidance: float = GUIDANCE,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        generator: Generators | None = None,
        output_type: str | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> Pictures:
        """Pictures of normalised depth: the depth half is given, the RGB half is sampled.

        ``reference`` says who it is, one for all or one for each; without one it is anybody, and ``guidance`` has no
        meaning. Of ``rgb``, pictures of that depth, drawing starts from as much noise as ``strength`` says (above 0,
        to 1: noise alone), and takes that share of the steps. ``move`` as in :meth:`generate`; where the depth alone
        shows no face, a picture is drawn before, to find it in that.
        """
        if not 0 < strength <= 1 or (strength < 1 and rgb is None):
            raise ValueError(f"strength must be above 0, to 1, and below 1 with rgb to start from, got {strength}")
        if not self.joint:
            raise ValueError("separate networks sample no RGB that belongs to a depth map: that needs a joint one")
        kind, given = kind_of(depth, output_type), self._here(depth_of(depth, "depth", self.size_px))
        check_pictures(given, "depth", 1)
        known = self.codec.encode(depth_frames.to_codec(given))
        network = self.network(reference, guidance, len(known))
        if move is not None:
            network = self._led(network, self._moved_to(move, given, known, network, steps), known)
        sampled = self._sample(
            network,
            Pair(known, known),
            generator,
            known_depth=known,
            steps=steps,
            method=method,
            resample=resample,
            jump=jump,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            **({} if strength == 1 else self._start(rgb, strength, steps)),
        )
        return rgb_as(kind, self.codec.decode(sampled.rgb).float().clamp(-1, 1))

    @question
    def edit(
        self,
        rgb: Pictures,
        depth: Pictures,
        known_rgb: Pictures,
        known_depth: Pictures,
        *,
        reference: Pictures | None = None,
        steps: int = 20,
        guidance: float = GUIDANCE,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        feather_px: float = 0.0,
        move: MoveReference | None = None,
        generator: Generators | None = None,
        output_type: str | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (LATENTS,),
    ) -> Portrait:
        """Pictures and their depth with parts made anew, by a mask a pixel and modality.

        ``rgb`` and normalised ``depth``, in range where they are known; the masks ``known_rgb``, ``known_depth``
        (B, 1, H, W) bool, or pictures that are white there, say where. What lies elsewhere has no influence, so depth
        that nobody knows may be anything. A latent cell is known only if all of its pixels are: up to one cell more is
        sampled around a hole. Known pixels then come back exactly as they were given; with ``feather_px`` above 0 those
        within that distance of a mask's edge fade into what is sampled (:func:`jdap.pipelines.masks.paste_known`).

        ``reference`` as in :meth:`depth_to_image`. With ``move``, as in :meth:`generate`, RGB is then drawn once more,
        for the depth that was made.
        """
        kind, size = kind_of(rgb, output_type), self.size_px
        parts = known_parts(rgb, known_rgb, "rgb", 3, size), known_parts(depth, known_depth, "depth", 1, size)
        filled, masks = (Pair(*(x.to(self._execution_device) for x in both)) for both in zip(*parts, strict=True))
        check_pictures(filled.rgb, "pictures")
        check_pictures(filled.depth, "depth", 1)
        if filled.rgb.shape[::2] != filled.depth.shape[::2]:
            raise ValueError(
                f"depth must be of the pictures' number and size, got {tuple(filled.depth.shape)} for "
                f"{tuple(filled.rgb.shape)}"
            )
        exact, filled = filled, Pair(*map(self._here, filled))
        known = Pair(*self.codec.encode(torch.cat([filled.rgb, depth_frames.to_codec(filled.depth)])).chunk(2))
        network = self.network(reference, guidance, len(known.rgb))
        cells = Pair(*(known_cells(mask, self.codec.factor) for mask in masks))
        how: dict[str, Any] = {
            "known_rgb": known.rgb,
            "rgb_cells": cells.rgb,
            "steps": steps,
            "method": method,
            "resample": resample,
            "jump": jump,
            "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
        }
        again = 0 if move is None else network_calls(steps, resample, jump)
        sampled = self._sample(
            network, known, generator, known_depth=known.depth, depth_cells=cells.depth, to_come=again, **how
        )
        if move is not None:
            network = self._led(network, move(*decode(self.codec, sampled)), sampled.depth)
            sampled = self._sample(network, known, generator, known_depth=sampled.depth, passed=again, **how)
        made = decode(self.codec, sampled)
        made = Portrait(*(paste_known(x, k.float(), m, feather_px) for x, k, m in zip(made, exact, masks, strict=True)))
        return Portrait(rgb_as(kind, made.rgb), depth_as(kind, made.depth))
