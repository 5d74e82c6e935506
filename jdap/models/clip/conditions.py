"""Driving a clip by numbers beside its sound: the head's pose and the lips' opening as further tokens of each frame.

Shapes: B clips, F frames, K kinds of condition, D channels of a token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

#: kind → numbers a frame
CONDITIONS = {"pose": 6, "lips": 1}
#: What brings the numbers to about one: millimetres of opened lips, and of a head's distance.
LIPS_MM, DISTANCE_MM = 10.0, 1000.0


class Conditions(NamedTuple):
    """The conditions of a clip; what is None, or NaN in a frame, is not given.

    ``pose`` (B, F, 6): head to camera, axis-angle in radians and translation in mm; ``lips_mm`` (B, F): how far the
    inner lips are apart.
    """

    pose: Tensor | None = None
    lips_mm: Tensor | None = None


class DriveTokens(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """One token for each kind of condition; zero where it is not given, as if it had never been there.

    Args:
        kinds: of :data:`CONDITIONS`.
        dim: D.
        hidden: channels of the layer between.
    """

    @register_to_config
    def __init__(self, kinds: list[str], dim: int, hidden: int = 128) -> None:
        super().__init__()
        unknown = [kind for kind in kinds if kind not in CONDITIONS]
        if unknown or not kinds:
            raise ValueError(f"conditions must be some of {', '.join(CONDITIONS)}, got {', '.join(unknown) or 'none'}")
        self.networks = nn.ModuleDict(
            {k: nn.Sequential(nn.Linear(CONDITIONS[k], hidden), nn.SiLU(), nn.Linear(hidden, dim)) for k in kinds}
        )

    def forward(self, drive: Conditions, keep_KB: Tensor | None = None) -> Tensor:
        """→ (B, F, K, D). ``keep_KB`` bool: which clips are told which kind (None: all that is given).

        Raises ValueError where nothing is given at all, whose size would be unknown.
        """
        numbers = {"pose": None if drive.pose is None else _pose(drive.pose), "lips": _lips(drive.lips_mm)}
        like = next((x for x in numbers.values() if x is not None), None)
        if like is None:
            raise ValueError("no condition is given: leave the tokens out")
        tokens = []
        for i, (kind, network) in enumerate(self.networks.items()):
            x = numbers[kind]
            x = like.new_full((*like.shape[:2], CONDITIONS[kind]), torch.nan) if x is None else x
            given = x.isfinite().all(dim=-1, keepdim=True)
            if keep_KB is not None:
                given = given & keep_KB[i].to(given.device)[:, None, None]
            tokens.append(network(torch.where(given, x, 0.0).to(self.dtype)) * given)
        return torch.stack(tokens, dim=2)


def _pose(pose_BF6: Tensor) -> Tensor:
    """Rotation; where the head is, in the tangents of its angles from the axis; and the logarithm of its distance."""
    rotation, (x, y, z) = pose_BF6[..., :3], pose_BF6[..., 3:].unbind(-1)
    return torch.cat([rotation, torch.stack([x / z, y / z, (z / DISTANCE_MM).log()], dim=-1)], dim=-1)


def _lips(lips_mm: Tensor | None) -> Tensor | None:
    return None if lips_mm is None else lips_mm[..., None] / LIPS_MM
