"""The pose pipeline: the head model fitted to a picture, changed, and drawn from the picture or by the model.

Shapes: B pictures, H = W pixels, S pixels the side of the weights' pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.choices import BY_MODEL, BY_WARP, GUIDANCE, RENDERERS
from jdap.depth import NO_DEPTH, skin_range_mm
from jdap.diffusion.denoiser import Generators
from jdap.faces.landmarker import Landmarker
from jdap.geometry import PinholeCamera
from jdap.pipelines.pictures import Pictures, check_pictures, check_square, depth_as, depth_at, kind_of, rgb_as, rgb_of
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.relight import RelightPipeline
from jdap.pose.change import Change, PoseError, read_change
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.motion import Motion, Mover, grown
from jdap.pose.warp import drawn
from jdap.shape.assumed import FARTHEST

#: Heads are fitted, and motions made, on pictures of this side.
MOTION_SIDE_PX = 512
#: What the model draws anew reaches over the head by this share of the picture's side, for hair; and fades over this.
AROUND, FADES = 0.06, 0.03


class Posed(NamedTuple):
    """``rgb`` and normalised ``depth`` of changed heads (of the kind of what was given; ``depth`` is None of
    ``by="warp"``), the ``heads`` that were fitted and the ``motions``, a list each."""

    rgb: Any
    depth: Any
    heads: list[FittedHead]
    motions: list[Motion]


class PosePipeline:
    """Heads with another expression, turned.

    The head model is fitted to the picture (:class:`jdap.pose.heads.Heads`) and changed. ``by="warp"`` moves the
    picture's own texture; ``by="model"`` renders the changed depth and has the portrait pipeline draw it, with the
    picture as its reference, where the head is or was.

    Args:
        portrait: draws; None: only ``by="warp"`` can be asked.
        heads: fits and poses.
    """

    def __init__(self, portrait: PortraitPipeline | None, heads: Heads) -> None:
        self.portrait, self.heads = portrait, heads

    @classmethod
    def from_pretrained(cls, name: str | Path, landmarker: Landmarker | None = None, **options: Any) -> Self:
        """By the weights of a portrait pipeline; see :meth:`jdap.pipelines.base.JointPipeline.from_pretrained`."""
        return cls(PortraitPipeline.from_pretrained(name, **options), Heads(landmarker or Landmarker()))

    def to(self, *where: Any) -> Self:
        """Networks on a device, in a type; returns itself. The head stays on the CPU."""
        if self.portrait is not None:
            self.portrait.to(*where)
        return self

    def quiet(self) -> Self:
        """Show no bar of steps; returns itself."""
        if self.portrait is not None:
            self.portrait.quiet()
        return self

    @torch.no_grad()
    def __call__(
        self,
        rgb: Pictures,
        change: Change | Mapping[str, float],
        *,
        depth: Pictures | None = None,
        by: str = BY_WARP,
        strength: float = 0.0,
        steps: int = 20,
        guidance: float = GUIDANCE,
        ensemble: int = 1,
        generator: Generators | None = None,
        output_type: str | None = None,
    ) -> Posed:
        """Pictures with their heads changed.

        Args:
            rgb: square pictures of heads. Tensors are in [-1, 1].
            change: the same for all: a :class:`jdap.pose.change.Change`, or names and values (``{"yaw": 15}``).
            depth: normalised depth of the heads as they are, if it is known (``by="model"``).
            by: ``"warp"`` or ``"model"``.
            strength: of ``"warp"``, above 0: how much noise the model then redraws the warped picture from.
            steps, guidance: of drawing, as :meth:`PortraitPipeline.edit` takes them.
            ensemble: draws of depth that are averaged.
            generator, output_type: as everywhere.

        Raises:
            ValueError: for pictures of another shape or range, another ``by``, and as :class:`PoseError` for unknown
                names, values out of range, and a picture without a face.
        """
        if by not in RENDERERS:
            raise ValueError(f"by must be one of {', '.join(RENDERERS)}, got {by!r}")
        if not 0 <= strength <= 1 or (by == BY_MODEL and strength):
            raise ValueError(f"strength must be within 0 … 1, and is of by={BY_WARP!r}; got {strength}")
        if not isinstance(change, Change):
            change = read_change(change.items(), self.heads.names)
        kind, pictures = kind_of(rgb, output_type), _square(rgb)
        known: list[Tensor | None] = [None] * len(pictures)
        if depth is not None:
            known = list(depth_at(depth, self._drawing.size_px, len(pictures))[:, None].float().cpu())
        own = generator if isinstance(generator, list | tuple) else [generator] * len(pictures)
        if len(own) != len(pictures):
            raise ValueError(f"{len(own)} generators for {len(pictures)} pictures: give one for each, or one")
        made, depths, heads, motions = [], [], [], []
        for picture, given, one in zip(pictures, known, own, strict=True):
            rgb_HW3 = ((picture.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
            head = self.fit(rgb_HW3)
            motion = self.move(head, change)
            window = np.array([0.0, 0.0, rgb_HW3.shape[0]])
            warped = drawn(rgb_HW3, window, self.heads, motion) if by == BY_WARP else rgb_HW3
            rgb_13HW = torch.from_numpy(warped).permute(2, 0, 1)[None] / 127.5 - 1
            if by == BY_MODEL or strength:
                old = self.depth(picture[None], ensemble, one) if given is None else given
                new = self.new_depth(old, motion)
                how: dict[str, Any] = {"steps": steps, "guidance": guidance, "generator": one}
                if by == BY_MODEL:
                    rgb_13HW = self.draw(rgb_13HW, new, [motion], **how)
                else:
                    redrawn = RelightPipeline(self._drawing).redraw(rgb_13HW.to(self._device), new, strength, **how)
                    rgb_13HW = torch.lerp(rgb_13HW, redrawn.cpu(), soft_region(motion, rgb_13HW.shape[-1]))
                depths.append(new)
            made.append(rgb_13HW)
            heads.append(head)
            motions.append(motion)
        new_depth = depth_as(kind, torch.cat(depths)) if depths else None
        return Posed(rgb_as(kind, torch.cat(made)), new_depth, heads, motions)

    def fit(self, rgb_HW3: np.ndarray, camera: PinholeCamera | None = None) -> FittedHead:
        """The head in a square picture (H, H, 3) uint8, by the camera of one of :data:`MOTION_SIDE_PX` pixels.

        Raises :class:`PoseError` where there is no face, and ValueError for another shape.
        """
        tensor = torch.from_numpy(rgb_HW3.copy()).permute(2, 0, 1)[None]
        check_square(tensor, "the picture")
        if tensor.shape[-1] != MOTION_SIDE_PX:
            sized = F.interpolate(tensor.float(), (MOTION_SIDE_PX,) * 2, mode="bicubic", antialias=True)
            rgb_HW3 = sized[0].permute(1, 2, 0).round().clamp(0, 255).byte().contiguous().numpy()
        return self.heads.fit(rgb_HW3, camera)

    def move(self, head: FittedHead, change: Change, size: int = MOTION_SIDE_PX) -> Motion:
        """The motion of a picture whose head is changed."""
        return Mover(self.heads, head, size).to(self.heads.vertices(head, change))

    def depth(self, rgb_13HW: Tensor, ensemble: int = 1, generator: Generators | None = None) -> Tensor:
        """Normalised depth (1, 1, S, S) of a picture in [-1, 1], on the CPU."""
        small = self._small(rgb_13HW)
        found = self._drawing.image_to_depth(small, ensemble=ensemble, generator=generator, output_type="pt")
        return found.depth.float().cpu()

    def new_depth(self, old_11SS: Tensor, motion: Motion) -> Tensor:
        """Normalised depth (1, 1, S, S) of the changed head, from that of the picture as it is.

        Old depth goes where the picture goes, hair and clothes included, and comes nearer by as much as the head model
        does; scale and shift between the two are those that fit best on skin. Where the photo shows nothing, it is the
        model's own depth.
        """
        side = old_11SS.shape[-1]
        old_mm, new_mm, skin_old, skin_new = self._skins(motion, side)
        scale, shift = _line(old_11SS[0, 0][skin_old], old_mm[skin_old])
        at = (torch.arange(side) + 0.5) / side * 2 - 1
        field = _sized(torch.cat([motion.from_2SS, motion.farther_SS[None]])[None], side)[0]
        grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1) + field[:2].permute(1, 2, 0) / motion.size * 2
        moved = F.grid_sample(old_11SS, grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
        depth_mm = moved * scale + shift + field[2]
        unseen = torch.stack([motion.inside_SS, motion.stretched_SS])[None].float()
        inside, stretched = _sized(unseen, side)[0] > 0.5
        depth_mm = torch.where(inside & (new_mm > 0), new_mm, depth_mm)
        # At a head's edge the model may lie far behind what is stretched there: that would be a crack.
        depth_mm = torch.where(stretched & (new_mm > 0), torch.minimum(new_mm, depth_mm), depth_mm)
        ranges = skin_range_mm(torch.stack([old_mm, new_mm])[:, None], torch.stack([skin_old, skin_new])[:, None])
        near, far = (torch.tensor([shift - scale, shift + scale]) + ranges[1] - ranges[0]).tolist()
        depth = (2 * (depth_mm - near) / (far - near) - 1).clamp(-1, 1)
        background = (moved >= FARTHEST) & (new_mm == 0)
        return torch.where(background, torch.full_like(depth, NO_DEPTH), depth)[None, None]

    def draw(
        self,
        rgb_B3HW: Tensor,
        depth_B1SS: Tensor,
        motions: Sequence[Motion],
        steps: int = 20,
        guidance: float = GUIDANCE,
        generator: Generators | None = None,
    ) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1], their heads drawn by the model on a depth; the rest stays, to the bit."""
        portrait, side = self._drawing, depth_B1SS.shape[-1]
        small = self._small(rgb_B3HW)
        regions = torch.cat([soft_region(motion, motion.size) for motion in motions])
        hole = F.interpolate(regions, (side, side), mode="area") > 0
        made = portrait.edit(
            small,
            depth_B1SS.to(small),
            ~hole.to(small.device),
            torch.ones_like(hole, device=small.device),
            reference=small,
            steps=steps,
            guidance=guidance,
            generator=generator,
            output_type="pt",
        ).rgb.float()
        large = F.interpolate(made, rgb_B3HW.shape[-2:], mode="bicubic", antialias=True).clamp(-1, 1).cpu()
        share = torch.cat([soft_region(motion, rgb_B3HW.shape[-1]) for motion in motions])
        return torch.where(share > 0, torch.lerp(rgb_B3HW, large, share), rgb_B3HW)

    @property
    def _drawing(self) -> PortraitPipeline:
        if self.portrait is None:
            raise ValueError(f"without weights heads are only drawn by={BY_WARP!r}")
        return self.portrait

    @property
    def _device(self) -> torch.device:
        return torch.device(self._drawing.device)

    def _small(self, rgb_13HW: Tensor) -> Tensor:
        check_square(rgb_13HW, "pictures")
        side = self._drawing.size_px
        small = F.interpolate(rgb_13HW.float(), (side, side), mode="bicubic", antialias=True)
        return small.clamp(-1, 1).to(self._device)

    def _skins(self, motion: Motion, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Depth of the head before and after in mm, and its skin in each, (side, side)."""
        face_T = self.heads.face_T & self.heads.model.skin_T
        at = ((torch.arange(side) + 0.5) * motion.size / side).long()
        old, new = (depth[at][:, at] for depth in (motion.old_depth_SS, motion.depth_SS))
        seen = [per_part(part[at][:, at], face_T) for part in (motion.old_part_SS, motion.part_SS)]
        return old, new, seen[0], seen[1]


def per_part(part_SS: Tensor, of_T: Tensor) -> Tensor:
    """(S, S) bool: whether the triangle that is seen (-1: none) is one of these."""
    return of_T[part_SS.clamp_min(0)] & (part_SS >= 0)


def soft_region(motion: Motion, side: int) -> Tensor:
    """(1, 1, side, side) in [0, 1]: the head before and after with what is around it, fading out at its edge."""
    reach = max(1, round(AROUND * motion.size))
    around = grown(motion.head_SS, reach)[None, None].float()
    fade = max(1, round(FADES * motion.size))
    soft = F.avg_pool2d(F.pad(around, [fade] * 4), 2 * fade + 1, 1)
    return _sized(((soft - 0.5) * 2).clamp(0, 1), side)  # it ends where the region does


def _sized(values_1CSS: Tensor, side: int) -> Tensor:
    """(1, C, side, side): means of what becomes smaller; between values, of what becomes larger."""
    if side < values_1CSS.shape[-1]:
        return F.interpolate(values_1CSS, (side, side), mode="area")
    return F.interpolate(values_1CSS, (side, side), mode="bilinear", align_corners=False)


def _line(x_N: Tensor, y_N: Tensor) -> tuple[float, float]:
    """Scale and shift that take x to y best; a scale that is not positive is none of depth."""
    if len(x_N) < 16:
        raise PoseError("too little of the face is seen to bring its depth together with the head model's")
    mean_x, mean_y = x_N.mean(), y_N.mean()
    scale = ((x_N - mean_x) * (y_N - mean_y)).mean() / (x_N - mean_x).square().mean().clamp_min(1e-6)
    scale = scale.clamp_min(1.0)
    return float(scale), float(mean_y - scale * mean_x)


def _square(given: Pictures) -> Tensor:
    first: Any = given
    while isinstance(first, list | tuple) and first:
        first = first[0]
    side = first.width if hasattr(first, "width") else first.shape[-1] if torch.is_tensor(first) else first.shape[-2]
    pictures = rgb_of(given, "pictures", int(side)).float().cpu()
    check_pictures(pictures, "pictures")
    return pictures
