"""The portrait pipeline: four questions to one model. Joint generation, image-to-depth, depth-to-image, editing.

Shapes: B pictures, R references of a person, K draws, C latent channels, H = W = ``size_px`` pixels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.choices import CLEAN, GUIDANCE, METHODS, REPAINT, RESCALE
from jdap.diffusion import ensemble as ensembles
from jdap.diffusion.denoiser import JointDenoiser, Network, Pair, randn_pair
from jdap.diffusion.onestep import STARTS, ZEROS
from jdap.diffusion.samplers import ddim, guided
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import Codec
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.separate import SeparateUNets
from jdap.pipelines.masks import fill_unknown, known_cells, paste_known
from jdap.pipelines.pictures import Portrait, check_pictures, decode
from jdap.pipelines.weights import load_components, save_components

__all__ = ["GUIDANCE", "METHODS", "DepthEstimate", "Portrait", "PortraitPipeline"]

OnStep = Callable[[int, int], None]


class DepthEstimate(NamedTuple):
    """Normalised ``depth`` (B, 1, H, W) in [-1, 1], far = +1, and of an ensemble its ``uncertainty`` (B, 1, H, W) ≥ 0.

    Uncertainty is the standard deviation over the aligned draws, in the depth's unit; None for a single draw.
    """

    depth: Tensor
    uncertainty: Tensor | None = None


class PortraitPipeline:
    """Codec, joint UNet, ReferenceNet and noise schedule, ready to answer.

    One model answers four questions, by what is given and what is drawn: :meth:`generate`, :meth:`image_to_depth`,
    :meth:`depth_to_image`, :meth:`edit`. They have these arguments in common:

    * ``reference`` (B, 3, H, W) or (B, R, 3, H, W) in [-1, 1]: one or several pictures of the person
    * ``steps``: of DDIM
    * ``guidance``: strength of the reference; 1 is as trained, another value costs a second network call a step. What
      it adds is brought back to the strength of the rest by :data:`RESCALE` (:func:`jdap.diffusion.samplers.guided`)
    * ``method``, ``resample``, ``jump``: how what is known is held, see :func:`jdap.diffusion.samplers.ddim`; method
      None is ``clean``, or ``repaint`` of weights that only know halves at the same timestep
    * ``generator``: of all noise; the same state gives the same answer
    * ``on_step``: called with (network calls done, calls in all)

    They raise ValueError for pictures of another shape or range, and for what ablated networks cannot answer: no
    reference is read without a ReferenceNet; separate networks draw RGB first (inpainting what is known of it, blind to
    depth), then depth beside it (twice the calls), and do no depth-to-image.

    Args:
        codec, unet, reference: the networks; C of the codec is that of the UNets. Ablations have separate UNets for RGB
            and depth, or no ReferenceNet.
        schedule: the noise schedule that the weights were trained with.
        preset: the name of the builder that made the networks.
        size_px: the side of the pictures that the weights were trained on.
        one_step_start: of weights that were fine-tuned to depth in one step (:mod:`jdap.stages.onestep`), what the
            depth half starts from (:data:`jdap.diffusion.onestep.STARTS`); such weights only answer
            :meth:`image_to_depth` in one step. None: weights that draw in any number of steps.
        shared_timestep: an ablation: the network only knows halves at the same timestep.
        image_tokens: what makes tokens of reference pictures for the cross-attention; None: the networks see none.
    """

    def __init__(
        self,
        codec: Codec,
        unet: JointUNet | SeparateUNets,
        reference: ReferenceNet | None,
        schedule: NoiseSchedule,
        *,
        preset: str,
        size_px: int,
        one_step_start: str | None = None,
        shared_timestep: bool = False,
        image_tokens: ImageTokens | None = None,
    ) -> None:
        if unet.latent_channels != codec.latent_channels:
            raise ValueError(f"the UNet has {unet.latent_channels} latent channels, the codec {codec.latent_channels}")
        self.codec, self.unet, self.reference, self.schedule = codec, unet, reference, schedule
        if one_step_start not in (None, *STARTS):
            raise ValueError(f"one_step_start must be one of {', '.join(STARTS)}, got {one_step_start!r}")
        self.preset, self.size_px, self.image_tokens = preset, size_px, image_tokens
        self.one_step_start, self.shared_timestep = one_step_start, shared_timestep
        self.denoiser = JointDenoiser(schedule)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The pipeline of a weights folder, float32 on the CPU, in evaluation mode.

        Raises :class:`jdap.models.loading.WeightsError` for anything missing, unexpected or unreadable.
        """
        return cls(**load_components(Path(folder)))

    def save_pretrained(self, folder: str | Path, extras: Callable[[Path], None] | None = None) -> None:
        """Write a weights folder in diffusers' layout, whole or not at all; an existing one is replaced.

        ``extras`` may put further files into the folder before it gets its name.
        """
        save_components(
            Path(folder),
            codec=self.codec,
            unet=self.unet,
            reference=self.reference,
            schedule=self.schedule,
            preset=self.preset,
            size_px=self.size_px,
            one_step_start=self.one_step_start,
            shared_timestep=self.shared_timestep,
            image_tokens=self.image_tokens,
            extras=extras,
        )

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device, in place."""
        networks: tuple[torch.nn.Module | None, ...] = (self.codec, self.unet, self.reference, self.image_tokens)
        for network in filter(None, networks):
            network.to(device)
        return self

    @property
    def joint(self) -> bool:
        """Whether one network draws both halves: separate ones draw no picture for a depth map."""
        return isinstance(self.unet, JointUNet)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @torch.no_grad()
    def generate(
        self,
        reference: Tensor | None,
        *,
        count: int = 1,
        steps: int = 20,
        guidance: float = GUIDANCE,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Portrait:
        """A new portrait of the person in ``reference``, with its depth: nothing is given, both halves are drawn.

        Without a reference (None) they are ``count`` portraits of anybody.
        """
        latents = None if reference is None else self._encode(reference)
        if latents is None:
            side = self.size_px // self.codec.factor
            like = torch.empty(count, self.codec.latent_channels, side, side, device=self.device)
        else:
            like = latents if latents.ndim == 4 else latents[:, 0]
        network = self._network(reference, guidance, latents)
        drawn = self._draw(network, Pair(like, like), generator, steps=steps, on_step=on_step)
        return decode(self.codec, drawn)

    @torch.no_grad()
    def image_to_depth(
        self,
        rgb_B3HW: Tensor,
        *,
        steps: int = 1,
        ensemble: int = 1,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> DepthEstimate:
        """Depth of pictures (B, 3, H, W) in [-1, 1]: the RGB half is given, the depth half is drawn.

        No reference is asked: it would change nothing. Of ``ensemble`` draws the depth is the mean, after alignment in
        closed form (:func:`jdap.diffusion.ensemble.align`), and the uncertainty their standard deviation.

        Weights that were fine-tuned to one step start from their own input. From zeros the answer does not depend on
        the generator; an ensemble, like other steps, is refused by a ValueError.
        """
        if ensemble < 1:
            raise ValueError(f"ensemble must be at least 1, got {ensemble}")
        if self.one_step_start == ZEROS and ensemble > 1:
            self._refuse("an ensemble, whose draws would be equal")
        check_pictures(rgb_B3HW, "pictures")
        rgb = self.codec.encode(rgb_B3HW)
        how = {"steps": steps, "method": method, "resample": resample, "jump": jump, "on_step": on_step}
        draws = []
        for _ in range(ensemble):
            drawn = self._draw(self.unet, Pair(rgb, rgb), generator, known_rgb=rgb, **how)
            draws.append(depth_frames.from_codec(self.codec.decode(drawn.depth)))
        if ensemble == 1:
            return DepthEstimate(draws[0])
        depth, uncertainty = ensembles.combine(torch.stack(draws))
        return DepthEstimate(depth.clamp(-1, 1), uncertainty)

    @torch.no_grad()
    def depth_to_image(
        self,
        depth_B1HW: Tensor,
        *,
        reference: Tensor | None = None,
        steps: int = 20,
        guidance: float = GUIDANCE,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """RGB (B, 3, H, W) in [-1, 1] of normalised depth (B, 1, H, W): the depth half is given, the RGB half is drawn.

        ``reference`` says who it is; without one it is anybody, and ``guidance`` has no meaning.
        """
        if not self.joint:
            raise ValueError("separate networks draw no RGB that belongs to a depth map: that needs a joint one")
        check_pictures(depth_B1HW, "depth", 1)
        depth = self.codec.encode(depth_frames.to_codec(depth_B1HW))
        network = self._network(reference, guidance)
        how = {"steps": steps, "method": method, "resample": resample, "jump": jump, "on_step": on_step}
        drawn = self._draw(network, Pair(depth, depth), generator, known_depth=depth, **how)
        return self.codec.decode(drawn.rgb).clamp(-1, 1)

    @torch.no_grad()
    def edit(
        self,
        rgb_B3HW: Tensor,
        depth_B1HW: Tensor,
        known_rgb: Tensor,
        known_depth: Tensor,
        *,
        reference: Tensor | None = None,
        steps: int = 20,
        guidance: float = GUIDANCE,
        method: str | None = None,
        resample: int = 1,
        jump: int = 1,
        feather_px: float = 0.0,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Portrait:
        """Pictures and their depth with parts drawn anew, by a mask a pixel and modality.

        ``rgb`` (B, 3, H, W) and normalised ``depth`` (B, 1, H, W), in [-1, 1] where they are known;
        ``known_rgb``, ``known_depth`` (B, 1, H, W) bool say where. What lies elsewhere has no influence, so depth that
        nobody knows may be anything. A latent cell is known only if all of its pixels are: up to one cell more is
        drawn around a hole. Known pixels then come back exactly as they were given; with ``feather_px`` above 0 those
        within that distance of a mask's edge fade into what is drawn (:func:`jdap.pipelines.masks.paste_known`).

        ``reference`` as in :meth:`depth_to_image`.
        """
        masks = Pair(known_rgb, known_depth)
        for name, mask in zip(("known_rgb", "known_depth"), masks, strict=True):
            if mask.dtype != torch.bool or mask.shape != depth_B1HW.shape:
                raise ValueError(f"{name} must be {tuple(depth_B1HW.shape)} bool, got {tuple(mask.shape)} {mask.dtype}")
        filled = Pair(*(fill_unknown(x, mask) for x, mask in zip((rgb_B3HW, depth_B1HW), masks, strict=True)))
        check_pictures(filled.rgb, "pictures")
        check_pictures(filled.depth, "depth", 1)
        known = Pair(*self.codec.encode(torch.cat([filled.rgb, depth_frames.to_codec(filled.depth)])).chunk(2))
        drawn = self._draw(
            self._network(reference, guidance),
            known,
            generator,
            known_rgb=known.rgb,
            known_depth=known.depth,
            rgb_cells=known_cells(known_rgb, self.codec.factor),
            depth_cells=known_cells(known_depth, self.codec.factor),
            steps=steps,
            method=method,
            resample=resample,
            jump=jump,
            on_step=on_step,
        )
        made = decode(self.codec, drawn)
        return Portrait(*(paste_known(x, k, m, feather_px) for x, k, m in zip(made, filled, masks, strict=True)))

    def _network(self, reference: Tensor | None, guidance: float, latents: Tensor | None = None) -> Network:
        """The joint UNet led by reference pictures, read once for all steps; ``latents`` are theirs, if at hand."""
        if reference is None:
            return self.unet
        if self.reference is None:
            raise ValueError("these weights have no ReferenceNet and keep nobody's likeness: leave the reference out")
        projected = self.unet.project_reference(self.reference(self._encode(reference) if latents is None else latents))
        network = partial(self.unet, reference=projected)
        tokens = None if self.image_tokens is None else self.image_tokens(reference)
        if guidance == 1:
            return partial(network, tokens_BLD=tokens)
        # no tokens are zero tokens, however many
        tokens = None if tokens is None else torch.cat([torch.zeros_like(tokens), tokens])
        led = partial(network, tokens_BLD=tokens, reference_from=len(reference))
        return guided(led, guidance, rescale=RESCALE)

    def _draw(self, network: Network, like: Pair, generator: torch.Generator | None, **how: Any) -> Pair:
        """Latents of both halves, drawn from noise in the shape of ``like``; ``how`` are the options of ``ddim``."""
        noise = randn_pair(like, generator)
        given = how.get("known_rgb") is not None or how.get("known_depth") is not None
        how["method"] = method = how.get("method") or (REPAINT if self.shared_timestep else CLEAN)
        if self.one_step_start is not None:
            if how.get("known_rgb") is None or how.get("known_depth") is not None:
                self._refuse("another question than image-to-depth")
            if how["steps"] != 1 or method != CLEAN:
                self._refuse(f"depth in {how['steps']} steps by {method}")
            if self.one_step_start == ZEROS:
                noise = Pair(*map(torch.zeros_like, noise))
        if given and self.shared_timestep and method == CLEAN:
            raise ValueError("these weights only know halves at the same timestep: method must be repaint")
        sample = partial(ddim, self.denoiser, network, noise, generator=generator)
        if isinstance(self.unet, SeparateUNets):
            if given and method == REPAINT:
                raise ValueError("separate networks take depth from clean RGB: method must be clean")
            of_rgb = {name: value for name, value in how.items() if name not in ("known_depth", "depth_cells")}
            if how.get("known_rgb") is None or how.pop("rgb_cells", None) is not None:
                how["known_rgb"] = sample(**of_rgb).rgb
        return sample(**how)

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            f"{what}: these weights were fine-tuned to depth in one step and do nothing else; "
            "use the weights that they were fine-tuned from"
        )

    def _encode(self, reference: Tensor) -> Tensor:
        """Latents of references (B, 3, H, W) → (B, C, h, w), or (B, R, 3, H, W) → (B, R, C, h, w)."""
        if reference.ndim != 5:
            check_pictures(reference, "references")
            return self.codec.encode(reference)
        check_pictures(reference.flatten(0, 1), "references")
        return self.codec.encode(reference.flatten(0, 1)).unflatten(0, reference.shape[:2])
