"""What each pixel of a studio picture shows, in the words of a parser of heads (:data:`jdap.choices.PARSED`).

Shapes: N samples on heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_prep.head.model import PART_NAMES
from data_prep.studio.looks.bust import BUST_PARTS
from data_prep.studio.looks.surface import Surface
from jdap.choices import CLOTH, GLASSES, HAIR, HAT, PARSED, SKIN

#: A pixel counts as skin where hair and clothes cover less than this.
MAX_COVER = 0.5
#: What is worn, by its part. Earrings are small, and nobody's skin.
WORN = {"hair": HAIR, "beard": HAIR, "hat": HAT, "frame": GLASSES, "lens": GLASSES, "cloth": CLOTH, "jewel": CLOTH}
_LABEL_OF_PART = torch.tensor([PARSED.index(WORN.get(name, SKIN)) for name in BUST_PARTS], dtype=torch.uint8)


def label_samples(part_N: Tensor, surface: Surface) -> Tensor:
    """(N,) uint8: index into :data:`jdap.choices.PARSED`. ``part_N`` int64: index into
    :data:`data_prep.studio.looks.bust.BUST_PARTS`.

    Eyes, brows, lips, teeth and stubble count as skin, and so does the neck; hair and cloth that are painted on the
    head count as what they are.
    """
    label = _LABEL_OF_PART.to(part_N.device)[part_N]
    painted = (part_N < len(PART_NAMES)) & (surface.cover_N >= MAX_COVER)
    cloth = surface.cloth_N >= MAX_COVER
    label = torch.where(painted & cloth, PARSED.index(CLOTH), label)
    return torch.where(painted & ~cloth, PARSED.index(HAIR), label).to(torch.uint8)
