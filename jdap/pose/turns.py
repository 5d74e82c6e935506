"""Turns of a head that are given: those of another one in a video, as often a second as frames are made, and on and on.

Shapes: F frames, T turns.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from jdap.pose.change import PoseError
from jdap.pose.photo import Performance


def turns_of(performance: Performance, fps: float) -> Tensor:
    """(T, 3, 3) float32: the turns of a video's head since its first frame, ``fps`` of them a second.

    Raises :class:`jdap.pose.change.PoseError` for a photo, or a video of a single frame: it does not move.
    """
    moments = performance.moments
    if performance.fps <= 0 or len(moments) < 2:
        raise PoseError("no head that moves: name a video of two frames or more")
    at_s = np.arange(len(moments)) / performance.fps
    turns = Rotation.from_matrix(np.stack([one.turn_33.double().numpy() for one in moments]))
    wanted_s = np.arange(int(at_s[-1] * fps + 1e-6) + 1) / fps
    return torch.from_numpy(Slerp(at_s, turns)(wanted_s.clip(0, at_s[-1])).as_matrix()).float()


def turn_at(turns_T33: Tensor, frame: int) -> Tensor:
    """(3, 3): the turn of a frame; of a video that is longer than the turns they are gone through there and back."""
    last = len(turns_T33) - 1
    if last == 0:
        return turns_T33[0]
    at = frame % (2 * last)
    return turns_T33[min(at, 2 * last - at)]
