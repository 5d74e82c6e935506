"""Depth of a fitted head as a picture's depth takes it: what is fitted, and how a bettered face is laid in.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.blur import gaussian_blur
from jdap.metrics.depth import scale_shift

#: Pixels of 128: so far beyond the fitted face its depth goes, so soft is the edge, and so wide what suits it beside.
GROWN_PX, LAID_SOFT_PX, BESIDE_PX, OF_PX = 2, 2.0, 6.0, 128
#: From this depth on what lies behind the head stretches to 1, which is far and stays so in any frame.
HEAD_ENDS = 0.6
#: Fewer pixels are no face.
FACE_PIXELS = 50


class FittedDepth(NamedTuple):
    """Heads fitted to pictures.

    * ``relief`` (B, 1, S, S) in [-1, 1]: a head's depth in a frame of its own (:func:`jdap.depth.of_head`), 1 beside it
    * ``face`` (B, 1, S, S) bool: where its face is, which landmarks hold to the picture; nowhere, if none was found
    """

    relief: Tensor
    face: Tensor

    @property
    def found(self) -> Tensor:
        """(B,) bool: which pictures have a face."""
        return self.face.flatten(1).sum(1) >= FACE_PIXELS


def lay_in(face_depth_B1SS: Tensor, depth_B1SS: Tensor, face_B1SS: Tensor) -> Tensor:
    """Depth with the face of another depth map laid in, without a seam, in [-1, 1].

    All is in the frame of ``face_depth``: the depth around is brought there by the scale and shift that suit it best on
    the face (least squares), for each is known up to these; 1, far, stays 1. Where that would turn it inside out, it is
    shifted alone. A picture without a face stays as it is.
    """
    found = FittedDepth(face_depth_B1SS, face_B1SS).found
    mask = face_B1SS | ~found[:, None, None, None]  # something to align by; such pictures are taken back below
    scale, shift = scale_shift(depth_B1SS, face_depth_B1SS, mask)
    count = mask.flatten(1).sum(1)
    apart = ((face_depth_B1SS - depth_B1SS) * mask).flatten(1).sum(1) / count
    scale, shift = torch.where(scale > 0, scale, 1), torch.where(scale > 0, shift, apart)
    scale, shift = (x[:, None, None, None].to(depth_B1SS) for x in (scale, shift))
    end = scale * HEAD_ENDS + shift
    beyond = end + (1 - end) * (depth_B1SS - HEAD_ENDS) / (1 - HEAD_ENDS)
    around = torch.where(depth_B1SS < HEAD_ENDS, scale * depth_B1SS + shift, beyond)
    side, known = depth_B1SS.shape[-1], face_B1SS.to(depth_B1SS)
    # What the two differ by at the face's edge goes on outside of it, and fades; not to what is far.
    near = gaussian_blur(known, BESIDE_PX * side / OF_PX)
    off = gaussian_blur((face_depth_B1SS - around) * known, BESIDE_PX * side / OF_PX) / near.clamp_min(1e-3)
    head = ((1 - depth_B1SS) / (1 - HEAD_ENDS)).clamp(0, 1)
    around = around + (2 * near).clamp(0, 1) * head * off
    reach = round(GROWN_PX * side / OF_PX)
    grown = F.max_pool2d(known, 2 * reach + 1, 1, reach)
    share = ((gaussian_blur(grown, LAID_SOFT_PX * side / OF_PX) - 0.4) / 0.5).clamp(0, 1) * grown
    laid = (share * face_depth_B1SS + (1 - share) * around).clamp(-1, 1)
    return torch.where(found[:, None, None, None], laid, depth_B1SS)
