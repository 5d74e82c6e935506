"""The relighting pipeline: depth by the portrait pipeline, light by the room :mod:`jdap.light`.

Shapes: B pictures, H = W pixels, D lamps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.choices import BACKGROUND, GUIDANCE, PARSED
from jdap.diffusion.denoiser import Generators
from jdap.faces.parser_net import load_studio_parser
from jdap.faces.parsing import Parser
from jdap.io.assets import SHIPPED_FOLDER
from jdap.light.colour import to_light
from jdap.light.edges import follow_edges
from jdap.light.estimate import estimate_light, skin_weight
from jdap.light.lights import LUMINANCE, Light, LightError
from jdap.light.ratio import Shape, ratio, relit, shading
from jdap.pipelines.pictures import Pictures, check_pictures, check_square, depth_as, depth_at, kind_of, rgb_as, rgb_of
from jdap.pipelines.portrait import PortraitPipeline
from jdap.shape.assumed import assumed_camera, foreground, in_mm
from jdap.shape.normals import edge_normals
from jdap.shape.outline import carry_on

#: Shading is made on pictures of this side at most; finer detail is the picture's own.
SHADING_SIDE_PX = 512
#: Skin that is darker than that, as light of 0 … 1, tells nothing of a light: half a step of 8 bits.
LEAST_LIGHT = 0.5 / 255 / 12.92
#: Smoothing of the normals of drawn depth (:func:`jdap.shape.normals.edge_normals`).
NORMALS_SMOOTH = 3
#: Beyond this normalised depth the outline tells more of a normal than drawn depth does.
TRUSTED = 0.8
#: How surely a pixel is the person's, whatever the parser says, falls from 1 to 0 over this part of depth.
SURELY_NEAR = (0.5, 0.8)


class Relit(NamedTuple):
    """``rgb`` in new light, the normalised ``depth`` that it was made with (both of the kind of what was given), and as
    tensors the old light (times the skin's albedo), and the ``ratio`` (B, 3, H, W) of linear light."""

    rgb: Any
    depth: Any
    light: Light
    ratio: Tensor


@dataclass(frozen=True, eq=False)
class Lit:
    """What is known of pictures before they get new light: the shape, who is the person, and the old light with its
    ``shading_B3HW`` and the weight ``skin_B1HW`` of skin."""

    shape: Shape
    person_B1HW: Tensor
    light: Light
    shading_B3HW: Tensor
    skin_B1HW: Tensor

    def mean(self, shading_B3HW: Tensor) -> Tensor:
        """(B, 3): the mean of a shading over the skin."""
        total = self.skin_B1HW.sum((2, 3)).clamp_min(1e-6)
        return (shading_B3HW * self.skin_B1HW).sum((2, 3)) / total


class RelightPipeline:
    """Portraits in other light.

    Depth is estimated (or given) and its normals are carried on to the person's outline, the picture's own light is
    estimated from it, and the picture is multiplied by new over old shading, with the shadows that the shape casts. On
    request the model then redraws the picture on its depth.

    Args:
        portrait: the pipeline that estimates depth, and redraws.
    """

    def __init__(self, portrait: PortraitPipeline) -> None:
        self.portrait = portrait

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """By the weights of a portrait pipeline; see :meth:`jdap.pipelines.base.JointPipeline.from_pretrained`."""
        return cls(PortraitPipeline.from_pretrained(name, **options))

    def to(self, *where: Any) -> Self:
        """Networks on a device, in a type; returns itself."""
        self.portrait.to(*where)
        return self

    @cached_property
    def parser(self) -> Parser:
        """What tells the person from the background: the parser that ships."""
        return load_studio_parser(SHIPPED_FOLDER / "parser", self.portrait.device)

    def quiet(self) -> Self:
        """Show no bar of steps; returns itself."""
        self.portrait.quiet()
        return self

    @torch.no_grad()
    def __call__(
        self,
        rgb: Pictures,
        light: Light | None = None,
        *,
        like: Pictures | None = None,
        depth: Pictures | None = None,
        brightness: float | Tensor = 1.0,
        strength: float = 0.0,
        steps: int = 20,
        guidance: float = GUIDANCE,
        ensemble: int = 1,
        generator: Generators | None = None,
        output_type: str | None = None,
    ) -> Relit:
        """Pictures in new light.

        Args:
            rgb: square pictures of heads, of any one size, which comes back. Tensors are in [-1, 1].
            light: the new light, one for all pictures or one each (:mod:`jdap.light.sources`). White light takes the
                tint of the old one.
            like: another picture, of any person: its light is estimated and used instead.
            depth: normalised depth of the heads, if it is known.
            brightness: of the new light on the skin over the old one's: a number, or (B, 3) for each channel.
            strength: 0: the model does not redraw. Up to 1: how much noise it redraws from, with depth and the picture
                itself as the reference.
            steps, guidance: of redrawing, as :meth:`PortraitPipeline.depth_to_image` takes them.
            ensemble: draws of depth that are averaged.
            generator, output_type: as everywhere.

        Raises:
            ValueError: for pictures of another shape or range, both or none of ``light`` and ``like``, and a picture
                with too little skin to tell its light from.
        """
        if (light is None) == (like is None):
            raise ValueError("say which light: either light or like")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be within 0 … 1, got {strength}")
        kind, pictures = kind_of(rgb, output_type), self._pictures(rgb)
        if depth is None:
            small = self._small(pictures)
            known = self.portrait.image_to_depth(small, ensemble=ensemble, generator=generator, output_type="pt").depth
        else:
            known = depth_at(depth, self.portrait.size_px, len(pictures)).to(pictures.device)
        lit = self.look(pictures, known)
        if like is not None:
            seen = self._pictures(like)
            own = generator[: len(seen)] if isinstance(generator, list | tuple) else generator
            light = self.light_of(seen, ensemble=ensemble, generator=own)
        assert light is not None
        new = self.aim(lit, light.to(pictures), brightness)
        factor = self.factor(lit, new, pictures.shape[-1])
        made = relit((pictures + 1) / 2, factor) * 2 - 1
        if strength > 0:
            made = self.redraw(made, known, strength, steps, guidance, generator)
        return Relit(rgb_as(kind, made), depth_as(kind, known), lit.light, factor)

    @torch.no_grad()
    def look(self, rgb_B3HW: Tensor, depth_B1HW: Tensor, fade: float = 0.0) -> Lit:
        """Shape, person and old light of crops (B, 3, H, W) in [-1, 1] of normalised depth (B, 1, h, w).

        New light will fade in over a share ``fade`` of the picture at its edges: of crops that go back into photos.
        """
        side = min(rgb_B3HW.shape[-1], SHADING_SIDE_PX)
        srgb = (_sized(rgb_B3HW, side).clamp(-1, 1) + 1) / 2
        depth = depth_B1HW.to(srgb)
        camera = assumed_camera(side).to(srgb).expand(len(srgb), 3)
        depth_mm, fades = in_mm(_sized(depth, side).clamp(-1, 1)), _fade(side, fade).to(srgb)
        # The light is told from what is surely the person; it falls on the rest of the person, too.
        sure = Shape(_normals(depth, side, 1), depth_mm, camera)
        found = self.judge(srgb, sure, _sized(foreground(depth), side).clamp(0, 1) * fades)
        person = self._person(srgb, depth)
        shape = Shape(_normals(depth, side, NORMALS_SMOOTH, person), depth_mm, camera)
        return Lit(
            shape,
            follow_edges(person, srgb) * shape.known * fades,
            found.light,
            shading(found.light, shape),
            found.skin_B1HW,
        )

    @staticmethod
    def judge(srgb_B3HW: Tensor, shape: Shape, person_B1HW: Tensor) -> Lit:
        """The old light of pictures (B, 3, H, W) in [0, 1] of this shape, whose person is where (B, 1, H, W) is 1."""
        linear = to_light(srgb_B3HW)
        skin = skin_weight(linear, shape.known) * shape.known * person_B1HW
        light = estimate_light(linear, shape.normals_B3HW, shape.depth_mm_B1HW, shape.camera_px_B3, skin)
        return Lit(shape, person_B1HW, light, shading(light, shape), skin)

    @staticmethod
    def aim(lit: Lit, light: Light, brightness: float | Tensor = 1.0) -> Light:
        """A light, brought to so many times the old one's brightness on the skin, in its tint."""
        light = light if len(light) == len(lit.light) else light.repeated(len(lit.light))
        old, new = lit.mean(lit.shading_B3HW), lit.mean(shading(light, lit.shape))
        wanted = old * torch.as_tensor(brightness, dtype=old.dtype, device=old.device)
        if torch.is_tensor(brightness) and brightness.ndim == 2:
            return light.scaled(wanted / new.clamp_min(1e-6))
        weights = old.new_tensor(LUMINANCE)
        level = (wanted @ weights) / ((old / (old @ weights)[:, None].clamp_min(1e-6) * new) @ weights).clamp_min(1e-6)
        return light.scaled(level[:, None] * old / (old @ weights)[:, None].clamp_min(1e-6))

    @staticmethod
    def factor(lit: Lit, new: Light, side: int) -> Tensor:
        """The ratio (B, 3, H, W) that a new light asks for, for pictures of this side."""
        made = ratio(lit.shading_B3HW, shading(new, lit.shape), lit.shape.known, lit.person_B1HW)
        return _sized(made.log(), side).exp() if made.shape[-1] != side else made

    @torch.no_grad()
    def light_of(self, rgb: Pictures, *, ensemble: int = 1, generator: Generators | None = None) -> Light:
        """The light of pictures as their skin shows it, without the skin's own colour: its mean is white, of 1.

        Raises :class:`jdap.light.lights.LightError` for pictures with too little skin, and for black ones.
        """
        pictures = self._pictures(rgb)
        small = self._small(pictures)
        depth = self.portrait.image_to_depth(small, ensemble=ensemble, generator=generator, output_type="pt").depth
        lit = self.look(pictures, depth)
        mean = lit.mean(lit.shading_B3HW)
        if (mean <= LEAST_LIGHT).any():
            raise LightError("a light of zero: the face is black, or one of its colours is")
        return lit.light.scaled(1 / mean)

    @torch.no_grad()
    def redraw(
        self,
        rgb_B3HW: Tensor,
        depth_B1HW: Tensor,
        strength: float,
        steps: int = 20,
        guidance: float = GUIDANCE,
        generator: Generators | None = None,
    ) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] as the model draws them on their depth, from so much noise.

        What the model changes is added, and not its picture taken: what its codec loses of detail is kept.
        """
        small = self._small(rgb_B3HW)
        drawn = self.portrait.depth_to_image(
            depth_B1HW,
            reference=small,
            rgb=small,
            strength=strength,
            steps=steps,
            guidance=guidance,
            generator=generator,
            output_type="pt",
        )
        codec = self.portrait.codec
        coded = codec.decode(codec.encode(small.to(self.portrait.unet.dtype))).float()
        return (rgb_B3HW + _sized(drawn - coded, rgb_B3HW.shape[-1])).clamp(-1, 1)

    def _person(self, srgb_B3HW: Tensor, depth_B1hw: Tensor) -> Tensor:
        """(B, 1, h, w) in [0, 1]: what the parser says is no background, and what is surely near."""
        pixels = (srgb_B3HW * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        background = torch.from_numpy(self.parser.shares(pixels)[:, [PARSED.index(BACKGROUND)]]).to(depth_B1hw)
        return torch.maximum(
            _sized(1 - background, depth_B1hw.shape[-1]).clamp(0, 1), foreground(depth_B1hw, SURELY_NEAR)
        )

    def _pictures(self, given: Pictures) -> Tensor:
        first: Any = given
        while isinstance(first, list | tuple) and first:
            first = first[0]
        side = first.shape[-1] if isinstance(first, Tensor) else _side(first, self.portrait.size_px)
        pictures = rgb_of(given, "pictures", side).to(self.portrait.device).float()
        check_pictures(pictures, "pictures")
        return pictures

    def _small(self, rgb_B3HW: Tensor) -> Tensor:
        """At the size that the model sees."""
        return _sized(rgb_B3HW, self.portrait.size_px).clamp(-1, 1)


def _normals(depth_B1hw: Tensor, side: int, smooth: int, person_B1hw: Tensor | None = None) -> Tensor:
    """Normals (B, 3, side, side) of normalised depth, found at its own size: smoothing then spans its grain.

    Depth ends before a person does; with ``person_B1hw`` normals are carried on to the outline.
    """
    own = depth_B1hw.shape[-1]
    camera = assumed_camera(own).to(depth_B1hw).expand(len(depth_B1hw), 3)
    normals = edge_normals(in_mm(depth_B1hw), camera, smooth)
    if person_B1hw is not None:
        known = (depth_B1hw < TRUSTED) & (normals.square().sum(1, keepdim=True) > 0)
        normals = carry_on(normals, known, person_B1hw)
    if own == side:
        return normals
    known = _sized(normals.square().sum(1, keepdim=True), side) > 0.5
    return F.normalize(_sized(normals, side), dim=1) * known


def _fade(side: int, share: float) -> Tensor:
    """(side, side): 1, falling smoothly to 0 over a share of the picture at its edges."""
    at = (torch.arange(side) + 0.5) / side
    ramp = (torch.minimum(at, 1 - at) / max(share, 1e-6)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return torch.minimum(ramp[:, None], ramp)


def _side(picture: Any, default: int) -> int:
    width = getattr(picture, "width", None)
    if width is not None:
        return int(width)
    shape: tuple[int, ...] = getattr(picture, "shape", ())
    return int(shape[-2]) if len(shape) >= 3 else default


def _sized(values_BCHW: Tensor, side: int) -> Tensor:
    check_square(values_BCHW, "pictures")
    if values_BCHW.shape[-1] == side:
        return values_BCHW
    return F.interpolate(values_BCHW, (side, side), mode="bicubic", antialias=True)
