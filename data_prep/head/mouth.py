"""The mouth of a head: its inner lips, and how far they open.

Shapes: F frames, E expressions, K identity modes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data_prep.head.model import MorphableModel

#: ICT-FaceKit's vertices of the lips' inner edge (Multi-PIE landmarks 60 … 67), from the subject's right corner on.
LIPS_INNER = (5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966)


@dataclass(frozen=True)
class Mouth:
    """One person's mouth, as far as speech needs it.

    * ``rest_mm_3``: how far the inner edge of the upper lip is above the lower one's, right, middle and left, without
      expression; negative where they overlap
    * ``opens_mm_E3``: what each expression adds at full strength
    * ``names``: the expressions
    """

    names: tuple[str, ...]
    rest_mm_3: np.ndarray
    opens_mm_E3: np.ndarray

    def opening_mm(self, expression_FE: np.ndarray) -> np.ndarray:
        """(F,) the widest of the three openings; 0 or less where the lips are shut."""
        return (self.rest_mm_3 + expression_FE @ self.opens_mm_E3).max(-1)


def measure_mouth(model: MorphableModel, identity_K: np.ndarray) -> Mouth:
    """The mouth of a head (identity coefficients in standard deviations)."""
    upper, lower = [LIPS_INNER[i] for i in (1, 2, 3)], [LIPS_INNER[i] for i in (7, 6, 5)]
    modes = model.identity_KV3[: len(identity_K), :, 1]
    identity = torch.from_numpy(identity_K).to(modes)
    rest = model.mean_V3[upper, 1] - model.mean_V3[lower, 1] + identity @ (modes[:, upper] - modes[:, lower])
    opens = model.expression_EV3[:, upper, 1] - model.expression_EV3[:, lower, 1]
    return Mouth(model.expression_names, rest.double().cpu().numpy(), opens.double().cpu().numpy())
