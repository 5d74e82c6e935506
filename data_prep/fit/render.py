"""Depth maps of a fitted head: z-depth of everything the renderer sees, and the skin where it can be believed.

Depth is drawn for the whole head (skin, eyes, teeth, mouth, neck): holes and cut-out edges cost an image codec most of
its capacity. The skin mask is stricter: visible skin triangles inside mediapipe's face oval, where landmarks hold the
fit to the picture. Ears, scalp and neck follow from the model alone and are often hidden by hair.

Shapes: F frames, K identity modes, E expressions, T triangles, S = size of the picture in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.fit.spread import DepthSpread, confidence
from data_prep.head.landmarks import Correspondence, oval_region
from data_prep.head.model import MorphableModel, head_to_camera
from jdap.shape.rasterise import rasterise

#: Frames drawn at a time: bounds memory (a few 100 MB on the CPU).
FRAMES_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class DepthMaps:
    """``depth_mm_FHW`` float32 z-depth in millimetres, 0 = none; ``skin_FHW`` bool: believable skin;
    ``spread_mm_FHW`` float32: how far depth may be off there (:mod:`data_prep.fit.spread`), 0 = not known, or None.
    """

    depth_mm_FHW: np.ndarray
    skin_FHW: np.ndarray
    spread_mm_FHW: np.ndarray | None = None

    @property
    def confidence_FHW(self) -> np.ndarray | None:
        """float32 in [0, 1], 0 off the believable skin: what shards store (:mod:`jdap.shards.schema`); None without
        spread."""
        if self.spread_mm_FHW is None:
            return None
        trust = np.zeros_like(self.spread_mm_FHW)
        for of_frame, spread_mm, skin in zip(trust, self.spread_mm_FHW, self.skin_FHW, strict=True):
            of_frame[skin] = confidence(torch.from_numpy(spread_mm[skin])).numpy()
        return trust


class HeadRenderer:
    """Draws depth maps of heads of one model; ``region_T`` bool are the triangles whose depth is believed."""

    def __init__(self, model: MorphableModel, correspondence: Correspondence):
        self.model = model.drawn()
        self.region_T = oval_region(self.model, correspondence)
        self._spread = DepthSpread(self.model, self.region_T)

    def render(
        self,
        identity_K: Tensor,
        expression_FE: Tensor,
        rotation_F3: Tensor,
        translation_mm_F3: Tensor,
        camera_px_F3: Tensor,
        size: int,
        covariance_KK: Tensor | None = None,
    ) -> DepthMaps:
        """Depth maps of F posed heads, by cameras (f, cx, cy) in pixels of the picture; on the model's device.

        ``covariance_KK`` of the identity, as a :class:`data_prep.fit.fit.Fit` has it, asks for the spread of depth too.
        """
        shape = (len(rotation_F3), size, size)
        depth, skin = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        spread = None if covariance_KK is None else np.zeros(shape, np.float32)
        spread_of = None if covariance_KK is None else self._spread.of(covariance_KK)
        still = self.model.vertices(identity_K[None], torch.zeros_like(expression_FE[:1]))
        for part in torch.arange(len(rotation_F3)).split(FRAMES_AT_ONCE):
            vertices = still + (expression_FE[part] @ self.model.expression_EV3.flatten(1)).unflatten(1, (-1, 3))
            posed = head_to_camera(vertices, rotation_F3[part], translation_mm_F3[part])
            # A head is closed, seen from the front: what turns its back is hidden, and 40 % of the work.
            fragments = rasterise(
                posed, self.model.faces_T3, camera_px_F3[part].to(posed), size, size, cull_back_faces=True
            )
            own = slice(int(part[0]), int(part[-1]) + 1)
            depth[own] = fragments.depth_mm.cpu().numpy()
            believed = fragments.samples(self.region_T)
            places = believed.pixel_N.cpu().numpy()
            skin[own].reshape(-1)[places] = True
            if spread is not None and spread_of is not None:
                of_vertex = spread_of(posed, rotation_F3[part])[..., None]
                of_pixel = believed.interpolate(self.model.faces_T3, of_vertex)[:, 0]
                spread[own].reshape(-1)[places] = of_pixel.cpu().numpy()
        return DepthMaps(depth, skin, spread)

    def render_mean(
        self, rotation_F3: Tensor, translation_mm_F3: Tensor, camera_px_F3: Tensor, size: int
    ) -> np.ndarray:
        """(F, size, size) float32: depth of the mean head without expression in these poses: a baseline."""
        none = rotation_F3.new_zeros(1)
        still = rotation_F3.new_zeros(len(rotation_F3), len(self.model.expression_names))
        return self.render(none, still, rotation_F3, translation_mm_F3, camera_px_F3, size).depth_mm_FHW
