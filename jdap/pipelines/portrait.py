"""The portrait pipeline: joint generation from a reference, and image-to-depth.

Shapes: B pictures, C latent channels, H = W = ``size_px`` pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.diffusion.denoiser import JointDenoiser, Pair, randn_pair
from jdap.diffusion.samplers import ddim, guided
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.attention import Projected
from jdap.models.codec import Codec
from jdap.models.joint_unet import JointUNet
from jdap.models.reference import ReferenceNet
from jdap.pipelines.weights import load_components, save_components

OnStep = Callable[[int, int], None]


class Portrait(NamedTuple):
    """A generated portrait: ``rgb`` (B, 3, H, W) and normalised ``depth`` (B, 1, H, W), both in [-1, 1]."""

    rgb: Tensor
    depth: Tensor


class PortraitPipeline:
    """Codec, joint UNet, ReferenceNet and noise schedule, ready to answer.

    Args:
        codec, unet, reference: the networks; C of the codec is that of both UNets.
        schedule: the noise schedule that the weights were trained with.
        preset: the name of the builder that made the networks.
        size_px: the side of the pictures that the weights were trained on.
    """

    def __init__(
        self,
        codec: Codec,
        unet: JointUNet,
        reference: ReferenceNet,
        schedule: NoiseSchedule,
        *,
        preset: str,
        size_px: int,
    ) -> None:
        if unet.latent_channels != codec.latent_channels:
            raise ValueError(f"the UNet has {unet.latent_channels} latent channels, the codec {codec.latent_channels}")
        self.codec, self.unet, self.reference, self.schedule = codec, unet, reference, schedule
        self.preset, self.size_px = preset, size_px
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
            extras=extras,
        )

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device, in place."""
        networks: tuple[torch.nn.Module, ...] = (self.codec, self.unet, self.reference)
        for network in networks:
            network.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @torch.no_grad()
    def image_to_depth(
        self,
        rgb_B3HW: Tensor,
        *,
        reference: Tensor | None = None,
        steps: int = 1,
        ensemble: int = 1,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """RGB (B, 3, H, W) in [-1, 1] → normalised depth (B, 1, H, W) in [-1, 1], far = +1.

        The RGB half is given at timestep 0 and the depth half is drawn. The reference is the picture itself unless
        others of the same person are given: (B, 3, H, W), or (B, R, 3, H, W) for R of each. ``ensemble`` draws are
        averaged: they share the normalised frame, so nothing has to be aligned. The same generator state gives the
        same answer.
        """
        self._check(rgb_B3HW)
        if ensemble < 1:
            raise ValueError(f"ensemble must be at least 1, got {ensemble}")
        latents = self.codec.encode(rgb_B3HW)
        network = partial(self.unet, reference=self._project(latents if reference is None else self._encode(reference)))
        total = torch.zeros_like(rgb_B3HW[:, :1])
        for _ in range(ensemble):
            noise = randn_pair(Pair(latents, latents), generator)
            drawn = ddim(self.denoiser, network, noise, known_rgb=latents, steps=steps, on_step=on_step)
            total += depth_frames.from_codec(self.codec.decode(drawn.depth))
        return total / ensemble

    @torch.no_grad()
    def generate(
        self,
        reference: Tensor,
        *,
        steps: int = 20,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Portrait:
        """A new portrait of the person in ``reference`` (B, 3, H, W) in [-1, 1], with its depth.

        Several pictures of each person are (B, R, 3, H, W). ``guidance`` scales the reference's influence (1: as
        trained, no extra cost; above: stronger).
        """
        latents = self._encode(reference)
        network = guided(partial(self.unet, reference=self._project(latents)), self.unet, guidance)
        like = latents if latents.ndim == 4 else latents[:, 0]
        noise = randn_pair(Pair(like, like), generator)
        drawn = ddim(self.denoiser, network, noise, steps=steps, on_step=on_step)
        rgb, depth = self.codec.decode(torch.cat(drawn)).chunk(2)
        return Portrait(rgb.clamp(-1, 1), depth_frames.from_codec(depth))

    def _encode(self, pictures: Tensor) -> Tensor:
        """Latents of pictures (B, 3, H, W) or (B, R, 3, H, W), with the same leading dimensions."""
        flat = pictures.flatten(0, 1) if pictures.ndim == 5 else pictures
        self._check(flat)
        return self.codec.encode(flat).unflatten(0, pictures.shape[:-3])

    def _project(self, reference: Tensor) -> Projected:
        """Keys and values of reference latents (B, C, h, w) or (B, R, C, h, w): once for all steps."""
        return self.unet.project_reference(self.reference(reference))

    def _check(self, rgb_B3HW: Tensor) -> None:
        if rgb_B3HW.ndim != 4 or rgb_B3HW.shape[1] != 3 or rgb_B3HW.amin() < -1 or rgb_B3HW.amax() > 1:
            raise ValueError(f"pictures must be (B, 3, H, W) in [-1, 1], got {tuple(rgb_B3HW.shape)}")
