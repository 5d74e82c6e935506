"""Motion modules: fresh ones that change nothing yet, those of a folder, and AnimateDiff's in its original form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import nn

from jdap.models.loading import WeightsError, fill_strict, load_strict, one_line, read_tensors

#: Channels of a head of fresh motion modules where AnimateDiff's eight heads would leave fewer.
HEAD_DIM = 32
#: Positions of fresh motion modules, as AnimateDiff's second version has them.
MAX_FRAMES = 32


def new_motion(unet: UNet2DConditionModel) -> MotionAdapter:
    """Fresh motion modules for a UNet; their last layers are zero, so that they change nothing."""
    widths = tuple(unet.config["block_out_channels"])
    motion = MotionAdapter(
        block_out_channels=widths,
        motion_layers_per_block=unet.config["layers_per_block"],
        motion_num_attention_heads=tuple(max(1, min(8, width // HEAD_DIM)) for width in widths),
        motion_norm_num_groups=unet.config["norm_num_groups"],
        motion_max_seq_length=MAX_FRAMES,
    )
    zero(motion)
    return motion


@torch.no_grad()
def zero(motion: MotionAdapter) -> None:
    """Let motion modules change nothing, in place."""
    for name, parameter in motion.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)


def load_motion(source: str | Path) -> MotionAdapter:
    """Motion modules of a diffusers folder, or of AnimateDiff's original file as ``.safetensors``, strictly.

    Raises :class:`jdap.models.loading.WeightsError` for what is no such thing; pickles (``.ckpt``) are never read.
    """
    source = Path(source)
    if not source.is_file():
        return load_strict(MotionAdapter, source)
    stored = read_tensors(source)
    if not any(".temporal_transformer." in name for name in stored):
        raise WeightsError(f"{source}: holds no AnimateDiff motion modules (temporal_transformer)")
    try:
        positions = [x.shape[1] for name, x in stored.items() if name.endswith("pos_encoder.pe")]
        tensors: dict[str, Any] = convert_animatediff_checkpoint_to_diffusers(dict(stored))
        downs = sorted({name.split(".")[1] for name in tensors if name.startswith("down_blocks.")}, key=int)
        widths = [tensors[f"down_blocks.{i}.motion_modules.0.norm.weight"].shape[0] for i in downs]
        layers = {name.split(".")[3] for name in tensors if name.startswith("down_blocks.0.motion_modules.")}
        with torch.device("meta"):
            motion = MotionAdapter(
                block_out_channels=tuple(widths),
                motion_layers_per_block=len(layers),
                motion_max_seq_length=max(positions, default=MAX_FRAMES),
                use_motion_mid_block=any(name.startswith("mid_block.") for name in tensors),
            )
        # tables of sines and cosines, which the class computes
        own = motion.state_dict()
        known = {name: x for name, x in tensors.items() if name in own or not name.endswith("pos_embed.pe")}
    except Exception as error:  # whatever a converter or constructor stumbles over is the file's fault
        raise WeightsError(f"{source}: cannot be read as AnimateDiff motion modules: {one_line(error)}") from error
    for name, table in _tables(MotionAdapter.from_config(motion.config)).items():
        known.setdefault(name, table)
    fill_strict(motion, known, source)
    return motion.eval()


def _tables(motion: MotionAdapter) -> dict[str, torch.Tensor]:
    return {name: x for name, x in motion.state_dict().items() if name.endswith("pos_embed.pe")}
