"""Small checkpoints in the shape of Stable Diffusion 1.x and 2.x, in both layouts, with random weights.

The original names are written down here from the original repository's modules, so that what reads them is checked
against something other than itself.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

LAYERS = 2
FAMILIES = {
    "1.x": {"block_out_channels": (32, 64), "attention_head_dim": 8, "cross_attention_dim": 24},
    "2.x": {
        "block_out_channels": (64, 128),
        "attention_head_dim": (1, 2),
        "cross_attention_dim": 32,
        "use_linear_projection": True,
    },
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def small_unet(family: str = "1.x", **changes) -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(
        **{
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": LAYERS,
            **FAMILIES[family],
            **changes,
        }
    ).eval()


def small_vae() -> AutoencoderKL:
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.18215,
    ).eval()


def small_image_encoder() -> CLIPVisionModelWithProjection:
    torch.manual_seed(3)
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=8,
        )
    ).eval()


def write_folder(folder: Path, family: str = "1.x") -> Path:
    small_unet(family).save_pretrained(folder / "unet")
    small_vae().save_pretrained(folder / "vae")
    small_image_encoder().save_pretrained(folder / "image_encoder")
    return folder


def original_tensors(family: str = "1.x") -> dict[str, Tensor]:
    """Both networks under the original names, among what else such files hold; the caller may change them."""
    return {name: value.clone() for name, value in _original_tensors(family).items()}


@cache
def _original_tensors(family: str) -> dict[str, Tensor]:
    unet = {f"model.diffusion_model.{_unet(k)}": v for k, v in small_unet(family).state_dict().items()}
    vae = {f"first_stage_model.{_vae(k)}": v for k, v in small_vae().state_dict().items()}
    for name, value in vae.items():
        if ".attn_1." in name and name.endswith("weight") and value.ndim == 2:
            vae[name] = value[:, :, None, None].clone()  # attention was written with 1 × 1 convolutions
    text = {"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.ones(8)}
    return {**unet, **vae, **text, "betas": torch.zeros(1000), "model_ema.decay": torch.tensor(0.9)}


def write_file(file: Path, family: str = "1.x", tensors: dict[str, Tensor] | None = None) -> Path:
    tensors = original_tensors(family) if tensors is None else tensors
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    return file


def _unet(name: str) -> str:
    for ours, theirs in (
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("mid_block.attentions.0", "middle_block.1"),
    ):
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    if found := re.fullmatch(r"mid_block\.resnets\.(\d)\.(\w+)\.(\w+)", name):
        return f"middle_block.{2 * int(found[1])}.{_RESNET[found[2]]}.{found[3]}"
    way, block, part, layer, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name).groups()
    block, layer = int(block), int(layer)
    if part == "downsamplers":
        return f"input_blocks.{(block + 1) * (LAYERS + 1)}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        # the upsampler stands after the attention, where there is one: here in no block but the last, which has none
        return f"output_blocks.{block * (LAYERS + 1) + LAYERS}.1.{rest}"
    at = f"input_blocks.{1 + block * (LAYERS + 1) + layer}" if way == "down" else None
    at = at or f"output_blocks.{block * (LAYERS + 1) + layer}"
    if part == "attentions":
        return f"{at}.1.{rest}"
    module, _, end = rest.partition(".")
    return f"{at}.0.{_RESNET[module]}.{end}"


def _vae(name: str) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.fullmatch(r"(.+)\.mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        half, kind, i, rest = found.groups()
        if kind == "resnets":
            return f"{half}.mid.block_{int(i) + 1}.{rest}"
        for ours, theirs in (("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_", "")):
            rest = rest.replace(ours, theirs)
        return f"{half}.mid.attn_1.{rest}"
    if found := re.fullmatch(r"encoder\.down_blocks\.(\d)\.(.+)", name):
        rest = found[2].replace("resnets", "block").replace("downsamplers.0", "downsample")
        return f"encoder.down.{found[1]}.{rest}"
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d)\.(.+)", name):
        rest = found[2].replace("resnets", "block").replace("upsamplers.0", "upsample")
        return f"decoder.up.{3 - int(found[1])}.{rest}"
    return name
