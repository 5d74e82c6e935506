"""The light of a picture, from its shape: harmonics from all around and one lamp, fitted to skin.

Skin is taken to have one colour, so what varies over it is light. Albedo does vary: brows, eyes, lips, beards. So the
fit is robust (Huber, by reweighted least squares on relative errors, which is a fit of logarithms), and it starts from
what light usually is: not seen from the front, most of the nine harmonics look alike.

For every direction that a lamp may have, with the shadows that the shape then casts, harmonics and lamp are fitted
together; the direction that explains the picture best is taken. What comes out is light times the skin's albedo: how
fair skin is, and how strong light, a single picture does not say.

Shapes: B pictures, H x W pixels, K directions, N pixels of skin, 10 unknowns: nine harmonics and the lamp's power.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.light.lights import LUMINANCE, Light, LightError, harmonics, join, lambert
from jdap.light.shadows import cast_shadows

#: The fit is made on pictures of about this side: light is smooth.
LIGHT_SIDE_PX = 48
#: Directions of the lamp that are tried, all over the sphere, and up to how far behind the face (cosine).
LAMP_DIRECTIONS, BEHIND_FACE = 100, 0.3
#: Relative errors beyond this are albedo, not light; and what is darker than that share of the mean is black.
HUBER, DARKEST = 0.15, 0.05
FIT_ROUNDS = 6
#: Light as it usually is, for a picture of mean 1: mean and standard deviation of each unknown.
USUAL_LIGHT = (0.5, -0.1, 0.0, 0.0, *[0.0] * 5, 0.5)
USUAL_SPREAD = (0.4, 0.2, 0.2, 0.2, *[0.06] * 5, 0.5)
#: Neighbouring pixels err together: of the skin's pixels so many count, at a relative error of about HUBER.
COUNT = 60.0
#: Colours of skin lie around the median's, in logarithms of red and blue over green, by this at least.
CHROMA = 0.12
LEAST_PIXELS = 30


def skin_weight(light_B3HW: Tensor, has_B1HW: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how much a pixel has the colour that most of the face has; 0 where ``has`` is not."""
    logs = light_B3HW.clamp_min(1e-3).log()
    chroma = torch.stack([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]], 1)
    out = torch.zeros_like(light_B3HW[:, :1])
    for i, has in enumerate(has_B1HW[:, 0]):
        if has.any():
            own = chroma[i][:, has]
            middle = own.median(1, keepdim=True).values
            spread = (1.48 * (own - middle).abs().median(1, keepdim=True).values).clamp_min(CHROMA)
            out[i, 0][has] = torch.exp(-0.5 * ((own - middle) / (1.5 * spread)).square().sum(0))
    return out


def estimate_light(
    light_B3HW: Tensor, normals_B3HW: Tensor, depth_mm_B1HW: Tensor, camera_px_B3: Tensor, weight_B1HW: Tensor
) -> Light:
    """The light of B pictures of linear light (:func:`jdap.light.colour.to_light`), times the skin's albedo.

    ``weight_B1HW`` in [0, 1] says how much a pixel is skin. A picture with less than :data:`LEAST_PIXELS` of it raises
    :class:`jdap.light.lights.LightError`.
    """
    step = max(1, round(light_B3HW.shape[-1] / LIGHT_SIDE_PX))
    linear = F.avg_pool2d(light_B3HW, step)
    small = [x[..., step // 2 :: step, step // 2 :: step] for x in (normals_B3HW, depth_mm_B1HW, weight_B1HW)]
    normals, depth, weight = (x[..., : linear.shape[-2], : linear.shape[-1]] for x in small)
    ones = [slice(i, i + 1) for i in range(len(linear))]
    return join([_fit(linear[i], normals[i], depth[i], camera_px_B3[i] / step, weight[i]) for i in ones])


def _fit(light: Tensor, normals: Tensor, depth_mm: Tensor, camera_px_13: Tensor, weight: Tensor) -> Light:
    """The light of one picture, given as batches of one."""
    kept = (weight[0, 0] > 0.05) & (normals[0].square().sum(0) > 0)
    if int(kept.sum()) < LEAST_PIXELS:
        raise LightError(f"{int(kept.sum())} pixels of skin with depth: too few to tell its light from")
    normal_N3, colour_N3 = normals[0][:, kept].T, light[0][:, kept].T
    weight_N = weight[0, 0][kept]
    luminance_N = colour_N3 @ colour_N3.new_tensor(LUMINANCE)
    mean = (luminance_N * weight_N).sum() / weight_N.sum()
    basis_N9, level_N = harmonics(normal_N3), luminance_N / mean

    def best_of(lamps_K3: Tensor) -> tuple[Tensor, Tensor]:
        """The lamp (3,) that explains the picture best, and what there is to fit with it (N, 10)."""
        opened_KN = cast_shadows(depth_mm, camera_px_13, lamps_K3[None])[0][:, kept]
        falls = lambert(lamps_K3 @ normal_N3.T) * opened_KN
        design_KN10 = torch.cat([basis_N9.expand(len(lamps_K3), -1, -1), falls[..., None]], -1)
        _, cost_K = _solve(design_KN10, level_N.expand(len(lamps_K3), -1), weight_N)
        best = int(cost_K.argmin())
        return lamps_K3[best], design_KN10[best]

    lamp_3, _ = best_of(_directions().to(normal_N3))
    lamp_3, design_N10 = best_of(_beside(lamp_3))
    # Each channel by itself, with the lamp where luminance found it.
    channels = (colour_N3 / mean.clamp_min(1e-6)).T
    scale = channels.mean(1, keepdim=True).clamp_min(1e-6)
    unknown_C10, _ = _solve(design_N10.expand(3, -1, -1), channels / scale, weight_N)
    unknown_C10 = unknown_C10 * scale * mean
    return Light(unknown_C10[:, :9].T[None], lamp_3[None, None], unknown_C10[:, 9][None, None])


def _solve(design_KN10: Tensor, level_KN: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely unknowns (K, 10) of each column of levels of mean 1, and how unlikely they are (K,)."""
    usual, spread = design_KN10.new_tensor(USUAL_LIGHT), design_KN10.new_tensor(USUAL_SPREAD)
    share = COUNT / weight_N.sum() / HUBER**2
    unknown = usual.expand(len(design_KN10), -1)
    for _ in range(FIT_ROUNDS):
        made = torch.einsum("knj,kj->kn", design_KN10, unknown).clamp_min(DARKEST)
        off = (level_KN.clamp_min(DARKEST) / made).log().abs()
        trust = share * weight_N * (HUBER / off.clamp_min(HUBER)) / made.square()
        weighted = design_KN10 * trust[..., None]
        normal = torch.einsum("knj,kni->kji", weighted, design_KN10) + torch.diag(spread.pow(-2))
        right = torch.einsum("knj,kn->kj", weighted, level_KN) + usual / spread.square()
        unknown = torch.linalg.solve(normal, right)
        unknown = torch.cat([unknown[:, :9], unknown[:, 9:].clamp_min(0)], 1)
    made = torch.einsum("knj,kj->kn", design_KN10, unknown).clamp_min(DARKEST)
    off = (level_KN.clamp_min(DARKEST) / made).log().abs()
    huber = torch.where(off < HUBER, 0.5 * off.square(), HUBER * (off - 0.5 * HUBER))
    cost = (share * weight_N * huber).sum(1) + 0.5 * ((unknown - usual) / spread).square().sum(1)
    return unknown, cost


def _directions() -> Tensor:
    """(K, 3) unit vectors, evenly spread, without those from behind the face."""
    i = torch.arange(LAMP_DIRECTIONS, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / LAMP_DIRECTIONS
    turn = math.pi * (1 + 5**0.5) * i
    ring = (1 - z.square()).sqrt()
    towards = torch.stack([ring * turn.cos(), ring * turn.sin(), z], 1)
    return towards[z < BEHIND_FACE].float()


def _beside(lamp_3: Tensor) -> Tensor:
    """(K, 3) unit vectors: a direction, and eight around it, half as far as :func:`_directions` are apart."""
    other = torch.linalg.cross(lamp_3, lamp_3.new_tensor([1.0, 0, 0] if abs(lamp_3[1]) > 0.7 else [0, 1.0, 0]), dim=0)
    across = F.normalize(other, dim=0)
    along = torch.linalg.cross(lamp_3, across, dim=0)
    turn = torch.arange(8, device=lamp_3.device) * (math.pi / 4)
    apart = math.sqrt(math.pi / LAMP_DIRECTIONS)
    ring = torch.cos(turn)[:, None] * across + torch.sin(turn)[:, None] * along
    return F.normalize(torch.cat([lamp_3[None], lamp_3 + apart * ring]), dim=1)
