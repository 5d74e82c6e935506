"""What a face looks like, as numbers in which pictures of one person lie near each other.

The network is dlib's face recognition ResNet (its weights are CC0), trained on photographs of real people: 128 numbers
of an aligned crop; 0.6 is its authors' threshold for photographs. It is an extra, ``jdap[identity]``. In its place a
file of ONNX may be named (:mod:`jdap.faces.embedding_onnx`).

Faces are not looked for. Whoever asks gives landmarks, so that a picture that was drawn for a known geometry is cropped
as the true one was, and a failed drawing still has an embedding.

Shapes: B pictures, H x W pixels, N landmarks, E = 128 numbers of an embedding.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.faces import crop
from jdap.faces.embedding_onnx import OnnxEmbedder
from jdap.faces.landmarker import FACE_LANDMARKS

#: mediapipe's landmarks in the order of dlib's five: outer and inner corner of the eye at the picture's right, of the
#: one at its left, and the nose's base.
FIVE_POINTS = (263, 362, 33, 133, 2)
#: Pictures are enlarged to this side before dlib cuts its crop of 150 pixels out of them: the landmarks' points are
#: whole pixels there.
IDENTITY_SIDE_PX = 512
CHIP_PX, CHIP_PADDING = 150, 0.25


class IdentityError(ImportError):
    """The embedding network is not installed; the message says how to get it."""


class Embedder(Protocol):
    """Faces → embeddings that lie nearer together the more likely they are of one person; ``name`` says by what."""

    name: str

    def __call__(self, rgb_B3HW: Tensor, landmarks_px_BN2: np.ndarray) -> Tensor:
        """(B, E) float32 of pictures (B, 3, H, W) in [-1, 1] and mediapipe's landmarks (B, N, 2) in their pixels."""


def load_embedder(path: Path | None = None) -> Embedder:
    """dlib's network, or the one of a file of ONNX.

    Raises :class:`jdap.faces.embedding_onnx.EmbedderError` for a file that is no network for faces, and ImportError,
    with the extra to install, where what it is run by is not there.
    """
    return FaceEmbedder() if path is None else OnnxEmbedder(path)


class FaceEmbedder:
    """Embeddings of faces, on the CPU. Raises :class:`IdentityError` where dlib or its weights are not installed."""

    name = "dlib's ResNet"

    def __init__(self) -> None:
        try:
            import dlib

            weights = files("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
        except ImportError as error:
            raise IdentityError(
                f"embeddings of faces need dlib and its recognition weights ({error}): pip install 'jdap[identity]'"
            ) from error
        self._dlib: Any = dlib
        self._network = dlib.face_recognition_model_v1(str(weights))

    def __call__(self, rgb_B3HW: Tensor, landmarks_px_BN2: np.ndarray) -> Tensor:
        """Embeddings (B, E) float32 of pictures (B, 3, H, W) in [-1, 1].

        ``landmarks_px`` (B, N, 2) are mediapipe's, N ≥ 468, in pixels of the pictures.
        """
        scale = IDENTITY_SIDE_PX / np.array([rgb_B3HW.shape[-1], rgb_B3HW.shape[-2]])
        large = F.interpolate(rgb_B3HW.float().cpu(), (IDENTITY_SIDE_PX, IDENTITY_SIDE_PX), mode="bicubic").clamp(-1, 1)
        pixels = ((large + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        chips = [self._chip(p, x[:, :2] * scale) for p, x in zip(pixels, landmarks_px_BN2, strict=True)]
        if not chips:
            return torch.zeros(0, 128)
        return torch.from_numpy(np.array(self._network.compute_face_descriptor(chips), dtype=np.float32))

    def of_photo(self, rgb_HW3: np.ndarray, landmarks_px_N3: np.ndarray) -> np.ndarray:
        """Embedding (E,) float32 of one face of a photo (H, W, 3) uint8 of any size, by its landmarks (N, 2 or 3)."""
        points = landmarks_px_N3[:FACE_LANDMARKS]
        window = crop.head_window(points, rgb_HW3.shape[1], rgb_HW3.shape[0])
        small = torch.from_numpy(crop.crop_frame(rgb_HW3, window, IDENTITY_SIDE_PX).copy())
        around = crop.to_window(points[None, :, :2], window[None], IDENTITY_SIDE_PX)
        found: np.ndarray = self(small.permute(2, 0, 1)[None] / 127.5 - 1, around)[0].numpy()
        return found

    def _chip(self, pixels_HW3: np.ndarray, landmarks_px_N2: np.ndarray) -> np.ndarray:
        dlib = self._dlib
        points = [dlib.point(*np.rint(landmarks_px_N2[k]).astype(int).tolist()) for k in FIVE_POINTS]
        low, high = (np.rint(f(0)).astype(int).tolist() for f in (landmarks_px_N2.min, landmarks_px_N2.max))
        face = dlib.full_object_detection(dlib.rectangle(*low, *high), points)
        return dlib.get_face_chip(pixels_HW3, face, size=CHIP_PX, padding=CHIP_PADDING)
