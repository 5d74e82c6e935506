"""Parts of a face in a picture, by mediapipe's landmarks: nose, eyes, mouth, brow, cheeks, and the rest.

Each part is the union of convex outlines of some landmarks. A pixel belongs to the first part that has it, so parts do
not overlap; what lies in none of them (forehead, temples, chin, jaw) is the rest.

Shapes: N landmarks, R regions, S x S pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull
from torch import Tensor

from jdap.batch import ImageBatch
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker

#: Part → outlines, in the order in which parts take pixels; right and left.
OUTLINES: dict[str, tuple[tuple[int, ...], ...]] = {
    "eyes": (
        (226, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25),
        (446, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255),
    ),
    "nose": ((168, 193, 417, 122, 351, 198, 420, 129, 358, 49, 279, 98, 327, 97, 326, 2, 94, 4),),
    "mouth": ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),),
    "brow": (
        (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
        (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
        (107, 55, 8, 285, 336, 9),
    ),
    "cheeks": (
        (116, 117, 118, 119, 100, 142, 36, 206, 216, 207, 187, 147, 123),
        (345, 346, 347, 348, 329, 371, 266, 426, 436, 427, 411, 376, 352),
    ),
}
REST_OF_FACE = "rest"
REGIONS = (*OUTLINES, REST_OF_FACE)
#: Faces are looked for in pictures of this side: those of 128² are enlarged.
FINDING_SIDE_PX = 512


def find_landmarks(landmarker: Landmarker, rgb_B3HW: Tensor) -> np.ndarray:
    """mediapipe's landmarks (B, 468, 3) of pictures in [-1, 1], in their pixels; NaN where no face is found."""
    large = F.interpolate(rgb_B3HW.float().cpu(), (FINDING_SIDE_PX, FINDING_SIDE_PX), mode="bicubic").clamp(-1, 1)
    pixels = ((large + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    points = np.full((len(pixels), FACE_LANDMARKS, 3), np.nan)
    for one, picture in zip(points, pixels, strict=True):
        if faces := landmarker.find(picture):
            one[...] = faces[0].landmarks_px_N3[:FACE_LANDMARKS]
    height, width = rgb_B3HW.shape[-2:]
    return points * (np.array([width, height, width]) / FINDING_SIDE_PX)


def find_regions(landmarker: Landmarker, batch: ImageBatch) -> Tensor:
    """(B, R, S, S) bool in the order of :data:`REGIONS`; nothing of a picture in which no face is found."""
    side = batch.rgb.shape[-1]
    found = np.zeros((len(batch), len(REGIONS), side, side), bool)
    for regions, points in zip(found, find_landmarks(landmarker, batch.rgb), strict=True):
        if np.isfinite(points).all():
            regions[...] = render_regions(points, side)
    return torch.from_numpy(found).to(batch.rgb.device)


def render_regions(landmarks_px_N: np.ndarray, size: int) -> np.ndarray:
    """(R, S, S) bool in the order of :data:`REGIONS`, from landmarks (N, 2 or 3) in pixels of the picture."""
    points = landmarks_px_N[:, :2].astype(np.float64)
    free, regions = np.ones((size, size), bool), []
    for outlines in OUTLINES.values():
        inside = np.zeros((size, size), bool)
        for outline in outlines:
            some = points[list(outline)]
            inside |= _filled(some[ConvexHull(some).vertices], size)
        regions.append(inside & free)
        free &= ~inside
    return np.stack([*regions, free])


def _filled(corners_P2: np.ndarray, size: int) -> np.ndarray:
    picture = Image.new("1", (size, size))
    # Pillow's coordinates name pixels by their middle; ours by their corner.
    ImageDraw.Draw(picture).polygon([(x - 0.5, y - 0.5) for x, y in corners_P2.tolist()], fill=1)
    return np.asarray(picture)
