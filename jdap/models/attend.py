"""Attention of queries to keys and values, by the way that is fast where it runs.

Shapes: B pictures, H heads, N queries, M keys, d channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Keys up to which a CPU has it faster as two products. Motion modules look at a few frames, in thousands of places:
#: PyTorch's fused kernel is a third slower there in float32, and ten times in bfloat16 (docs/training.md).
FEW_KEYS = 32


def attend(query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, seen_mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v, (B, H, N, d); ``seen_mask`` bool, that spreads to (B, H, N, M): what is seen.

    On a GPU it is PyTorch's ``scaled_dot_product_attention``. On a CPU its fused kernel is slow where keys are few, and
    in lower precision; there few keys are two products, and many are looked at in float32.
    """
    if query_BHNd.device.type != "cpu":
        return F.scaled_dot_product_attention(query_BHNd, key_BHMd, value_BHMd, attn_mask=seen_mask)
    if key_BHMd.shape[2] > FEW_KEYS:
        with torch.autocast("cpu", enabled=False):  # which would make them narrow again
            q, k, v = (x.float() for x in (query_BHNd, key_BHMd, value_BHMd))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen_mask).to(value_BHMd.dtype)
    score_BHNM = (query_BHNd * query_BHNd.shape[-1] ** -0.5) @ key_BHMd.transpose(-1, -2)
    if seen_mask is not None:
        score_BHNM = score_BHNM.masked_fill(~seen_mask, -torch.inf)
    return score_BHNM.softmax(dim=-1).to(value_BHMd.dtype) @ value_BHMd
