"""The mouth of a head: its inner lips, and how far they open.

Shapes: F frames, E expressions, K identity modes, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data_prep.head.model import MorphableModel

#: ICT-FaceKit's vertices of the lips' inner edge (Multi-PIE landmarks 60 … 67), from the subject's right corner on.
LIPS_INNER = (5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966)
#: Above and below, right, middle and left.
_UPPER, _LOWER = [LIPS_INNER[i] for i in (1, 2, 3)], [LIPS_INNER[i] for i in (7, 6, 5)]
#: Of the expressions, the one that brings the lips together whatever the jaw does.
CLOSES = "mouthClose"
#: Lips that touch overlap by this much.
OVERLAP_MM = 0.3


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

    def openings_mm(self, expression_FE: np.ndarray) -> np.ndarray:
        """(F, 3) right, middle and left; 0 or less where the lips touch."""
        return self.rest_mm_3 + expression_FE @ self.opens_mm_E3

    def opening_mm(self, expression_FE: np.ndarray) -> np.ndarray:
        """(F,) the widest of the three openings; 0 or less where the lips are shut."""
        return self.openings_mm(expression_FE).max(-1)

    def closing(self, open_F3: np.ndarray, closed_F: np.ndarray) -> np.ndarray:
        """(F,) how much :data:`CLOSES` leaves the share 1 - ``closed`` of openings (mm); lips that touch overlap."""
        wanted_F3 = np.minimum((1 - closed_F[:, None]) * open_F3 - closed_F[:, None] * OVERLAP_MM, open_F3)
        closes_3 = self.opens_mm_E3[self.names.index(CLOSES)]
        return np.clip(((wanted_F3 - open_F3) / closes_3).max(1), 0, 1)


def measure_mouth(model: MorphableModel, identity_K: np.ndarray) -> Mouth:
    """The mouth of a head (identity coefficients in standard deviations)."""
    modes = model.identity_KV3[: len(identity_K)]
    return _mouth(model, _gap(model.mean_V3) + torch.from_numpy(identity_K).to(modes) @ _gap(modes))


def mouth_of_shape(model: MorphableModel, shape_V3: torch.Tensor) -> Mouth:
    """The mouth of a head by its shape without expression, head space, mm."""
    return _mouth(model, _gap(shape_V3))


def _gap(points_V3: torch.Tensor) -> torch.Tensor:
    """(…, 3) how far the upper lip is above the lower one in points (…, V, 3)."""
    return points_V3[..., _UPPER, 1] - points_V3[..., _LOWER, 1]


def _mouth(model: MorphableModel, rest_mm_3: torch.Tensor) -> Mouth:
    opens = _gap(model.expression_EV3)
    return Mouth(model.expression_names, rest_mm_3.double().cpu().numpy(), opens.double().cpu().numpy())
