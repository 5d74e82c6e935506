"""How the edges of lips and lids go when a fitted head changes, and what lies between them.

Teeth and eyes that a photo shows keep their place in the head: a plane's motion stands for theirs.

Shapes: V vertices, E expressions, K points of a line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.head.mouth import LIPS_INNER
from jdap.geometry import project
from jdap.pose.change import named
from jdap.pose.gaps import EYE_GAPS, POINTS, Gap, gap_of, gone
from jdap.pose.heads import FittedHead, Heads

#: The expression that shuts the lids, and that which moves the lower teeth.
SHUTS, OPENS = "eyeBlink", "jawOpen"
#: Corners of the inner lips in :data:`data_prep.head.mouth.LIPS_INNER`, along the edge above and the one below.
UPPER_INNER, LOWER_INNER = (0, 1, 2, 3, 4), (0, 7, 6, 5, 4)
#: A vertex that an expression moves by less stays, mm.
STAYS_MM = 0.1
#: Edges that go by less, in pixels, stay.
GAP_STAYS_PX = 0.01


@dataclass(frozen=True, eq=False)
class MovedGap:
    """A gap of the picture as it ``was`` and ``now`` is, pixels; ``inner_23`` takes a point (x, y, 1) of what lies in
    it now to where it was."""

    was: Gap
    now: Gap
    inner_23: np.ndarray

    @property
    def still(self) -> bool:
        """Nothing of it has moved."""
        lines = zip(self.was.lines, self.now.lines, strict=True)
        return all(np.abs(was - now).max() < GAP_STAYS_PX for was, now in lines)

    def scaled(self, by: float, origin_2: np.ndarray) -> MovedGap:
        """In other pixels, and from another origin on."""
        shift = self.inner_23[:, 2] * by + origin_2 - self.inner_23[:, :2] @ origin_2
        inner_23 = np.column_stack([self.inner_23[:, :2], shift])
        return MovedGap(self.was.scaled(by, origin_2), self.now.scaled(by, origin_2), inner_23)


class Edges:
    """The gaps of a head in its picture, on a grid of ``size`` pixels across."""

    def __init__(self, heads: Heads, head: FittedHead, size: int) -> None:
        self.heads, self.camera_px_3 = heads, head.camera_px_3 * (size / head.size)
        self._inner_V = _inner(heads)
        old_V3 = heads.vertices(head)
        self._before, self._inside = self._gaps(old_V3), [self._pixels(old_V3[chosen]) for chosen in self._inner_V]
        # A head that is known exactly shows its own.
        self._was = tuple(gap.scaled(size / head.size) for gap in head.gaps_px) or self._before
        shut = head.expression_E.clone()
        shut[[heads.names.index(one) for one in named(SHUTS, heads.names)]] = 1.0
        lids = self._gaps(heads.place(head, shut, torch.eye(3)))[1:]
        self._least = (np.zeros(POINTS), *(gap.open_K for gap in lids))

    def to(self, new_V3: Tensor) -> tuple[MovedGap, ...]:
        """Those of the changed head (V, 3) in camera space, mm: mouth and eyes."""
        found = []
        for was, before, after, least, inside, chosen in zip(
            self._was, self._before, self._gaps(new_V3), self._least, self._inside, self._inner_V, strict=True
        ):
            now = np.column_stack([self._pixels(new_V3[chosen]), np.ones(len(inside))])
            inner_23 = np.linalg.lstsq(now, inside, rcond=None)[0].T
            found.append(MovedGap(was, gone(was, before, after, least), inner_23))
        return tuple(found)

    def _gaps(self, vertices_V3: Tensor) -> tuple[Gap, ...]:
        points = self._pixels(self.heads.correspondence.points(vertices_V3[None])[0])
        # Speech is solved for at these very vertices.
        lips = self._pixels(vertices_V3[list(LIPS_INNER)])
        return (
            Gap.between(lips[list(UPPER_INNER)], lips[list(LOWER_INNER)]),
            *(gap_of(points, eye) for eye in EYE_GAPS),
        )

    def _pixels(self, points_N3: Tensor) -> np.ndarray:
        return project(points_N3[None], self.camera_px_3[None])[0].double().numpy()


def _inner(heads: Heads) -> tuple[Tensor, ...]:
    """Vertices of the upper teeth, and of the front of each eye."""
    model = heads.model
    teeth, eyes = (model.faces_T3[model.part(*parts)].unique() for parts in (("teeth",), ("iris", "sclera")))
    opens_V3 = model.expression_EV3[heads.names.index(OPENS)]
    upper = teeth[opens_V3[teeth].norm(dim=1) < STAYS_MM]
    x, _, z = model.mean_V3[eyes].unbind(1)
    front = z > (z.min() + z.max()) / 2
    # The subject's right is on the picture's left, and below 0.
    return upper, eyes[front & (x < 0)], eyes[front & (x > 0)]
