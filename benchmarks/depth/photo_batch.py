"""Photos as methods of depth see them: a batch that also carries what was fitted to each face, and the face's regions.

Shapes: B pictures, R regions, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from jdap.batch import ImageBatch

if TYPE_CHECKING:
    from jdap.pipelines.fitted import FittedDepth


@dataclass(frozen=True)
class PhotoBatch(ImageBatch):
    """An :class:`jdap.batch.ImageBatch` of photos, each its own reference, and what their landmarks alone say.

    ``mean_head_mm`` is the mean head in the fitted pose. As it, these are (B, 1, H, W) float32 z-depth, 0 = no value:

    * ``expressive_head_mm``: the mean head with the fitted pose and expression
    * ``landmarks_mm``: the surface of mediapipe's landmarks by their own z, up to scale
    * ``fitted_head_mm``: the head fitted to this picture alone, as preparation fits it

    ``head_relief`` and ``head_face`` (B, 1, H, W): the fitted heads that our weights better, if they do, as
    :class:`jdap.pipelines.fitted.FittedDepth` has them.

    ``regions`` (B, R, H, W) bool: parts of the face, :data:`benchmarks.depth.regions.REGIONS`.
    """

    expressive_head_mm: Tensor | None = None
    landmarks_mm: Tensor | None = None
    fitted_head_mm: Tensor | None = None
    head_relief: Tensor | None = None
    head_face: Tensor | None = None
    regions: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        b, _, h, w = self.rgb.shape
        for name in ("expressive_head_mm", "landmarks_mm", "fitted_head_mm", "head_relief"):
            if getattr(self, name) is not None:
                self._check(name, (b, 1, h, w), self.depth_mm.dtype)
        if self.regions is not None and self.regions.shape != (b, self.regions.shape[1], h, w):
            raise ValueError(f"PhotoBatch.regions must be ({b}, R, {h}, {w}), got {tuple(self.regions.shape)}")

    @property
    def fitted(self) -> FittedDepth | None:
        """The fitted heads that our weights better."""
        if self.head_relief is None or self.head_face is None:
            return None
        from jdap.pipelines.fitted import FittedDepth  # with networks' parts, which baselines do without

        return FittedDepth(self.head_relief, self.head_face)
