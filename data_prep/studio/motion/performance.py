"""What happens in front of the studio's camera: expressions, gaze, head rotation, lens and framing, for stills and
clips. Who talks (:mod:`data_prep.studio.speech.talk`) moves head, eyes and brows by the same functions.

A still is one random draw; in a clip what moves is a smooth function of time, a sum of a few sinusoids with random
frequencies, so that a longer clip begins like a shorter one.

Shapes: F frames, E expressions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from jdap.geometry import axis_angle_to_matrix, head_rotation, matrix_to_axis_angle
from jdap.units import FPS

YAW_DEG, PITCH_DEG, ROLL_DEG = 40.0, 20.0, 12.0
HFOV_DEG = (15.0, 45.0)
FILL = (0.55, 0.85)
#: Height of the mean head with hair, and its middle in head space, by which pictures are framed.
HEAD_HEIGHT_MM = 232.0
HEAD_MIDDLE_MM = (0.0, 24.0, 20.0)
#: Gaze at full strength of ARKit's eyeLook shapes.
GAZE_DEG = 30.0


@dataclass(frozen=True, eq=False)
class Take:
    """Coefficients and cameras of F frames: float32, as :data:`jdap.shards.schema.ARRAYS` defines them."""

    expression_FE: np.ndarray
    rotation_F3: np.ndarray
    translation_mm_F3: np.ndarray
    camera_px_F3: np.ndarray


def draw_still(rng: np.random.Generator, names: tuple[str, ...], size: int) -> Take:
    """One picture of ``size`` pixels a side."""
    return _draw(Tracks(rng, 1, moving=False), names, size)


def draw_clip(rng: np.random.Generator, names: tuple[str, ...], frames: int, size: int) -> Take:
    """``frames`` consecutive pictures at 25 fps through one lens."""
    return _draw(Tracks(rng, frames, moving=True), names, size)


def join(takes: list[Take]) -> Take:
    """The takes one after the other."""
    return Take(*(np.concatenate([getattr(take, f.name) for take in takes]) for f in fields(Take)))


def _draw(tracks: Tracks, names: tuple[str, ...], size: int) -> Take:
    rotation = to_axis_angle(head_angles(tracks))
    return compose(tracks, names, _expression(tracks, rotation), rotation, size)


def compose(
    tracks: Tracks, names: tuple[str, ...], amounts: dict[str, np.ndarray], rotation_F3: np.ndarray, size: int
) -> Take:
    """The take of these expressions (F,), by name, and head rotations, through a random lens with a random framing."""
    expression = np.clip(np.stack([amounts[name] for name in names], -1), 0, 1)
    camera, target, depth = _lens(tracks.rng, size)
    drift = tracks.smooth(0.01, 0.5)[:, None] * np.array([1.0, 0.4]) * size
    across = (target + drift - camera[1:]) / camera[0] * depth
    middle = np.column_stack([across, np.full(tracks.count, depth)])
    # The head's middle goes where the framing wants it; the translation is where its origin then lies.
    turn = head_rotation(torch.from_numpy(rotation_F3)).numpy()
    translation = middle - turn @ np.array(HEAD_MIDDLE_MM)
    cameras = np.repeat(camera[None], tracks.count, 0)
    return Take(*(a.astype(np.float32) for a in (expression, rotation_F3, translation, cameras)))


def _lens(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Camera (f, cx, cy) px, where the head's middle lands, px, and at what depth, mm."""
    f = size / 2 / np.tan(np.deg2rad(rng.uniform(*HFOV_DEG)) / 2)
    centre = size * (0.5 + rng.uniform(-0.12, 0.12, 2))
    target = size * (0.5 + rng.uniform(-0.06, 0.06, 2))
    return np.array([f, *centre]), target, f * HEAD_HEIGHT_MM / (rng.uniform(*FILL) * size)


class Tracks:
    """Random functions of the frame: constants, and with ``moving`` smooth motion on top of them."""

    def __init__(self, rng: np.random.Generator, frames: int, moving: bool) -> None:
        self.rng, self.moving, self.count = rng, moving, frames
        self.seconds = np.arange(frames) / FPS

    def uniform(self, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        """(F,) one random value."""
        return np.full(self.count, self.rng.uniform(low, high))

    def chance(self, probability: float) -> np.ndarray:
        """(F,) 1 with this probability, else 0."""
        return (self.uniform(0, 1) < probability).astype(float)

    def smooth(self, amplitude: float, hertz: float) -> np.ndarray:
        """(F,) zero-mean motion around ``hertz``; zeros for stills."""
        if not self.moving:
            return np.zeros(self.count)
        rates = hertz * self.rng.uniform(0.5, 1.5, 4)
        phases = self.rng.uniform(0, 2 * np.pi, 4)
        waves = np.sin(2 * np.pi * self.seconds[:, None] * rates + phases)
        return amplitude * (waves @ self.rng.dirichlet(np.ones(4))) * 1.6

    def sometimes(self, probability: float, high: float) -> np.ndarray:
        """(F,) 0, or with this probability an amount up to ``high``, small ones more often, drifting in a clip."""
        amount = self.chance(probability) * high * self.uniform(0, 1) ** 1.5
        return amount * (1 + self.smooth(0.5, 0.7))

    def blinks(self) -> np.ndarray:
        """(F,) 0 … 1: a blink in three seconds of a clip; one still in eleven has its eyes (half) shut."""
        if not self.moving:
            return self.chance(0.09) * self.uniform(0.5, 1)
        # Times are drawn well beyond the end, so that what follows does not depend on the clip's length.
        first = self.rng.uniform(0, 1.5)
        return blink(self.seconds, first + np.append(0, np.cumsum(0.4 + self.rng.exponential(2.7, 64))))

    def pair(self, out: dict[str, np.ndarray], name: str, amount: np.ndarray) -> None:
        """Add an amount to the left and right half of an expression, nearly alike."""
        for side in ("_L", "_R"):
            out[name + side] = out.get(name + side, 0.0) + amount * (1 + 0.15 * self.uniform())


def blink(seconds_F: np.ndarray, times_N: np.ndarray) -> np.ndarray:
    """(F,) how far lids are shut that blink at these times, 0.28 s each."""
    return np.clip(1.25 - np.abs(seconds_F[:, None] - times_N) / 0.115, 0, 1).max(1, initial=0)


def head_angles(tracks: Tracks, sway: float = 1.0) -> np.ndarray:
    """(F, 3) yaw, pitch and roll, degrees. Peaked at frontal: angles are the largest one times |u|^1.5, u uniform.

    ``sway`` scales the motion in a clip.
    """

    def angle(most: float, motion: float, hertz: float) -> np.ndarray:
        u = tracks.uniform()
        return np.clip(most * np.sign(u) * np.abs(u) ** 1.5 + sway * tracks.smooth(motion, hertz), -most, most)

    return np.stack([angle(YAW_DEG, 7, 0.35), angle(PITCH_DEG, 4, 0.5), angle(ROLL_DEG, 2.5, 0.3)], -1)


def to_axis_angle(angles_F3: np.ndarray) -> np.ndarray:
    """(F, 3) axis-angle, radians, of yaw, pitch and roll in degrees: yaw first, roll last."""
    yaw, pitch, roll = np.deg2rad(angles_F3).T
    zero = np.zeros_like(yaw)
    matrices = [
        axis_angle_to_matrix(torch.from_numpy(np.stack(axes, -1)))
        for axes in ([zero, zero, roll], [pitch, zero, zero], [zero, yaw, zero])
    ]
    return matrix_to_axis_angle(matrices[0] @ matrices[1] @ matrices[2]).numpy()


def _expression(tracks: Tracks, rotation: np.ndarray) -> dict[str, np.ndarray]:
    """(F,) of each of ARKit's expressions: a few muscles at a time. Nobody talks."""
    out: dict[str, np.ndarray] = {}
    talk = tracks.chance(0.45)
    out["jawOpen"] = talk * 0.45 * tracks.uniform(0, 1) ** 1.4 * (1 + tracks.smooth(0.5, 0.7))
    smile = smiling(tracks, out, 0.4, 0.8)
    tracks.pair(out, "eyeSquint", tracks.sometimes(0.15, 0.5))
    tracks.pair(out, "mouthDimple", tracks.sometimes(0.15, 0.5))
    calm = 1 - smile
    tracks.pair(out, "mouthFrown", calm * tracks.sometimes(0.2, 0.6))
    tracks.pair(out, "mouthStretch", calm * tracks.sometimes(0.15, 0.5))
    tracks.pair(out, "mouthPress", (1 - talk) * tracks.sometimes(0.2, 0.5))
    tracks.pair(out, "mouthLowerDown", tracks.sometimes(0.2, 0.4))
    tracks.pair(out, "mouthUpperUp", tracks.sometimes(0.15, 0.35))
    for name, probability, most in (
        ("mouthPucker", 0.15, 0.8),
        ("mouthFunnel", 0.15, 0.6),
        ("mouthRollLower", 0.12, 0.5),
        ("mouthRollUpper", 0.12, 0.4),
        ("mouthShrugLower", 0.2, 0.5),
        ("mouthShrugUpper", 0.15, 0.4),
        ("jawForward", 0.1, 0.4),
    ):
        out[name] = calm * tracks.sometimes(probability, most)
    out["mouthClose"] = np.zeros(tracks.count)
    for left, right, probability, most in (
        ("jawLeft", "jawRight", 0.15, 0.35),
        ("mouthLeft", "mouthRight", 0.15, 0.45),
    ):
        side, amount = tracks.uniform(), tracks.sometimes(probability, most)
        out[left], out[right] = amount * (side > 0), amount * (side <= 0)
    tracks.pair(out, "cheekPuff", calm * tracks.sometimes(0.05, 0.5))
    brows(tracks, out)
    lids(tracks, out, tracks.blinks())
    gaze(tracks, out, rotation)
    return out


def smiling(tracks: Tracks, out: dict[str, np.ndarray], probability: float, most: float) -> np.ndarray:
    """(F,) how much somebody smiles who sometimes does, with the cheeks and lids that go with it."""
    smile = tracks.sometimes(probability, most)
    tracks.pair(out, "mouthSmile", smile)
    tracks.pair(out, "cheekSquint", 0.5 * smile)
    tracks.pair(out, "eyeSquint", 0.35 * smile)
    return smile


def brows(tracks: Tracks, out: dict[str, np.ndarray]) -> None:
    """Brows and nose."""
    for name in ("browDown", "browInnerUp", "browOuterUp"):
        tracks.pair(out, name, tracks.sometimes(0.25, 0.7))
    tracks.pair(out, "noseSneer", tracks.sometimes(0.1, 0.5))


def lids(tracks: Tracks, out: dict[str, np.ndarray], blinking: np.ndarray) -> None:
    """Lids that blink (F,), hang or are wide open."""
    tracks.pair(out, "eyeBlink", np.maximum(tracks.sometimes(0.4, 0.25), blinking))
    tracks.pair(out, "eyeWide", (1 - blinking) * tracks.sometimes(0.12, 0.6))


def gaze(tracks: Tracks, out: dict[str, np.ndarray], rotation: np.ndarray) -> None:
    """Eyes that wander, and half of the time turn back towards the camera."""
    contact = tracks.uniform(0, 1) * tracks.chance(0.6)
    # To first order: positive yaw turns the head to its right and positive pitch down, so the eyes go left and up.
    left = np.rad2deg(rotation[:, 1]) * contact + 7 * tracks.uniform() + tracks.smooth(3, 0.8)
    up = np.rad2deg(rotation[:, 0]) * contact + 5 * tracks.uniform() + tracks.smooth(2, 0.8)
    left, up = np.clip(left / GAZE_DEG, -0.8, 0.8), np.clip(up / GAZE_DEG, -0.7, 0.6)
    out["eyeLookOut_L"] = out["eyeLookIn_R"] = np.maximum(left, 0)
    out["eyeLookIn_L"] = out["eyeLookOut_R"] = np.maximum(-left, 0)
    out["eyeLookUp_L"] = out["eyeLookUp_R"] = np.maximum(up, 0)
    out["eyeLookDown_L"] = out["eyeLookDown_R"] = np.maximum(-up, 0)


def gaze_direction(names: tuple[str, ...], expression_FE: np.ndarray) -> np.ndarray:
    """(F, 2, 3) head-space unit vectors along which right and left eye look, by ARKit's eyeLook coefficients."""
    column = {name: expression_FE[:, i] for i, name in enumerate(names)}
    eyes = []
    for side, sign in (("_R", -1.0), ("_L", 1.0)):
        # x points to the subject's left, which is outwards for the left eye.
        yaw = sign * (column["eyeLookOut" + side] - column["eyeLookIn" + side]) * np.deg2rad(GAZE_DEG)
        pitch = (column["eyeLookUp" + side] - column["eyeLookDown" + side]) * np.deg2rad(GAZE_DEG)
        eyes.append(np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], -1))
    return np.stack(eyes, 1)
