"""Hair as volumes: a shell over the cap's paths, from buzz cut to long, and a bun or tail; and how styles are drawn.

A shell's rows run from the crown to the tips and back underneath. Where hair ends on the skin, the shell dives below
it, so that the z-buffer draws the hairline; where it hangs, the shell has an inside.

Shapes: A azimuths, R rows, N vertices, T triangles, S steps along a path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.studio.looks import mesh
from data_prep.studio.looks.cap import AZIMUTHS, CENTRE_MM, Cap
from data_prep.studio.looks.hats import HasHat
from data_prep.studio.looks.noise import smoothstep, value_noise

STYLES = (
    *("bald", "receding", "buzz", "crop", "swept", "parted", "curly", "afro"),
    *("bob", "long", "tied"),
)
_P = (0.06, 0.08, 0.09, 0.15, 0.09, 0.13, 0.09, 0.07, 0.08, 0.1, 0.06)
OUTER_ROWS, INNER_ROWS = 34, 8
#: The root of the shell under the skin where there is none.
_UNDER_MM = -4.0
_DEG = math.pi / 180


@dataclass(frozen=True)
class HairLook:
    """Lengths in mm: ``thickness_mm`` all over and ``top_mm`` more on top; ``fringe_mm`` beyond the hairline over the
    forehead, by ``fringe_slant`` (−1 … 1) longer on one side; ``length_mm`` beyond it at sides and back, for an
    ``opening_deg`` (half angle) round the face; ``curl_mm`` of displacement in cells of ``curl_cell_mm``;
    ``part_mm``: the parting's x (NaN: none); ``bald_mm``: radius of a bare crown; ``bun_mm``: radius of a bun (0:
    none), its height on the back of the head by ``bun_deg`` from the crown; ``sheen`` 0 … 1."""

    style: str
    thickness_mm: float
    top_mm: float
    fringe_mm: float
    fringe_slant: float
    length_mm: float
    opening_deg: float
    curl_mm: float
    curl_cell_mm: float
    part_mm: float
    bald_mm: float
    bun_mm: float
    bun_deg: float
    sheen: float

    @property
    def shown(self) -> bool:
        """Whether there is a volume at all."""
        return self.style not in ("bald",)

    @property
    def hangs(self) -> bool:
        """Whether the hair falls over the ears."""
        return self.length_mm > 40


def draw_hair(rng: np.random.Generator) -> HairLook:
    """A random style; the distributions are described in docs/studio.md."""
    style = str(rng.choice(STYLES, p=_P))
    thickness, top, fringe, length = {
        "bald": (0.0, 0.0, 0.0, 0.0),
        "receding": (rng.uniform(2, 8), 0.0, 0.0, 0.0),
        "buzz": (rng.uniform(1.5, 4), 0.0, 0.0, 0.0),
        "crop": (
            rng.uniform(4, 9),
            rng.uniform(2, 16),
            rng.choice([rng.uniform(-4, 4), rng.uniform(4, 24)]),
            rng.uniform(-4, 6),
        ),
        "swept": (rng.uniform(4, 8), rng.uniform(6, 24), 0.0, rng.uniform(-4, 8)),
        "parted": (rng.uniform(5, 10), rng.uniform(4, 18), rng.choice([0.0, rng.uniform(4, 24)]), rng.uniform(-4, 10)),
        "curly": (rng.uniform(9, 20), rng.uniform(3, 16), rng.uniform(0, 24), rng.uniform(0, 20)),
        "afro": (rng.uniform(22, 55), rng.uniform(0, 14), rng.uniform(-4, 6), rng.uniform(0, 12)),
        "bob": (rng.uniform(10, 18), rng.uniform(0, 8), rng.uniform(0, 36), rng.uniform(75, 130)),
        "long": (rng.uniform(8, 16), rng.uniform(0, 9), rng.uniform(0, 34), rng.uniform(140, 270)),
        "tied": (rng.uniform(4, 8), rng.uniform(0, 4), rng.uniform(0, 30), rng.uniform(-4, 4)),
    }[style]
    hanging = style in ("bob", "long")
    if style in ("bob", "long", "tied") and rng.uniform() < 0.6:
        fringe = 0.0
    curly = style in ("curly", "afro") or (hanging and rng.uniform() < 0.35)
    parted = style == "parted" or (hanging and fringe == 0.0 and rng.uniform() < 0.8)
    side = float(rng.choice([-1.0, 1.0]))
    return HairLook(
        style=style,
        thickness_mm=thickness,
        top_mm=top,
        fringe_mm=fringe,
        fringe_slant=side * rng.uniform(0.3, 1) if parted else rng.normal(0, 0.15),
        length_mm=length,
        opening_deg=rng.uniform(48, 74) if hanging else 70.0,
        curl_mm=rng.uniform(2.5, 6) if curly else rng.uniform(0.6, 2.0),
        curl_cell_mm=rng.uniform(9, 18) if curly else rng.uniform(16, 40),
        part_mm=side * (rng.uniform(12, 38) if rng.uniform() < 0.6 or style == "parted" else 0.0)
        if parted
        else math.nan,
        bald_mm=rng.uniform(45, 85) if style == "receding" else 0.0,
        bun_mm=rng.uniform(20, 40) if style == "tied" else 0.0,
        bun_deg=rng.uniform(10, 95),
        sheen=rng.uniform(0.2, 1.0),
    )


def hairline(cap: Cap, offset_mm: float, temples_mm: float) -> Tensor:
    """(A,) mm: how far along each path the hairline is."""
    _, _, z = cap.hug_AS3.unbind(2)
    height = cap.above_AS - offset_mm
    temple = torch.exp(-((cap.hug_AS3[..., 0].abs() - 50) / 20).square()) * (z > 30)
    line = cap.crossing(height - temples_mm * temple < 0)
    # Ringing of single paths would fray the edge.
    return (line.roll(1) + 2 * line + line.roll(-1)) / 4


class HasHair(HasHat, Protocol):
    """What is needed to know of a look with hair."""

    @property
    def hair(self) -> HairLook:
        """Its hair."""

    @property
    def hairline_mm(self) -> float:
        """How much higher than usual the hairline is."""

    @property
    def temples_mm(self) -> float:
        """How much further back it is at the temples."""


class Hair:
    """The shell and the bun: a :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = False

    def __init__(self, cap: Cap) -> None:
        self._cap = cap
        device = cap.hug_AS3.device
        rows = OUTER_ROWS + INNER_ROWS
        ball, ball_faces = mesh.sphere(24, 14)
        self._ball = ball.to(device)
        shell = mesh.grid_faces(AZIMUTHS, rows)
        self.faces_T3 = torch.cat([shell, ball_faces + AZIMUTHS * rows]).to(device)
        self._is_shell = torch.arange(len(self.faces_T3), device=device) < len(shell)
        self.part_T = torch.zeros(len(self.faces_T3), dtype=torch.long, device=device)
        # At home where a path of middle length runs; only shadows and grain read it.
        outer = torch.linspace(0, 1, OUTER_ROWS, device=device)
        self._s = torch.cat([outer, torch.linspace(1, 0.35, INNER_ROWS, device=device)]).expand(AZIMUTHS, -1)
        self._inner = (torch.arange(rows, device=device) >= OUTER_ROWS).expand(AZIMUTHS, -1)
        zero = torch.zeros(AZIMUTHS, device=device)
        home = cap.points(self._s * 130, torch.zeros_like(self._s), zero).flatten(0, 1)
        back = home.new_tensor([0.0, 80.0, -105.0])
        self.rest_N3 = torch.cat([home, back + 25 * self._ball])
        step = (self._s * 130 / 4).round().long()
        anchors = cap.anchors_ASK.gather(1, step[..., None].expand(-1, -1, cap.anchors_ASK.shape[2])).flatten(0, 1)
        self.anchor_N = torch.cat([anchors[:, 0], cap.anchors_ASK[AZIMUTHS // 2, 25, :1].expand(len(ball))])

    def worn(self, look: HasHair) -> Tensor:
        """Mask (T,) bool."""
        hair = look.hair
        shown = hair.shown and not look.hat.hides_hair
        return (self._is_shell & shown) | (~self._is_shell & (hair.bun_mm > 0) & shown & ~torch.tensor(look.hat.worn))

    def _lift(self, look: HasHair) -> tuple[Tensor, Tensor, Tensor]:
        """Along (A, R) and lift (A, R) in mm, and hang (A,)."""
        hair, cap = look.hair, self._cap
        lattice = look.lattice_LLL.to(cap.hug_AS3)
        azimuth = cap.azimuth_A
        turn = torch.atan2(azimuth.sin(), azimuth.cos())
        line = hairline(cap, look.hairline_mm, look.temples_mm)
        ragged = value_noise(torch.stack([6 * azimuth.sin(), 6 * azimuth.cos(), 0 * azimuth], 1), lattice, octaves=2)
        front = 1 - smoothstep(turn.abs(), 38 * _DEG, 56 * _DEG)
        opening = hair.opening_deg * _DEG
        side = smoothstep(turn.abs(), opening - 5 * _DEG, opening + 7 * _DEG)
        slant = 1 + hair.fringe_slant * (turn / (50 * _DEG)).clamp(-1, 1)
        length = line + front * hair.fringe_mm * slant + (1.5 + 0.08 * max(hair.fringe_mm, 0.0)) * ragged
        extra = hair.length_mm * (1 + 0.05 * ragged)
        hang = side * float(hair.hangs)
        # Falling paths run on from the same length, so the sides of a fringe grow into the curtain.
        length = length + torch.where(turn.abs() > 0, side * extra, 0 * side)
        along = self._s * length[:, None]

        at = cap.points(along, torch.zeros_like(along), hang)
        lump = value_noise((at / hair.curl_cell_mm).flatten(0, 1), lattice, octaves=2).view_as(along)
        locks = value_noise(_radial(at, 9.0).flatten(0, 1), lattice, octaves=2).view_as(along)
        top = smoothstep(at[..., 1], 70, 135) * (0.6 + 0.4 * smoothstep(at[..., 2], -40, 60))
        lift = hair.thickness_mm + hair.top_mm * top + hair.curl_mm * lump
        lift = lift + (0.05 * hair.thickness_mm + 0.5) * locks
        if not math.isnan(hair.part_mm):
            groove = torch.exp(-((at[..., 0] - hair.part_mm) / 6).square()) * smoothstep(at[..., 2], -35, 0)
            lift = lift * (1 - 0.75 * groove)
        if hair.style in ("crop", "swept", "parted", "curly"):
            # Shorter at the sides and in the neck.
            lift = lift * (0.35 + 0.65 * smoothstep(at[..., 1], 20, 90))
        if not hair.hangs:
            lift = lift * (0.25 + 0.75 * smoothstep(at[..., 1], -60, 10))
        if hair.hangs:
            # Over the ears, and wider on the way down.
            ear = torch.exp(-((at[..., 1] - 15) / 38).square()) * torch.exp(-(at[..., 2] / 45).square())
            lift = lift + (8 + 0.3 * hair.thickness_mm) * ear
        lift = lift.clamp_min(1.2)
        if hair.bald_mm:
            bare = smoothstep(at[..., 1] - (140 - 0.8 * hair.bald_mm) + 0.25 * at[..., 2], -8, 10)
            lift = lift - bare * (lift - _UNDER_MM)
        if look.hat.worn:
            covered = 1 - smoothstep(along - look.hat.edge(cap)[:, None], -6, 22)
            lift = lift - covered * (lift - lift.clamp_max(1.0))
        # Towards the tips: into the skin where hair grows out of it, thin where it stands free.
        free = torch.maximum(hang, front * min(1.0, max(0.0, hair.fringe_mm) / 12))[:, None]
        over = hair.thickness_mm + hair.top_mm
        taper = ((1 - self._s) * length[:, None] / (6 + 0.6 * over + (1 - free) * (4 + 0.9 * over))).clamp(0, 1)
        taper = (1 - (1 - taper).square()).sqrt()
        edge = _UNDER_MM + free * (1.5 - _UNDER_MM)
        lift = edge + taper * (lift - edge)
        wall = torch.maximum(0.45 * lift, lift - 10).clamp_max(lift.amax())
        inside = torch.where(free > 0.4, lift - wall.clamp_min(1.5), torch.full_like(lift, _UNDER_MM))
        lift = torch.where(self._inner, inside, lift)
        return along, lift, hang

    def shape(self, look: HasHair, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        along, lift, hang = self._lift(look)
        shell = self._cap.points(along, lift, hang, moved_H3)
        hair = look.hair
        lattice = look.lattice_LLL.to(shell)
        if hair.hangs and hair.curl_mm > 2.2:
            # Waves, larger towards the tips.
            wave = value_noise((shell / (1.6 * hair.curl_cell_mm)).flatten(0, 1) + 3.1, lattice).view_as(along)
            shell = (
                shell
                + wave[..., None]
                * F.normalize(shell.new_tensor([0.7, 0.0, 0.7]), dim=0)
                * hair.curl_mm
                * (smoothstep(along, 120, 260)[..., None])
            )
        at = torch.full((AZIMUTHS, 1), 1.5 * hair.bun_deg, device=shell.device)
        root = self._cap.points(at, 0 * at, 0 * at[:, 0], moved_H3)[AZIMUTHS // 2, 0]
        away = F.normalize(root - root.new_tensor(CENTRE_MM), dim=0)
        size = max(hair.bun_mm, 1.0)
        lumps = 1 + 0.07 * value_noise(self._ball * 2.3, lattice, octaves=2)[:, None]
        bun = root + away * (0.75 * size) + self._ball * lumps * size
        return torch.cat([shell.flatten(0, 1), bun])

    def strands(self, look: HasHair) -> Tensor:
        """(N, 4): see :class:`data_prep.studio.looks.wardrobe.Garment`."""
        along, lift, hang = self._lift(look)
        at, hair = self._cap.points(along, lift, hang), look.hair
        radial = _radial(at, 26.0)
        if not math.isnan(hair.part_mm):
            across = torch.stack([at[..., 2] / 2.2, (at[..., 0] - hair.part_mm).sign(), at[..., 1] / 25], 2)
            on_top = smoothstep(at[..., 1], 75, 110)[..., None]
            radial = radial + on_top * (across - radial)
        elif hair.style in ("swept", "tied"):
            across = torch.stack([at[..., 0] / 2.2, at[..., 1] / 14, at[..., 2] / 30], 2)
            radial = radial + smoothstep(at[..., 1], 40, 90)[..., None] * (across - radial)
        if hair.style in ("curly", "afro"):
            radial = at / 3.5
        reached = (0.62 + 0.38 * smoothstep(lift, 0, 0.7 * hair.thickness_mm + 1)) * torch.where(self._inner, 0.4, 1.0)
        shell = torch.cat([radial, reached[..., None]], 2).flatten(0, 1)
        bun = torch.cat([self._ball * 9, torch.ones_like(self._ball[:, :1])], 1)
        return torch.cat([shell, bun])


def _radial(at_AR3: Tensor, cells: float) -> Tensor:
    """Coordinates that change round the crown quickly and downwards slowly."""
    flat = F.normalize(at_AR3[..., [0, 2]] - at_AR3.new_tensor([CENTRE_MM[0], CENTRE_MM[2]]), dim=2)
    return torch.stack([cells * flat[..., 0], at_AR3[..., 1] / 40, cells * flat[..., 1]], 2)
