"""What the landmarks of one photo say of its depth: mean heads, the fitted head, and mediapipe's own surface.

The fits are those of preparation (:mod:`data_prep.fit.fit`) for a picture by itself; mean heads are fits whose
identity, or identity and expression, are held at the mean, so that each has the pose that suits it best.

Shapes: N landmarks, S x S pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from data_prep.convert.derive import read_obj
from data_prep.fit.fit import (
    CHEEKS,
    FACE_WIDTH_MM,
    FitSettings,
    Observed,
    expression_prior,
    fit_tracks,
)
from data_prep.fit.lens import photo_camera
from data_prep.fit.render import HeadRenderer
from data_prep.head import assets
from data_prep.head.landmarks import LANDMARK_COUNT, load_correspondence
from data_prep.head.model import load_ict
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Face, Landmarker, face_width_px
from jdap.geometry import PinholeCamera, head_angles_deg
from jdap.shape.rasterise import rasterise

#: A prior so tight that it holds.
HELD_SD = 1e-3
#: mediapipe's surface is put so far away, mm: scale and shift are taken out again.
FAR_MM = 1000.0
#: Faces are looked for in small pictures at this size.
FACE_LOOK_PX = 512
#: Field of a photo batch → how its head is fitted.
FITS = {
    "mean_head_mm": replace(FitSettings().unordered(), identity_sd=HELD_SD, expression_sd=HELD_SD),
    "expressive_head_mm": replace(FitSettings().unordered(), identity_sd=HELD_SD),
    "fitted_head_mm": FitSettings().unordered(),
}


def face_of(landmarker: Landmarker, rgb_3SS: Tensor) -> Face | None:
    """The widest face in a small picture in [0, 1] or None; landmarks in pixels of :data:`FACE_LOOK_PX`."""
    large = torch.nn.functional.interpolate(rgb_3SS[None], (FACE_LOOK_PX, FACE_LOOK_PX), mode="bicubic").clamp(0, 1)[0]
    faces = landmarker.detect((large * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
    return max(faces, key=lambda face: float(face_width_px(face.landmarks_px_N3[:FACE_LANDMARKS])), default=None)


def face_camera(
    landmarks_px_N3: np.ndarray, width: int, height: int, focal_px: float | None = None
) -> tuple[PinholeCamera, float]:
    """The camera that a photo of this size is taken by, for all that is known (``focal_px``: by EXIF), and how far off
    its face then is, mm."""
    left, right = landmarks_px_N3[list(CHEEKS), :2]
    across = float(np.linalg.norm(left - right))
    camera, _ = photo_camera(width, height, across, focal_px)
    return camera, camera.f_px * FACE_WIDTH_MM / across


class HeadGuesses:
    """Fits and renders heads of single pictures on the CPU; ``fits``: field → settings."""

    def __init__(self, fits: dict[str, FitSettings] | None = None) -> None:
        self.fits = FITS if fits is None else fits
        self.model, self.correspondence = load_ict(), load_correspondence()
        self.renderer = HeadRenderer(self.model, self.correspondence)
        self._faces_T3 = torch.from_numpy(read_obj(assets.fetch("canonical_face"))[1]).long()

    def __call__(
        self,
        face: Face,
        width: int,
        height: int,
        window_px: np.ndarray,
        size: int,
        focal_px: float | None = None,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
        """Field → (S, S) float32 z-depth in mm of the window (left, top, size) of a photo of this size, 0 = no value;
        the window's camera (3,); and the yaw in degrees of the freest of the fits, NaN without any."""
        landmarks = torch.from_numpy(face.landmarks_px_N3[None, :LANDMARK_COUNT])
        camera, _ = face_camera(face.landmarks_px_N3, width, height, focal_px)
        scores = expression_prior(torch.from_numpy(face.blendshapes_B[None]), face.names, self.model)
        maps, yaw_deg = {"landmarks_mm": self._surface(landmarks, camera, window_px, size)}, float("nan")
        for field, settings in self.fits.items():
            # Held at rest, not at what mediapipe sees.
            prior = torch.zeros_like(scores) if settings.expression_sd == HELD_SD else scores
            seen = Observed(landmarks, prior, camera)
            (fitted,) = fit_tracks([seen], self.model, self.correspondence, settings)
            yaw_deg = float(head_angles_deg(fitted.rotation_F3)[0, 0])
            own = replace(camera, f_px=fitted.focal_px)
            cameras = torch.from_numpy(crop.window_cameras(own, window_px[None], size))
            pose = fitted.expression_FE, fitted.rotation_F3, fitted.translation_mm_F3
            maps[field] = self.renderer.render(fitted.identity_K, *pose, cameras, size).depth_mm_FHW[0]
        return maps, crop.window_cameras(camera, window_px[None], size)[0], yaw_deg

    def _surface(
        self, landmarks_1N3: torch.Tensor, camera: PinholeCamera, window_px: np.ndarray, size: int
    ) -> np.ndarray:
        """mediapipe's landmarks as a mesh: their z is in the scale of x, as under weak perspective."""
        centre = landmarks_1N3.new_tensor([camera.cx_px, camera.cy_px])
        depth = FAR_MM + landmarks_1N3[..., 2:] * (FAR_MM / camera.f_px)
        vertices = torch.cat([(landmarks_1N3[..., :2] - centre) / camera.f_px * depth, depth], -1)
        cameras = torch.from_numpy(crop.window_cameras(camera, window_px[None], size))
        return rasterise(vertices, self._faces_T3, cameras, size, size).depth_mm[0].numpy()
