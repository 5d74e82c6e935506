"""Positions in attention: queries and keys are turned by where their cells lie in the picture.

Rotary embeddings (RoFormer, arXiv 2104.09864) along both axes of a square grid: half of a head's channels turn with x,
half with y. The score of a query and a key then depends on what they hold and on how far apart they are, not on where
the two are; queries of one picture and keys of another, such as a reference, meet in the same way. It has no weights.

Positions count in sides of the picture, and a pair of channels turns between a quarter of a time and eight times from
one side to the other, so a network may be asked at another resolution.

Shapes: B pictures, N = n x n tokens (R · N of several pictures), D channels of H heads side by side.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: Turns over the side of a picture, of the slowest and the fastest pair of channels.
SLOWEST, FASTEST = 0.25, 8.0


def turned(x_BND: Tensor, heads: int, pictures: int = 1) -> Tensor:
    """Queries or keys (B, R · N, D), row by row of a square grid, turned by their positions → the same shape.

    ``pictures`` is R: the tokens of several pictures, one picture after the other. Raises ValueError where N is no
    square, or a head's channels are no multiple of four.
    """
    tokens, head_dim = x_BND.shape[1] // pictures, x_BND.shape[2] // heads
    cos, sin = _table(tokens, head_dim, x_BND.device, x_BND.dtype)
    if pictures > 1:
        cos, sin = cos.repeat(pictures, 1), sin.repeat(pictures, 1)
    first, second = x_BND.unflatten(-1, (heads, 2, -1)).unbind(-2)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-2).flatten(2)


@lru_cache(maxsize=64)
def _table(tokens: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each token's angles, (N, head_dim / 2) each."""
    side = math.isqrt(tokens)
    if side * side != tokens or head_dim % 4:
        raise ValueError(
            f"positions need square pictures and heads of a multiple of 4 channels, got {tokens} tokens, {head_dim}"
        )
    with torch.inference_mode(False):  # a table made for sampling must serve training too
        turns = torch.logspace(math.log2(SLOWEST), math.log2(FASTEST), head_dim // 4, base=2, dtype=torch.float64)
        place = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 * math.pi
        angle = place[:, None] * turns
        angles = torch.cat([angle[None].expand(side, -1, -1), angle[:, None].expand(-1, side, -1)], -1).flatten(0, 1)
        return angles.cos().to(device, dtype), angles.sin().to(device, dtype)
