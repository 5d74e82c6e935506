"""What a fit is given: tracks of landmarks with their cameras, and those of their frames that differ most.

Shapes: B tracks, M frames of all of them, F frames of one, N landmarks, E expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.fit.equations import FitState
from data_prep.fit.layout import Layout
from data_prep.fit.points import HeadPoints
from data_prep.fit.start import start
from jdap.geometry import PinholeCamera


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of one track: ``landmarks_px_FN3`` (F, 468, 3) float, x, y in pixels of the camera's picture and z
    as mediapipe gives it; the expression prior ``prior_FE`` (F, E, :func:`expression_prior`); the camera.
    """

    landmarks_px_FN3: Tensor
    prior_FE: Tensor
    camera: PinholeCamera


@dataclass(frozen=True, eq=False)
class SeenTracks:
    """What is known of some tracks, on one device: ``landmarks_px_MN3``, ``prior_ME``, ``camera_px_B3`` (f, cx, cy)."""

    layout: Layout
    landmarks_px_MN3: Tensor
    prior_ME: Tensor
    camera_px_B3: Tensor

    @classmethod
    def of(cls, tracks: Sequence[Observed], device: torch.device) -> SeenTracks:
        """The tracks, one after the other; raises ValueError for landmarks that are not finite."""
        landmarks = torch.cat([track.landmarks_px_FN3 for track in tracks]).to(device, torch.float32)
        if not landmarks.isfinite().all():
            raise ValueError("landmarks must be finite: fill gaps before fitting")
        prior = torch.cat([track.prior_FE for track in tracks]).to(device, torch.float32).clamp(0, 1)
        cameras = torch.stack([track.camera.as_tensor() for track in tracks]).to(device)
        return cls(Layout([len(track.prior_FE) for track in tracks], device), landmarks, prior, cameras)

    def start(self, head: HeadPoints, mean_BN3: Tensor) -> FitState:
        """Where descent starts."""
        track_M, tracks = self.layout.track_M, len(self.camera_px_B3)
        camera_M3 = self.camera_px_B3[track_M]
        return start(self.landmarks_px_MN3, self.prior_ME, camera_M3, head, mean_BN3[track_M], tracks)

    def keys(self, head: HeadPoints, most: int) -> SeenTracks:
        """At most so many frames of each track, in which the head is turned as differently as can be."""
        if self.layout.longest <= most:
            return self
        mean_BN3 = head.mean_N3.expand(len(self.camera_px_B3), -1, -1)
        # What the face looks along: its sideways and upward parts are sines of yaw and pitch.
        ahead_M2 = self.start(head, mean_BN3).rotation_M33[:, :2, 2].cpu().numpy()
        chosen = [key_frames(ahead_M2[own], most) for own in self.layout.slices()]
        places = [own.start + frames for own, frames in zip(self.layout.slices(), chosen, strict=True)]
        at = torch.from_numpy(np.concatenate(places)).to(self.prior_ME.device)
        layout = Layout([len(frames) for frames in chosen], self.prior_ME.device)
        return SeenTracks(layout, self.landmarks_px_MN3[at], self.prior_ME[at], self.camera_px_B3)


def key_frames(turns_F2: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` frames, ascending: half of them spread evenly over time, then always the frame that is turned
    (sines of yaw and pitch) least like any that is chosen."""
    chosen = np.linspace(0, len(turns_F2) - 1, min(most, len(turns_F2))).round().astype(int)
    if len(chosen) == len(turns_F2):
        return chosen
    chosen = chosen[::2]
    apart = np.linalg.norm(turns_F2[:, None] - turns_F2[chosen], axis=-1).min(1)
    while len(chosen) < most:
        farthest = int(apart.argmax())
        chosen = np.append(chosen, farthest)
        apart = np.minimum(apart, np.linalg.norm(turns_F2 - turns_F2[farthest], axis=-1))
        apart[farthest] = -1
    return np.unique(chosen)
