"""Stable Diffusion 1.x and 2.x as a start: its UNet and its VAE, as they are.

Two layouts are read: a folder of diffusers (``unet/``, ``vae/``), and one ``.safetensors`` file with the original
names (``model.diffusion_model.…``, ``first_stage_model.…``). Nothing is ever fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from jdap.models.codec import DiffusersCodec
from jdap.models.image.single_file import single_file_unet, single_file_vae
from jdap.models.loading import WeightsError, index_of, load_strict

#: Inputs that a joint UNet does not have: of SDXL, of distilled models, of upscalers and of image variations.
_FURTHER_INPUTS = (
    *("addition_embed_type", "time_cond_proj_dim", "num_class_embeds", "class_embed_type", "encoder_hid_dim_type"),
)


def load_unet(source: str | Path) -> UNet2DConditionModel:
    """The UNet of a Stable Diffusion folder or file as it is: float32, in evaluation mode, C channels in and out.

    Raises :class:`jdap.models.loading.WeightsError` for what is not there, does not fit or cannot be widened.
    """
    source = _there(source)
    unet = _of_folder(UNet2DConditionModel, source / "unet") if source.is_dir() else single_file_unet(source)
    channels = unet.config["in_channels"], unet.config["out_channels"]
    if channels[0] != channels[1]:
        raise WeightsError(
            f"{source}: its UNet has {channels[0]} channels in and {channels[1]} out, as models for inpainting, "
            "depth or upscaling do; take a text-to-image model"
        )
    further = [f"{name} {unet.config[name]}" for name in _FURTHER_INPUTS if unet.config.get(name) is not None]
    if further:
        raise WeightsError(
            f"{source}: its UNet has more inputs ({', '.join(further)}); take Stable Diffusion 1.x or 2.x"
        )
    return unet


def load_vae(source: str | Path) -> DiffusersCodec:
    """The VAE of a Stable Diffusion folder or file as the image codec. Raises WeightsError as :func:`load_unet`."""
    source = _there(source)
    vae = _of_folder(AutoencoderKL, source / "vae") if source.is_dir() else single_file_vae(source)
    return DiffusersCodec(vae).eval()


def _there(source: str | Path) -> Path:
    source = Path(source)
    if not source.exists():
        raise WeightsError(f"{source}: no such folder or file of Stable Diffusion weights; nothing is downloaded")
    return source


def _of_folder(kind: Any, folder: Path) -> Any:
    """A component, from its full-precision weights or, where there are none, from those of variant fp16."""
    half = SAFETENSORS_WEIGHTS_NAME.replace(".safetensors", ".fp16.safetensors")
    whole_there, half_there = (
        (folder / name).is_file() or index_of(folder / name).is_file() for name in (SAFETENSORS_WEIGHTS_NAME, half)
    )
    return load_strict(kind, folder, half if half_there and not whole_there else SAFETENSORS_WEIGHTS_NAME)
