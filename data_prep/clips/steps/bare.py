"""What lies before the face is taken out of the skin whose depth is believed: hair, beards, glasses, hats, hands.

A fitted head has none of these: where they hide the face, its depth is that of the skin behind them.

Shapes: F frames, S x S pixels.
"""

from __future__ import annotations

import numpy as np

from jdap.choices import PARSED, SKIN
from jdap.faces.parsing import Parser

#: Skin stays in the mask where a parser holds it for at least so likely.
LEAST_SHARE = 0.5


def keep_bare(
    parser: Parser, rgb_FSS3: np.ndarray, skin_FSS: np.ndarray, confidence_FSS: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Of believed skin (F, S, S) bool and its confidence, float32 in [0, 1], what a parser sees as skin in the pictures
    (F, S, S, 3) uint8; confidence is weighed by how likely skin is, and 0 elsewhere."""
    share = parser.shares(rgb_FSS3)[:, PARSED.index(SKIN)]
    bare = skin_FSS & (share >= LEAST_SHARE)
    if confidence_FSS is None:
        return bare, None
    return bare, np.where(bare, confidence_FSS * share.clip(0, 1), 0).astype(np.float32)
