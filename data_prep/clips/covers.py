"""Something before a face, of whatever colour: it does not look there as it usually does.

A hand has the colour of the face, so colours do not tell (:func:`data_prep.clips.measures.occluded`). But eyes, brows,
nostrils and lips are under it. The face is looked at in grey, turned and scaled by its eyes, in small blocks, and each
is compared with what the clip shows there at most times when the head is turned likewise. What is there all the time is
the face.

Shapes: F frames, N landmarks, S = :data:`SIDE` pixels.
"""

from __future__ import annotations

import numpy as np

from data_prep.video.tracks import aligned_grey

#: Pixels of the picture of a face, and of a block; blocks at its edge show what is around a face.
SIDE, BLOCK_PX = 64, 8
#: Blocks whose correlation is under this do not look alike; both are taken for flat by so much noise (grey levels).
ALIKE, GREY_NOISE = 0.3, 2.5
#: Compared with are of so many frames, spread over the clip, those that are nearest in how the head is turned.
LOOKS_SPREAD, LOOKS_NEAREST = 64, 15


def face_look(rgb_HW3: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """(S, S) uint8: the face with landmarks (N, 2 or 3) in a picture (H, W, 3) uint8, in grey, upright."""
    return aligned_grey(rgb_HW3, landmarks_px, SIDE).astype(np.uint8)


def covered(looks_FSS: np.ndarray, landmarks_px_FN3: np.ndarray, found_F: np.ndarray) -> np.ndarray:
    """(F,) float32: which share of the face does not look as it usually does; NaN where no face was ``found``."""
    score = np.full(len(looks_FSS), np.nan, np.float32)
    there = np.nonzero(found_F)[0]
    turns = head_turns(landmarks_px_FN3)
    some = there[np.unique(np.linspace(0, len(there) - 1, LOOKS_SPREAD).round().astype(int))]
    for k in there:
        near = some[np.argsort(np.linalg.norm(turns[some] - turns[k], axis=1), kind="stable")[:LOOKS_NEAREST]]
        score[k] = _unlike(looks_FSS[k], np.median(looks_FSS[near], axis=0))
    return score


def head_turns(landmarks_px_FN3: np.ndarray) -> np.ndarray:
    """(F, 2) float: sines of yaw and pitch, about, of mediapipe's landmarks with their z."""
    across = landmarks_px_FN3[:, 454] - landmarks_px_FN3[:, 234]
    down = landmarks_px_FN3[:, 152] - landmarks_px_FN3[:, 10]
    sides = np.stack([across, down], 1)
    return sides[..., 2] / np.linalg.norm(sides, axis=-1).clip(1e-6)


def _unlike(look_SS: np.ndarray, usual_SS: np.ndarray) -> float:
    a, b = _blocks(look_SS), _blocks(usual_SS)
    floor = BLOCK_PX**2 * GREY_NOISE**2
    alike = ((a * b).sum(-1) + floor) / np.sqrt(((a * a).sum(-1) + floor) * ((b * b).sum(-1) + floor))
    return float((alike < ALIKE).mean())


def _blocks(look_SS: np.ndarray) -> np.ndarray:
    """(blocks, pixels) of the picture's inner blocks, each without its mean."""
    count = SIDE // BLOCK_PX
    cut = look_SS.astype(np.float64).reshape(count, BLOCK_PX, count, BLOCK_PX)[1:-1, :, 1:-1].swapaxes(1, 2)
    flat = cut.reshape(-1, BLOCK_PX**2)
    return flat - flat.mean(1, keepdims=True)
