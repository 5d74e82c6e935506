"""Whether two pictures show the same person: distances between face embeddings.

The network is dlib's face recognition ResNet (its weights are CC0), trained on photographs of real people: 128 numbers
of an aligned crop, in which pictures of one person lie near each other; 0.6 is its authors' threshold for photographs.
On drawn people distances mean something else, so whoever reports them says how well they part people there
(:func:`separation`) and gives the distances of true pictures beside.

Faces are not looked for. Whoever asks gives landmarks, so that a picture that was drawn for a known geometry is cropped
as the true one was, and a failed drawing still has a distance.

Shapes: B pictures, H x W pixels, N landmarks, E numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: mediapipe's landmarks in the order of dlib's five: outer and inner corner of the eye at the picture's right, of the
#: one at its left, and the nose's base.
FIVE_POINTS = (263, 362, 33, 133, 2)
#: Pictures are enlarged to this side before dlib cuts its crop of 150 pixels out of them: the landmarks' points are
#: whole pixels there.
IDENTITY_SIDE_PX = 512
CHIP_PX, CHIP_PADDING = 150, 0.25


class IdentityError(ImportError):
    """The embedding network is not installed; the message says how to get it."""


class FaceEmbedder:
    """Embeddings of faces, on the CPU. Raises :class:`IdentityError` where dlib or its weights are not installed."""

    def __init__(self) -> None:
        try:
            import dlib

            weights = files("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
        except ImportError as error:
            raise IdentityError(
                f"identity needs dlib and its face recognition weights ({error}): pip install 'jdap[identity]'"
            ) from error
        self._dlib: Any = dlib
        self._network = dlib.face_recognition_model_v1(str(weights))

    def __call__(self, rgb_B3HW: Tensor, landmarks_px_BN2: np.ndarray) -> Tensor:
        """Embeddings (B, 128) float32 of pictures (B, 3, H, W) in [-1, 1].

        ``landmarks_px`` (B, N, 2) are mediapipe's, N ≥ 468, in pixels of the pictures.
        """
        scale = IDENTITY_SIDE_PX / rgb_B3HW.shape[-1]
        large = F.interpolate(rgb_B3HW.float().cpu(), (IDENTITY_SIDE_PX, IDENTITY_SIDE_PX), mode="bicubic").clamp(-1, 1)
        pixels = ((large + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        chips = [self._chip(p, x * scale) for p, x in zip(pixels, landmarks_px_BN2, strict=True)]
        if not chips:
            return torch.zeros(0, 128)
        return torch.from_numpy(np.array(self._network.compute_face_descriptor(chips), dtype=np.float32))

    def _chip(self, pixels_HW3: np.ndarray, landmarks_px_N2: np.ndarray) -> np.ndarray:
        dlib = self._dlib
        points = [dlib.point(*np.rint(landmarks_px_N2[k, :2]).astype(int).tolist()) for k in FIVE_POINTS]
        low, high = (np.rint(f(0)).astype(int).tolist() for f in (landmarks_px_N2.min, landmarks_px_N2.max))
        face = dlib.full_object_detection(dlib.rectangle(*low[:2], *high[:2]), points)
        return dlib.get_face_chip(pixels_HW3, face, size=CHIP_PX, padding=CHIP_PADDING)


def distance(one_BE: Tensor, other_BE: Tensor) -> Tensor:
    """Euclidean distances (B,) of embeddings (B, E) to as many others."""
    return (one_BE - other_BE).norm(dim=-1)


def separation(embeddings_BE: Tensor, people: Sequence[str]) -> dict[str, float]:
    """How well distances tell people apart, over all pairs of pictures of B pictures with their ``people``' names.

    ``auc``: the chance that two pictures of one person are nearer than two of different people (0.5: none).
    ``d_prime``: the means' distance in units of the root mean variance. ``same``, ``different``: mean distances.
    NaN where there are no pairs of a kind.
    """
    pairs = torch.cdist(embeddings_BE.double(), embeddings_BE.double()).numpy()
    name = np.asarray(people)
    first, second = np.triu_indices(len(name), 1)
    found, one = pairs[first, second], name[first] == name[second]
    same, different = np.sort(found[one]), found[~one]
    if not len(same) or not len(different):
        return dict.fromkeys(("auc", "d_prime", "same", "different"), float("nan"))
    # Mann-Whitney: for each pair of different people the pairs of one person that are nearer, ties by half.
    nearer = (np.searchsorted(same, different, "left") + np.searchsorted(same, different, "right")) / 2
    spread = np.sqrt((same.var() + different.var()) / 2)
    return {
        "auc": float(nearer.mean() / len(same)),
        "d_prime": float((different.mean() - same.mean()) / spread) if spread > 0 else float("nan"),
        "same": float(same.mean()),
        "different": float(different.mean()),
    }
