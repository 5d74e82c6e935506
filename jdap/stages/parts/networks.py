"""Where a stage's networks come from: a preset from scratch, Stable Diffusion, or a weights folder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from jdap.io.assets import resolve
from jdap.models.codec import Codec, load_codec
from jdap.models.image.build import build
from jdap.models.image.image_tokens import ImageTokens, new_image_tokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.image.lora import add_lora
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.separate import SeparateUNets, separated
from jdap.models.image.stable_diffusion import load_unet, load_vae
from jdap.models.image.unasked import begin_anew, unasked
from jdap.models.image.widen import from_unet, narrow
from jdap.models.loading import load_strict
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.settings.image import ImageNetworkSettings


class Networks(NamedTuple):
    """What the image stage consists of: a frozen ``codec``, what trains, and a ``likeness_net`` that goes along."""

    codec: Codec
    unet: JointUNet | SeparateUNets
    reference: ReferenceNet | None
    image_tokens: ImageTokens | None = None
    likeness_net: LikenessNet | None = None


def image_networks(
    preset: str,
    codec: str | None,
    *,
    init: str | None,
    sd: str | None,
    settings: ImageNetworkSettings,
    checkpointing: bool,
) -> Networks:
    """The networks of a stage, in training mode but for the frozen codec, on the CPU, float32.

    Args:
        preset: name of the builder (:data:`jdap.models.image.build.BUILDERS`).
        codec: folder of the image codec, or ``shipped:NAME``; None: the VAE of ``sd``, or the codec of ``init``.
        init: weights folder whose UNets training starts from.
        sd: Stable Diffusion 1.x or 2.x whose UNet both networks start from (:mod:`jdap.models.image.stable_diffusion`).
        settings: which networks there are, and which of their weights train.
        checkpointing: compute activations again in the backward pass rather than keep them.

    Raises:
        ValueError: for settings that exclude each other, an unknown preset, and where a start has other latents or
            lacks a network.
        WeightsError: for a folder or file that cannot be used.
        LoraError: where PEFT is asked for and missing.
    """
    if init and sd:
        raise ValueError("model.init and model.sd are both a start: give one")
    widths, rank = settings.widths, settings.lora_rank
    if widths and (init or sd):
        raise ValueError("model.networks.widths is for networks from scratch: model.init and model.sd bring their own")
    if init:
        made = _of_weights_folder(init, preset, codec)
    elif sd:
        made = _of_stable_diffusion(sd, preset, codec)
    elif codec:
        frozen = load_codec(resolve(codec))
        made = Networks(frozen, *build(preset, frozen.latent_channels, tuple(widths) if widths else None))
    else:
        raise ValueError("model.codec is null, and there is no model.sd or model.init to take one from: name a folder")
    made.codec.requires_grad_(False)
    made = _ablated(made, settings, init, sd)
    if settings.likeness_net:
        made = _with_likeness_net(made, settings.likeness_net)
    if made.likeness_net is not None:
        made.likeness_net.requires_grad_(False)
    if settings.image_encoder:
        made = _with_image_tokens(made, settings.image_encoder, init)
    if made.image_tokens is not None:
        made.image_tokens.train()
    for network in filter(None, (made.unet, made.reference)):
        if made.image_tokens is None or network is made.reference:
            freeze_unasked(network)
        # channels last: a fifth faster on a CPU, and what tensor cores want
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-arg]
        for unet in network.modules():
            if checkpointing and isinstance(unet, UNet2DConditionModel):
                unet.enable_gradient_checkpointing()
        if rank:
            add_lora(network, rank)
    if rank and made.image_tokens is not None:
        made.image_tokens.requires_grad_(False)
    return made


def freeze_unasked(network: nn.Module) -> None:
    """Freeze what a cross-attention without tokens never asks (:func:`jdap.models.image.unasked.unasked`).

    It has no gradient, which DDP would wait for.
    """
    for parameter in unasked(network):
        parameter.requires_grad_(False)


def _ablated(made: Networks, settings: ImageNetworkSettings, init: str | None, sd: str | None) -> Networks:
    """The networks that are asked for: those of a start without what an ablation leaves out."""
    unet, net, joint = made.unet, made.reference, settings.joint
    if joint and not isinstance(unet, JointUNet):
        raise ValueError(f"model.init {init}: these weights need model.networks.joint false")
    if settings.copy_reference:
        if not (init and joint and settings.reference and isinstance(unet, JointUNet)):
            raise ValueError(
                "model.networks.copy_reference copies the joint UNet of model.init into a ReferenceNet: it needs them"
            )
        net = ReferenceNet(narrow(unet), unet.rotary)
    if settings.reference and net is None:
        raise ValueError(
            f"model.init {init}: these weights need model.networks.reference false or "
            "model.networks.copy_reference true"
        )
    if isinstance(unet, JointUNet) and not joint:
        if init or sd:
            raise ValueError("model.networks.joint false starts from weights of such networks, or from none")
        unet = separated(unet)
    if not settings.reference:
        return made._replace(unet=unet, reference=None, image_tokens=None, likeness_net=None)
    return made._replace(unet=unet, reference=net)


def _with_likeness_net(made: Networks, folder: str) -> Networks:
    if made.reference is None or not isinstance(made.unet, JointUNet):
        raise ValueError("model.networks.likeness_net is for a joint UNet with a ReferenceNet: leave it out")
    net = load_strict(LikenessNet, resolve(folder))
    if net.config["latent_channels"] != made.codec.latent_channels:
        raise ValueError(
            f"model.networks.likeness_net {folder}: {net.config['latent_channels']} latent channels, "
            f"but model.codec has {made.codec.latent_channels}"
        )
    return made._replace(likeness_net=net.float())


def _with_image_tokens(made: Networks, encoder: str, init: str | None) -> Networks:
    if made.image_tokens is not None:
        raise ValueError(f"model.init {init} has image tokens of its own: leave model.networks.image_encoder out")
    if made.reference is None or not isinstance(made.unet, JointUNet):
        raise ValueError(
            "model.networks.image_encoder reads the reference for the joint network: not for ablations of either"
        )
    begin_anew(made.unet)
    return made._replace(image_tokens=new_image_tokens(encoder, made.unet.unet.config["cross_attention_dim"]))


def _of_weights_folder(folder: str, preset: str, codec: str | None) -> Networks:
    start = PortraitPipeline.from_pretrained(folder)
    frozen = load_codec(resolve(codec)) if codec else start.codec
    if (start.preset, start.codec.latent_channels) != (preset, frozen.latent_channels):
        raise ValueError(
            f"model.init {folder}: preset {start.preset} with {start.codec.latent_channels} latent channels, "
            f"but model.preset is {preset} and model.codec has {frozen.latent_channels}"
        )
    return Networks(frozen, start.unet, start.reference, start.image_tokens, start.likeness_net)


def _of_stable_diffusion(source: str, preset: str, codec: str | None) -> Networks:
    if preset != "sd15":
        raise ValueError(f"model.sd is a start of preset sd15, but model.preset is {preset}")
    frozen = load_codec(resolve(codec)) if codec else load_vae(source)
    plain = load_unet(source)
    if plain.config["in_channels"] != frozen.latent_channels:
        raise ValueError(
            f"model.sd {source}: {plain.config['in_channels']} latent channels, "
            f"but model.codec has {frozen.latent_channels}"
        )
    return Networks(frozen, *from_unet(plain))
