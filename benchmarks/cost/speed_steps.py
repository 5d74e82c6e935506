"""What ``benchmarks speed`` runs: training steps and sampling runs as functions without arguments.

Shapes: B pictures, C latent channels, S x S latent cells.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.cost.reference_bank import BankedGuidance
from benchmarks.cost.timing import Call
from jdap.diffusion.denoiser import JointDenoiser, Pair, randn_pair
from jdap.diffusion.samplers import ddim, guided
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.build import build
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.stages.parts.networks import freeze_unasked

#: C of the Stable Diffusion codec.
CHANNELS = 4
GUIDANCE = 2.0


def networks(widths: tuple[int, ...], device: torch.device) -> tuple[JointUNet, ReferenceNet]:
    """Fresh networks of Stable Diffusion 1.5's architecture, with these widths."""
    torch.manual_seed(0)
    joint, reference = build("sd15", CHANNELS, widths)
    for network in (joint, reference):
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-arg]
    return joint, reference


def training_steps(
    widths: tuple[int, ...], size: int, batch: int, device: torch.device, autocast: Callable[[], Any]
) -> dict[str, Call]:
    """Forward, backward and AdamW: with injection, and of each UNet by itself.

    ``injected`` trains both networks together on a batch whose samples all see their reference, ``dropping`` on one
    of which the first sample does not. ``joint`` and ``other`` are the plain diffusers UNets of 2·C and C channels
    with a loss of their own, processors and all as diffusers makes them.
    """
    joint, reference = networks(widths, device)
    plain: list[Any] = [UNet2DConditionModel.from_config(network.unet.config) for network in (joint, reference)]
    for network in plain:
        network.to(device=device, memory_format=torch.channels_last)
    rgb, depth, clean = (torch.randn(batch, CHANNELS, size, size, device=device) for _ in range(3))
    both = torch.cat([rgb, depth, *[clean] * joint.sees_reference], dim=1)
    t = torch.full((batch,), 500, device=device)
    condition = plain[0].time_proj(t)

    def injected(keep: Tensor | None) -> Tensor:
        known = joint.project_reference(reference(clean))
        return torch.cat(joint(rgb, depth, t, t, known, keep), dim=1)

    def alone(network: Any, z: Tensor, timestep_cond: Tensor | None) -> Tensor:
        nothing = z.new_zeros(batch, 1, network.config["cross_attention_dim"])  # diffusers' own layers want a token
        return network(z, t, nothing, timestep_cond=timestep_cond).sample

    together = nn.ModuleList([joint, reference])
    freeze_unasked(together)
    keep = torch.arange(batch) > 0
    injecting = _optimizer(together)
    return {
        "injected": partial(_step, injecting, partial(injected, None), autocast),
        "dropping": partial(_step, injecting, partial(injected, keep.to(device)), autocast),
        "joint": partial(_step, _optimizer(plain[0]), partial(alone, plain[0], both, condition), autocast),
        "other": partial(_step, _optimizer(plain[1]), partial(alone, plain[1], clean, None), autocast),
    }


def sampling_runs(
    widths: tuple[int, ...], size: int, steps: int, device: torch.device, autocast: Callable[[], Any]
) -> dict[str, Call]:
    """Guided sampling of one picture, the ReferenceNet's own run included.

    ``ours``; ``bank``, the public design, with the same answer; ``lean``, that without its second attention.
    """
    joint, reference = networks(widths, device)
    joint.eval()
    reference.eval()
    banked = copy.deepcopy(joint), copy.deepcopy(reference)
    denoiser = JointDenoiser(NoiseSchedule())
    clean = torch.randn(1, CHANNELS, size, size, device=device)
    noise = randn_pair(Pair(clean, clean))

    @torch.no_grad()
    def ours() -> Pair:
        with autocast():
            known = joint.project_reference(reference(clean))
            network = guided(partial(joint, reference=known, reference_from=1), GUIDANCE)
            return ddim(denoiser, network, noise, steps=steps)

    @torch.no_grad()
    def bank(again: bool) -> Pair:
        with autocast():
            network = BankedGuidance(*banked, clean, GUIDANCE, again)
            return ddim(denoiser, network, noise, steps=steps)

    return {"ours": ours, "bank": partial(bank, again=True), "lean": partial(bank, again=False)}


def _optimizer(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=1e-5, fused=True)


def _step(optimizer: torch.optim.Optimizer, predict: Callable[[], Tensor], autocast: Callable[[], Any]) -> None:
    optimizer.zero_grad()
    with autocast():
        loss = predict().float().square().mean()
    loss.backward()
    optimizer.step()
