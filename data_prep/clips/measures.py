"""How the scores of every frame are measured; what they mean and where the thresholds lie: docs/data.md.

Shapes: F frames, N landmarks, B blendshapes, E expressions, H x W pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import laplace

from data_prep.fit.fit import Fit
from jdap.faces.landmarker import FACE_LANDMARKS, face_box, face_width_px
from jdap.geometry import head_angles_deg
from jdap.units import FPS

FACE_GRID = 128
#: Landmarks on bare skin, right and left: forehead, under the eyes, cheeks, nose, round the mouth, chin, jaw.
SKIN_POINTS = (
    *(10, 151, 9, 8, 67, 297, 109, 338, 69, 299, 108, 337, 117, 346, 118, 347, 50, 280, 101, 330, 36, 266, 205, 425),
    *(187, 411, 123, 352, 1, 4, 5, 195, 197, 6, 48, 278, 115, 344, 164, 165, 391, 92, 322, 199, 175, 200, 18, 83, 313),
    *(182, 406, 140, 369, 32, 262, 171, 396, 172, 397, 136, 365, 150, 379, 149, 378, 58, 288, 215, 435, 138, 367),
    *(192, 416, 214, 434),
)
#: What the others are compared with: between and above the eyes, which masks and hands at the mouth leave free.
BARE_POINTS = (9, 8, 168, 6, 151, 193, 417, 122, 351)
#: Log chroma (R/G, B/G) farther than this from the bare skin's, or less than this share of its light, is no skin of it;
CHROMA_FAR, DARK = 0.35, 0.4
#: nor is what is less far and less dark, but both. Dark hair is, the shadows of a lit face mostly are not.
CHROMA_OFF, DIM = 0.12, 0.5
#: Every so many pixels are compared; pictures in which none of them differs by more than this, of 255, are the same.
PIXEL_STEP, SAME_LEVELS = 4, 2


def appearance(frame: np.ndarray, landmarks_px: np.ndarray) -> tuple[float, float]:
    """(sharpness, brightness) of a face with landmarks (N, 2 or 3) in a frame (H, W, 3) uint8; NaN outside of it."""
    height, width = frame.shape[:2]
    box = face_box(landmarks_px)
    low, high = box[:2].clip(0), np.minimum(box[2:], [width, height])
    if not (high - low >= 2).all():
        return float("nan"), float("nan")
    left, top, right, bottom = (int(x) for x in (*low, *high))
    face = Image.fromarray(frame[top:bottom, left:right]).convert("L").resize((FACE_GRID, FACE_GRID))
    grey = np.asarray(face, np.float32)
    return float(laplace(grey).var()), float(grey.mean() / 255)


def colours_at(frame: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """(N, 3) uint8: the frame (H, W, 3) at landmarks (N, 2 or 3), mean of 3 x 3 pixels; at its edge where outside."""
    x, y = landmarks_px[:, :2].astype(int).T
    steps = np.arange(-1, 2)
    columns = (x[:, None] + steps).clip(0, frame.shape[1] - 1)
    rows = (y[:, None] + steps).clip(0, frame.shape[0] - 1)
    return frame[rows[:, :, None], columns[:, None, :]].mean((1, 2)).astype(np.uint8)


def occluded(colours_FN3: np.ndarray) -> np.ndarray:
    """(F,) share of :data:`SKIN_POINTS` (colours uint8 at all landmarks) that do not look like the face's bare skin.

    Bare is the median over the clip of :data:`BARE_POINTS`. A hand of the same skin is not told apart, and a dark beard
    counts as covering.
    """
    rgb = colours_FN3.astype(np.float64) + 4
    chroma, light = np.log(rgb[..., (0, 2)] / rgb[..., 1:2]), rgb.mean(-1)
    bare = list(BARE_POINTS)
    usual, usual_light = np.median(chroma[:, bare], (0, 1)), np.median(light[:, bare])
    skin = list(SKIN_POINTS)
    apart, lit = np.linalg.norm(chroma[:, skin] - usual, axis=-1), light[:, skin] / usual_light
    covered = (apart > CHROMA_FAR) | (lit < DARK) | ((apart > CHROMA_OFF) & (lit < DIM))
    return covered.mean(1).astype(np.float32)


def outside(landmarks_px_FN: np.ndarray, width: int, height: int) -> np.ndarray:
    """(F,) share of a face's landmarks (F, N, 2 or 3) that lie outside of the picture: what nobody saw."""
    points = landmarks_px_FN[..., :FACE_LANDMARKS, :2]
    return ((points < 0) | (points > [width, height])).any(-1).mean(-1).astype(np.float32)


def repeats(frame: np.ndarray, before: np.ndarray | None) -> bool:
    """Whether a picture (H, W, 3) shows nothing new: shown again, or coded again without a change."""
    if before is None or frame is before:
        return before is not None
    step = PIXEL_STEP
    apart = frame[::step, ::step].astype(np.int16) - before[::step, ::step]
    return bool(np.abs(apart).max() <= SAME_LEVELS)


def crowded(windows_px_F3: np.ndarray, beside: list[np.ndarray]) -> np.ndarray:
    """(F,) share of each crop (left, top, size) that boxes (M, 4) of other faces cover, at most 1."""
    shares = []
    for (left, top, size), boxes in zip(windows_px_F3, beside, strict=True):
        sides = np.minimum(boxes[:, 2:], [left + size, top + size]) - np.maximum(boxes[:, :2], [left, top])
        shares.append(min(1.0, float(sides.clip(0).prod(1).sum()) / size**2))
    return np.array(shares, np.float32)


def motion(landmarks_px_FN: np.ndarray) -> np.ndarray:
    """(F,) speed of the face's centre in the picture, in face widths a second; the first frame as the second."""
    centre, width = landmarks_px_FN[..., :2].mean(1), face_width_px(landmarks_px_FN)
    if len(centre) < 2:
        return np.zeros(len(centre), np.float32)
    speed = np.linalg.norm(np.diff(centre, axis=0), axis=-1) / width[1:] * FPS
    return np.concatenate([speed[:1], speed]).astype(np.float32)


def eyes_open(blendshapes_FB: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(F,) 1 − the mean of mediapipe's blinks (F, B), 0 … 1."""
    blinks = [blendshapes_FB[:, names.index(f"eyeBlink{side}")] for side in ("Left", "Right")]
    return (1 - np.mean(blinks, 0)).astype(np.float32)


def picture_hash(rgb_SS3: np.ndarray) -> bytes:
    """8 bytes that stay the same when a picture (S, S, 3) is coded anew or resized: is each of 8 x 8 tiles brighter
    than its neighbour to the right?

    Krawetz, "Kind of like that", 2013 (difference hash).
    """
    grey = Image.fromarray(rgb_SS3).convert("L").resize((9, 8), Image.Resampling.BOX)
    tiles = np.asarray(grey, np.int16)
    return np.packbits(tiles[:, :-1] > tiles[:, 1:]).tobytes()


def fit_scores(fit: Fit) -> dict[str, np.ndarray]:
    """The scores that follow from a fit."""
    angles = head_angles_deg(fit.rotation_F3.cpu()).numpy()
    error = fit.error_FN.cpu()
    scores = {
        "face_px": fit.width_px_F.cpu().numpy(),
        "yaw_deg": angles[:, 0],
        "pitch_deg": angles[:, 1],
        "roll_deg": angles[:, 2],
        "fit_error": error.median(1).values.numpy(),
        "fit_error_p95": error.quantile(0.95, dim=1).numpy(),
        "fit_rms": error.square().mean(1).sqrt().numpy(),
        "jitter_mm": fit.jitter_mm_F.cpu().numpy(),
        "identity_spread": np.full(len(error), fit.identity_spread),
    }
    return {name: values.astype(np.float32) for name, values in scores.items()}
