"""How pictures are changed that are given for their depth alone."""

from __future__ import annotations

from dataclasses import dataclass

from jdap.stages.settings.checks import check_shares


@dataclass(frozen=True)
class GivenSettings:
    """How pictures are changed that are given for their depth, never those that a model learns to draw.

    The studio draws sharp, clean pictures in colour; photos are often none of it.

    Args:
        grey: share, 0 … 1, that loses its colours.
        camera: strength, 0 … 1, of blur, coarse pixels and noise (:func:`jdap.stages.parts.lens.photograph`).
    """

    grey: float = 0.0
    camera: float = 0.0

    def __post_init__(self) -> None:
        check_shares("given", grey=self.grey, camera=self.camera)
