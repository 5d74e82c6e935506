"""What stands before the frames that are made: the reference as an anchor, and the last frames of the window before.

Shapes: B clips, F frames of each, M motion frames before them, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MotionFrames(NamedTuple):
    """What came before the frames that are made: ``rgb``, ``depth`` (B, M, C, h, w), timesteps ``t`` (B,) of both.

    Frames that are known are clean latents at timestep 0 (or a little above, noised as much). At the start of a clip
    there are none: :meth:`null`.
    """

    rgb: Tensor
    depth: Tensor
    t: Tensor

    @classmethod
    def null(cls, like_BMChw: Tensor, timesteps: int) -> MotionFrames:
        """No frames: zeros at the last timestep, at which a latent is said to hold nothing."""
        zeros = torch.zeros_like(like_BMChw)
        return cls(zeros, zeros, torch.full((len(zeros),), timesteps - 1, device=zeros.device))


class Anchor(NamedTuple):
    """The reference as a frame that every window sees: RGB latents (B, C, h, w) at timestep 0, and no depth.

    ``last`` is the timestep at which a latent is said to hold nothing, as the anchor's depth does, and all of it in
    clips that may not see their reference.
    """

    rgb: Tensor
    last: int


def put_before(
    z_BFChw: Tensor,
    t_2BF: Tensor,
    motion: MotionFrames | None,
    anchor: Anchor | None,
    reference_from: int,
    keep_reference_B: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Frames of clips, both halves side by side, and their timesteps (RGB's, depth's), with what stands before them.

    ``motion`` and ``anchor`` are those of the clips once; the clips may come several times over.
    """
    clips = len(z_BFChw)
    if motion is not None:
        known = torch.cat([motion.rgb, motion.depth], dim=2)
        times = clips // len(known)
        t_known = motion.t.repeat(times)[None, :, None].expand(2, -1, known.shape[1])
        z_BFChw = torch.cat([known.repeat(times, 1, 1, 1, 1).to(z_BFChw.dtype), z_BFChw], dim=1)
        t_2BF = torch.cat([t_known, t_2BF], dim=2)
    if anchor is not None:
        first, t_first = _anchored(anchor, clips, reference_from, keep_reference_B)
        z_BFChw, t_2BF = torch.cat([first.to(z_BFChw.dtype), z_BFChw], dim=1), torch.cat([t_first, t_2BF], dim=2)
    return z_BFChw, t_2BF


def _anchored(anchor: Anchor, clips: int, reference_from: int, keep_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Anchors of all clips (clips, 1, 2·C, h, w) and their timesteps (2, clips, 1); nothing where there is none."""
    latents = anchor.rgb.repeat(clips // len(anchor.rgb), 1, 1, 1)
    seen = torch.arange(clips, device=latents.device) >= reference_from
    if keep_B is not None:
        seen = seen & keep_B.to(latents.device).repeat(clips // len(keep_B))
    rgb = latents * seen[:, None, None, None]
    t_rgb = torch.where(seen, 0, anchor.last)
    return torch.cat([rgb, torch.zeros_like(rgb)], dim=1)[:, None], torch.stack(
        [t_rgb, t_rgb.new_full((clips,), anchor.last)]
    )[..., None]
