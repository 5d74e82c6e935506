"""Single ``.safetensors`` checkpoints of Stable Diffusion 1.x and 2.x with the original names.

diffusers translates the names; its own ``from_single_file`` would fetch the architecture from the hub and pass over
what it does not know. Here the architecture is read off the tensors' shapes, and every tensor of the UNet and of the
VAE must be used. What the shapes do not say are facts of the two families: 8 heads in 1.x, heads of 64 channels in 2.x,
and the VAE's scaling factor. Text encoders and averaged copies (``model_ema.…``) stay on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from jdap.models.loading import WeightsError, few, fill_strict, one_line, read_tensors

UNET, VAE = "model.diffusion_model.", "first_stage_model."
#: Standard deviation of the latents of Stable Diffusion's VAE, as its authors measured it, inverted.
SCALING_FACTOR = 0.18215
HEADS_1X, HEAD_DIM_2X = 8, 64


def single_file_unet(file: Path) -> UNet2DConditionModel:
    """The UNet in ``file``: float32, in evaluation mode. Raises WeightsError where it is not one or not whole."""
    return _load(file, UNET, UNet2DConditionModel, unet_config, convert_ldm_unet_checkpoint)


def single_file_vae(file: Path) -> AutoencoderKL:
    """The VAE in ``file``: float32, in evaluation mode. Raises WeightsError where it is not one or not whole."""
    return _load(file, VAE, AutoencoderKL, vae_config, convert_ldm_vae_checkpoint)


def _load(file: Path, prefix: str, kind: Any, read_config: Any, convert: Any) -> Any:
    tensors = read_tensors(file, lambda name: name.startswith(prefix) and not name.startswith(prefix + "loss."))
    if not tensors:
        raise WeightsError(
            f"{file}: no tensor is named {prefix}…: not a Stable Diffusion checkpoint with original names"
        )
    try:
        config = read_config({name.removeprefix(prefix): value for name, value in tensors.items()})
        converted: dict[str, Tensor] = convert(checkpoint=dict(tensors), config=config)
        with torch.device("meta"):
            network = kind.from_config(config)
    # A checkpoint that lacks tensors, or has others, makes these stumble in as many ways as there are tensors.
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise WeightsError(f"{file}: {prefix}… is not as in Stable Diffusion 1.x or 2.x ({reason})") from error
    used = {value.data_ptr() for value in converted.values()}
    unknown = [name for name, value in tensors.items() if value.data_ptr() not in used]
    if unknown:
        raise WeightsError(f"{file}: {len(unknown)} unexpected_keys ({few(unknown)}); take Stable Diffusion 1.x or 2.x")
    fill_strict(network, converted, file)
    return network.eval()


def unet_config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """diffusers' config of a UNet, from its tensors by original names without the prefix.

    Raises KeyError, IndexError or ValueError where they are not those of a UNet of the two families.
    """
    levels: list[dict[str, Any]] = [{"layers": 0, "attends": False, "width": 0}]
    for i in range(1, _count(tensors, "input_blocks.")):
        if f"input_blocks.{i}.0.op.weight" in tensors:
            levels.append({"layers": 0, "attends": False, "width": 0})
            continue
        level, block = levels[-1], f"input_blocks.{i}"
        level["layers"] += 1
        level["width"] = tensors[f"{block}.0.out_layers.3.weight"].shape[0]
        level["attends"] |= f"{block}.1.proj_in.weight" in tensors
    layers = {level["layers"] for level in levels}
    if len(layers) != 1:
        raise ValueError(f"levels of {sorted(layers)} layers")
    widths = tuple(level["width"] for level in levels)
    middle = "middle_block.1"
    linear = tensors[f"{middle}.proj_in.weight"].ndim == 2
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
        "out_channels": tensors["out.2.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": layers.pop(),
        "down_block_types": tuple("CrossAttnDownBlock2D" if x["attends"] else "DownBlock2D" for x in levels),
        "up_block_types": tuple("CrossAttnUpBlock2D" if x["attends"] else "UpBlock2D" for x in reversed(levels)),
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "cross_attention_dim": tensors[f"{middle}.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": linear,
        # diffusers' "attention_head_dim" is the number of heads for this class
        "attention_head_dim": tuple(width // HEAD_DIM_2X for width in widths) if linear else HEADS_1X,
    }


def vae_config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """diffusers' config of a VAE, from its tensors by original names without the prefix; errors as above."""
    down = range(_count(tensors, "encoder.down."))
    widths = tuple(tensors[f"encoder.down.{i}.block.0.conv2.weight"].shape[0] for i in down)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "out_channels": tensors["decoder.conv_out.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": _count(tensors, "encoder.down.0.block."),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": tensors["post_quant_conv.weight"].shape[0],
        "scaling_factor": SCALING_FACTOR,
    }


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """How many numbered parts there are: one more than the largest number that follows ``prefix``."""
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix))
