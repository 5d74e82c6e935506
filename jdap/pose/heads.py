"""The head model fitted to a photo, and the same head with another expression and pose.

This room alone of jdap knows the head model of data preparation (:mod:`data_prep.head`, :mod:`data_prep.fit`), which
comes with the same package; the model's file is downloaded when it is first needed.

Shapes: V vertices, T triangles, N landmarks, E expressions, F frames, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree
from torch import Tensor

from data_prep.fit.fit import (
    CHEEKS,
    PHOTO_FACE_MM,
    FitSettings,
    Observed,
    default_camera,
    expression_prior,
    fit_tracks,
)
from data_prep.fit.lens import believable
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence, load_correspondence, oval_region
from data_prep.head.model import MorphableModel, load_ict
from jdap.faces.landmarker import Face, Landmarker
from jdap.geometry import PinholeCamera, axis_angle_to_matrix, head_rotation
from jdap.pose.change import Change, PoseError
from jdap.pose.gaps import Gap, gaps_of

#: The head turns about the middle between its ears, in head space, mm.
PIVOT_MM = (0.0, -10.0, 15.0)
#: mediapipe's chin; what of the neck lies so far under it does not move with the head.
LOWEST, NECK_MM = 152, 12.0
#: How smooth the correction is that brings the fitted head onto the landmarks; over how many mm it ends beside them.
SMOOTHING_MM, ENDS_MM = 8.0, 35.0
#: What is seen through an open mouth and between eyelids.
IN_MOUTH, IN_EYES = ("teeth", "gums_tongue", "mouth_socket"), ("sclera", "iris", "eye_socket")


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head in a square picture of ``size`` pixels.

    * ``shape_V3``: the person without expression, head space, mm; what landmarks see beside the model is in it
    * ``expression_E`` in [0, 1]; ``rotation_33`` head axes to the camera's; ``translation_mm_3``
    * ``camera_px_3``: focal length and principal point in the picture's pixels
    * ``error``: how far landmarks were off before they were corrected, rms, as a share of the face's width
    * ``gaps_px``: between what lines the picture shows mouth and eyes (:mod:`jdap.pose.gaps`); none of a head that is
      known exactly
    """

    shape_V3: Tensor
    expression_E: Tensor
    rotation_33: Tensor
    translation_mm_3: Tensor
    camera_px_3: Tensor
    size: int
    error: float
    gaps_px: tuple[Gap, ...] = ()

    @property
    def camera(self) -> PinholeCamera:
        """That of the picture."""
        f_px, cx_px, cy_px = self.camera_px_3.tolist()
        return PinholeCamera(f_px, cx_px, cy_px, self.size, self.size)

    @property
    def pivot_mm_3(self) -> Tensor:
        """The middle about which the head turns, camera space, mm."""
        return self.rotation_33 @ torch.tensor(PIVOT_MM) + self.translation_mm_3

    @property
    def sight_33(self) -> Tensor:
        """The shortest turn that takes the camera's optical axis to the head: the axes of one who looks at it."""
        ray = F.normalize(self.pivot_mm_3, dim=0)
        axis = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), ray)
        return axis_angle_to_matrix(F.normalize(axis, dim=0) * torch.atan2(axis.norm(), ray[2]))

    @property
    def seen_33(self) -> Tensor:
        """The pose that one sees: head axes to those of one who looks at it, wherever in a photo the head is."""
        return self.sight_33.T @ self.rotation_33


@dataclass(frozen=True, eq=False)
class Acting:
    """A performance: ``expression_FE`` in [0, 1], ``rotation_F33``; ``missing`` frames had no face."""

    expression_FE: Tensor
    rotation_F33: Tensor
    missing: int


class Heads:
    """Fits heads, and poses them. ``landmarker`` finds the faces and stays its owner's.

    Raises :class:`jdap.io.fetch.AssetError` where the head model cannot be had.
    """

    def __init__(self, landmarker: Landmarker) -> None:
        self.landmarker = landmarker
        self.model: MorphableModel = load_ict().drawn()
        self.correspondence: Correspondence = load_correspondence()
        mean, faces = self.model.mean_V3, self.model.faces_T3
        chin = self.correspondence.points(mean[None])[0, LOWEST, 1]
        #: Triangles that move with the head; the neck is between them and what stays.
        self.moves_T = mean[faces].mean(1)[:, 1] > chin - NECK_MM
        #: Those of the face, where landmarks hold the model to the picture, with its eyes and mouth.
        self.face_T = oval_region(self.model, self.correspondence) | self.model.part(*IN_MOUTH, *IN_EYES)
        self.mouth_T, self.eyes_T = self.model.part(*IN_MOUTH), self.model.part(*IN_EYES)
        #: Each vertex' fellow on the other half of the head.
        self.mirror_V = torch.from_numpy(
            cKDTree(mean.numpy()).query((mean * torch.tensor([-1.0, 1.0, 1.0])).numpy())[1]
        )
        # Lips and lids apart, or what is known of one would leak into the other.
        names = self.model.expression_names
        self._apart_V3 = mean + self.model.expression_EV3[names.index("jawOpen")]

    @property
    def names(self) -> tuple[str, ...]:
        """Expressions that can be set."""
        return self.model.expression_names

    def find(self, rgb_SS3: np.ndarray) -> Face | None:
        """The face of a square picture (S, S, 3) uint8: of several the one nearest to the middle."""
        middle = rgb_SS3.shape[0] / 2
        faces = self.landmarker.detect(rgb_SS3)
        return min(faces, key=lambda f: np.linalg.norm(f.landmarks_px_N3[:, :2].mean(0) - middle), default=None)

    def fit(self, rgb_SS3: np.ndarray, camera: PinholeCamera | None = None, *, corrected: bool = True) -> FittedHead:
        """The head in a square picture (S, S, 3) uint8; ``camera`` is the picture's, if it is known and believable.

        It is ``corrected`` to lie on the landmarks, or as the model has it. Raises :class:`PoseError` where there is no
        face.
        """
        if (face := self.find(rgb_SS3)) is None:
            raise PoseError("no face is found in the head's window, so that no head can be fitted")
        return self.fit_face(face, rgb_SS3.shape[0], camera, corrected=corrected)

    def fit_face(
        self, face: Face, size: int, camera: PinholeCamera | None = None, *, corrected: bool = True
    ) -> FittedHead:
        """The head of a face that was found in a picture of ``size`` pixels a side, as :meth:`fit` has it."""
        seen = self._observed([face], size, size, camera)
        (found,) = fit_tracks([seen], self.model, self.correspondence, FitSettings().unordered())
        rotation = head_rotation(found.rotation_F3[0])
        shape = self.model.vertices(found.identity_K[None], torch.zeros(1, len(self.names)))[0]
        head = FittedHead(
            shape,
            found.expression_FE[0],
            rotation,
            found.translation_mm_F3[0],
            seen.camera.as_tensor(),
            size,
            float(found.error_FN.square().mean().sqrt()),
            gaps_of(face.landmarks_px_N3[:, :2]),
        )
        if not corrected:
            return head
        return replace(head, shape_V3=shape + self._correction(head, found.residual_px_FN2[0]))

    def follow(self, frames: Iterable[np.ndarray], fps: float) -> Acting:
        """The performance of the face in a video's frames (H, W, 3) uint8, all of one size.

        Frames without a face take their neighbours'. Raises :class:`PoseError` where none has one.
        """
        faces: list[Face | None] = []
        height = width = 0
        with Landmarker(video=True) as landmarker:
            for k, rgb in enumerate(frames):
                height, width = rgb.shape[:2]
                found = landmarker.detect(rgb, round(1000 * k / fps))
                faces.append(max(found, key=lambda f: float(np.ptp(f.landmarks_px_N3[:, 0])), default=None))
        seen = [k for k, face in enumerate(faces) if face is not None]
        if not seen:
            raise PoseError("no face is found in any frame")
        observed = self._observed([face for face in faces if face is not None], width, height, None)
        (found_track,) = fit_tracks([observed], self.model, self.correspondence, FitSettings())
        at = np.abs(np.arange(len(faces))[:, None] - np.array(seen)[None]).argmin(1)
        turn = head_rotation(found_track.rotation_F3)
        return Acting(found_track.expression_FE[at], turn[at], len(faces) - len(seen))

    def vertices(self, head: FittedHead, change: Change | None = None) -> Tensor:
        """(V, 3) camera space, mm: the head as it is in the picture, or changed.

        Raises :class:`PoseError` for an expression that there is not.
        """
        change = change or Change()
        return self.place(head, change.on(head.expression_E, self.names), change.rotation())

    def place(self, head: FittedHead, expression_E: Tensor, turn_33: Tensor) -> Tensor:
        """(V, 3) camera space, mm: the head with an expression, turned about its middle in the axes of its sight."""
        local = self._with(head, expression_E)
        turn = head.sight_33 @ turn_33 @ head.sight_33.T
        return (local - torch.tensor(PIVOT_MM)) @ (turn @ head.rotation_33).T + head.pivot_mm_3

    def acting(self, head: FittedHead, other: FittedHead) -> Tensor:
        """(V, 3) space of the other's camera, mm: the head with the expression of another, in its place."""
        return self._with(head, other.expression_E) @ other.rotation_33.T + other.translation_mm_3

    def _with(self, head: FittedHead, expression_E: Tensor) -> Tensor:
        """(V, 3) head space, mm: the head with an expression."""
        return head.shape_V3 + (expression_E @ self.model.expression_EV3.flatten(1)).view_as(head.shape_V3)

    def _correction(self, head: FittedHead, residual_px_N2: Tensor) -> Tensor:
        """(V, 3) head space, mm: what brings the head's landmarks onto those that were seen, smooth over the skin.

        A texture that is taken a little beside the lips would tear there when they open.
        """
        points = self.correspondence.points(self.vertices(head)[None])[0]
        off = torch.cat([-residual_px_N2 * points[:, 2:] / head.camera_px_3[0], torch.zeros(len(points), 1)], 1)
        at = self.correspondence.points(self._apart_V3[None])[0].numpy()
        smoothing = SMOOTHING_MM / self.correspondence.trust_N.numpy()
        spread = RBFInterpolator(at, (off @ head.rotation_33).numpy(), kernel="linear", smoothing=smoothing)
        distance, _ = cKDTree(at).query(self._apart_V3.numpy())
        fading = np.exp(-((distance / ENDS_MM) ** 2))[:, None]
        return torch.from_numpy((spread(self._apart_V3.numpy()) * fading).astype(np.float32))

    def _observed(self, faces: list[Face], width: int, height: int, camera: PinholeCamera | None) -> Observed:
        landmarks = torch.from_numpy(np.stack([face.landmarks_px_N3[:LANDMARK_COUNT] for face in faces]))
        across = float((landmarks[:, CHEEKS[0], :2] - landmarks[:, CHEEKS[1], :2]).norm(dim=-1).median())
        if camera is None or not believable(camera.f_px, across):
            camera = default_camera(width, height, across, PHOTO_FACE_MM)
        scores = torch.from_numpy(np.stack([face.blendshapes_B for face in faces]))
        return Observed(landmarks, expression_prior(scores, faces[0].names, self.model), camera)
