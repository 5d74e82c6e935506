"""Motion modules as AnimateDiff's original files hold them."""

import re

import torch
from safetensors.torch import save_file


def write_original(motion, path, frames=24):
    """The file as AnimateDiff writes it: its names, and a table of positions for every attention."""
    tensors = {}
    for name, x in motion.state_dict().items():
        if name.endswith("pos_embed.pe"):
            continue
        name = re.sub(r"(motion_modules\.\d+)\.", r"\1.temporal_transformer.", name)
        name = name.replace(".norm1", ".norms.0").replace(".norm2", ".norms.1").replace(".norm3", ".ff_norm")
        name = name.replace(".attn1", ".attention_blocks.0").replace(".attn2", ".attention_blocks.1")
        tensors[name] = x.clone()
        if name.endswith("to_q.weight"):
            tensors[name.replace("to_q.weight", "pos_encoder.pe")] = torch.zeros(1, frames, x.shape[1])
    save_file(tensors, path)
    return path
