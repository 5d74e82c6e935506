"""What every parser of heads is: something that says how likely each class is at each pixel.

Shapes: F pictures, S x S pixels of any size, C = 6 classes (:data:`jdap.choices.PARSED`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

#: Pictures that go through a network at a time.
AT_ONCE = 16


class ParserError(ValueError):
    """A parser that cannot be used; the message is one line that names the file."""


class Parser(Protocol):
    """Tells parts of heads apart."""

    def shares(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        """(F, C, S, S) float32: how likely each class of :data:`jdap.choices.PARSED` is at each pixel, sum 1, of
        pictures (F, S, S, 3) uint8, squares about a head."""
        ...


def sized(pictures_FCSS: Tensor, side_px: int) -> Tensor:
    """Maps of another side; antialiased where they shrink."""
    if pictures_FCSS.shape[-1] == side_px:
        return pictures_FCSS
    return F.interpolate(pictures_FCSS, (side_px, side_px), mode="bilinear", antialias=True)
