"""Drawn people whose depth is known: ellipsoid heads with a nose, eyes and a mouth, ray traced in closed form.

They need no asset and no network, take milliseconds, and keep every contract: the head's axes, the camera, the shard
schema. Import as ``from fakes import write_fakes`` (``tests/`` is on the path of every test).

Each person has own radii, nose and colours (its identity coefficients are exactly these); the mouth opens by one
expression coefficient, which also is the loudness of the voice in clips.

Shapes: F frames, H = W pixels, E ellipsoids, N audio samples.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from jdap.shards import schema
from jdap.shards.sample import Sample
from jdap.shards.schema import Record
from jdap.shards.writer import ShardWriter
from jdap.units import SAMPLE_RATE

IDENTITIES, EXPRESSIONS = 10, 2
#: Head axes (y up, z out of the face) to camera axes (y down, z forward).
HEAD_TO_CAMERA = np.diag([1.0, -1.0, -1.0])
DISTANCE_MM, FOCAL_SHARE = 700.0, 2.9
SKIN, EYES, MOUTH, HAIR = range(4)


@dataclass(frozen=True)
class Person:
    """A drawn person; ``identity`` (IDENTITIES,) standard normal decides everything about it."""

    person_id: str
    identity: np.ndarray

    def ellipsoids(self, mouth_open: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres (E, 3) and radii (E, 3) in millimetres of head space, and part (E,)."""
        k = self.identity
        width, height, length = 72 + 5 * k[0], 100 + 6 * k[1], 88 + 5 * k[2]
        nose = np.array([12 + 2 * k[3], 20 + 3 * k[4], 24 + 4 * k[5]])
        eye_x, eye_y = 28 + 2 * k[6], 22.0
        eye_z = length * np.sqrt(1 - (eye_x / width) ** 2 - (eye_y / height) ** 2)
        mouth_z = length * np.sqrt(1 - (45 / height) ** 2)
        centres = [
            [0, 0, 0],
            [0, -5, length - 4],
            [-eye_x, eye_y, eye_z - 4],
            [eye_x, eye_y, eye_z - 4],
            [0, -45, mouth_z - 4],
        ]
        radii = [[width, height, length], nose, [11, 8, 8], [11, 8, 8], [22, 3 + 10 * mouth_open, 7]]
        return np.array(centres, float), np.array(radii, float), np.array([SKIN, SKIN, EYES, EYES, MOUTH])

    def colours(self) -> np.ndarray:
        """(4, 3) in [0, 1]: skin, eyes, mouth, hair."""
        tone = 1 / (1 + np.exp(-self.identity[7]))
        skin = np.array([0.45, 0.30, 0.22]) * (1 - tone) + np.array([0.95, 0.78, 0.68]) * tone
        hue = 0.5 + 0.5 * np.cos(self.identity[8] + np.array([0.0, 2.1, 4.2]))
        dark = 1 / (1 + np.exp(-self.identity[9]))
        return np.stack([skin, 0.3 + 0.7 * hue, [0.55, 0.12, 0.15], dark * np.array([0.8, 0.6, 0.3])])


def person(seed: int = 0, index: int = 0) -> Person:
    """The same person for the same numbers."""
    identity = np.clip(np.random.default_rng([seed, index]).standard_normal(IDENTITIES), -2, 2)
    return Person(f"fake-{seed}-{index}", identity.astype(np.float32))


MEAN_PERSON = Person("fake-mean", np.zeros(IDENTITIES, np.float32))


def trace(
    who: Person,
    rotation: np.ndarray,
    translation_mm: np.ndarray,
    camera_px: np.ndarray,
    size_px: int,
    mouth_open: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest surface seen through each pixel's centre.

    → z-depth in mm (H, W) float32, 0 = none; part (H, W) int, −1 = none; unit normals (H, W, 3) in camera axes.
    ``x_cam = R(rotation) diag(1, −1, −1) x_head + translation_mm``; ``camera_px`` is (f, cx, cy).
    """
    centres, radii, parts = who.ellipsoids(mouth_open)
    turn = Rotation.from_rotvec(rotation).as_matrix() @ HEAD_TO_CAMERA
    v, u = np.mgrid[:size_px, :size_px] + 0.5
    f_px, cx, cy = camera_px
    rays = np.stack([(u - cx) / f_px, (v - cy) / f_px, np.ones_like(u)], -1)
    # In head space a point of the ray is origin + z direction, with z its depth along the camera's axis.
    origin, directions = -turn.T @ translation_mm, rays @ turn
    best = np.full((size_px, size_px), np.inf)
    part = np.full((size_px, size_px), -1)
    normals = np.zeros((size_px, size_px, 3))
    for centre, radius, name in zip(centres, radii, parts, strict=True):
        o, d = (origin - centre) / radius, directions / radius
        a, b, c = (d * d).sum(-1), d @ o, o @ o - 1
        root = b * b - a * c
        z = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        hit = z < best
        outward = ((o + z[hit, None] * d[hit]) / radius) @ turn.T
        normals[hit] = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
        best[hit], part[hit] = z[hit], name
    depth_mm = np.where(np.isfinite(best), best, 0)
    # Hair and the back of the head are the skin's ellipsoid too: above the forehead, and behind the ears.
    head = origin + depth_mm[..., None] * directions
    hair = (part == SKIN) & ((head[..., 1] > 0.55 * radii[0, 1]) | (head[..., 2] < 0.25 * radii[0, 2]))
    return depth_mm.astype(np.float32), np.where(hair, HAIR, part), normals


def shade(who: Person, part: np.ndarray, normals: np.ndarray, light: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Lambertian picture (H, W, 3) uint8 under one direction of light (3,) in camera axes, on a vertical ramp."""
    lit = 0.35 + 0.65 * np.clip(-(normals @ (light / np.linalg.norm(light))), 0, 1)
    ramp = np.linspace(0.7, 1.0, part.shape[0])[:, None, None] * background
    picture = np.where((part >= 0)[..., None], who.colours()[part] * lit[..., None], ramp)
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def sample(
    seed: int = 0,
    index: int = 0,
    frames: int = 4,
    size_px: int = 64,
    fps: float = 0.0,
    chunk: int = 0,
    sound: bool = True,
    depth_source: str = schema.STUDIO,
    mean_head: bool = True,
    confidence: bool = False,
) -> Sample:
    """One sample of drawn person ``index``.

    Stills (``fps`` 0) have a pose, mouth, lens, light and background of their own in each frame; in a clip the head
    turns and talks smoothly before one camera, and consecutive ``chunk`` numbers go on where the last one ended.
    Clips have sound unless ``sound`` is false; the posed mean head is there unless ``mean_head`` is false.
    With ``confidence`` there is a map of it, which rises from 0 at the left to 1 at the right.
    """
    who = person(seed, index)
    stills = fps == 0
    rng = np.random.default_rng([seed, index, chunk if stills else 0, 1])
    count = frames if stills else 1
    phase = rng.uniform(0, 2 * np.pi, 4)
    light, background = rng.uniform([-1, -0.5, 0.6], [1, 1, 1.2], (count, 3)), rng.uniform(0.1, 0.9, (count, 3))
    zoom, shift = rng.uniform(0.95, 1.1, count), rng.uniform(-0.03, 0.03, (count, 2))
    sway, mouth = rng.uniform(-1, 1, (frames, 3)), rng.uniform(0, 1, frames)
    first = chunk * frames
    if not stills:
        seconds = (first + np.arange(frames)) / fps
        sway = np.sin(2 * np.pi * np.array([0.3, 0.5, 0.2]) * seconds[:, None] + phase[:3])
        mouth = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * seconds + phase[3])
    rotation = sway * np.array([0.2, 0.5, 0.12])
    translation = np.array([0.0, 0.0, DISTANCE_MM]) + sway[:, [2, 0, 1]] * np.array([8.0, 8.0, 25.0])
    camera = np.column_stack([FOCAL_SHARE * zoom, 0.5 + shift]) * size_px
    camera = np.broadcast_to(camera, (frames, 3))

    rgb, depth_mm, skin, mean_mm = [], [], [], []
    for i in range(frames):
        pose = (rotation[i], translation[i], camera[i], size_px, float(mouth[i]))
        z, part, normals = trace(who, *pose)
        rgb.append(shade(who, part, normals, light[i % count], background[i % count]))
        depth_mm.append(z)
        skin.append(part == SKIN)
        mean_mm.append(trace(MEAN_PERSON, *pose)[0])
    # Of the mouth's ellipsoid, whose half height this is; a fit of a video does not know it.
    opening_mm = [float(2 * (3 + 10 * m)) for m in mouth]
    lips = {} if stills or depth_source != schema.STUDIO else {"lip_opening_mm": opening_mm}
    record = Record(
        clip_id=f"{who.person_id}-stills-{chunk}" if stills else f"{who.person_id}-clip",
        person_id=who.person_id,
        depth_source=depth_source,
        frames=frames,
        size_px=size_px,
        fps=fps,
        first_frame=0 if stills else first,
        source="tests/fakes.py",
        scores={"sharpness": [1.0] * frames} | lips,
        software={"numpy": np.__version__},
    )
    arrays = {
        "camera_px": camera,
        "rotation": rotation,
        "translation_mm": translation,
        "identity": np.broadcast_to(who.identity, (frames, IDENTITIES)),
        "expression": np.column_stack([mouth, np.zeros(frames)]),
    }
    return Sample(
        record=record,
        rgb_FHW3=np.stack(rgb),
        depth_mm_FHW=np.stack(depth_mm),
        skin_FHW=np.stack(skin),
        arrays={name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
        audio=None if stills or not sound else voice(first, frames, fps, float(phase[3])),
        mean_head_mm_FHW=np.stack(mean_mm) if mean_head else None,
        confidence_FHW=np.tile(np.linspace(0, 1, size_px, dtype=np.float32), (frames, size_px, 1))
        if confidence
        else None,
    )


def voice(first_frame: int, frames: int, fps: float, phase: float) -> np.ndarray:
    """A 200 Hz tone (N,) float32, as loud as the mouth of :func:`sample` is open."""
    seconds = first_frame / fps + np.arange(round(frames * SAMPLE_RATE / fps)) / SAMPLE_RATE
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * seconds + phase)
    return (0.8 * loudness * np.sin(2 * np.pi * 200 * seconds)).astype(np.float32)


def write_fakes(
    folder: str | Path,
    people: int = 4,
    frames: int = 4,
    size_px: int = 64,
    fps: float = 0.0,
    chunks: int = 1,
    per_shard: int = 2,
    seed: int = 0,
    first_person: int = 0,
    sound: bool = True,
    depth_source: str = schema.STUDIO,
    mean_head: bool = True,
    confidence: bool = False,
) -> list[Path]:
    """Shards of ``people`` x ``chunks`` samples, ``per_shard`` each, in ``folder`` → their paths.

    Give another ``seed`` or ``first_person`` to another split, so that it holds other people.
    """
    with ShardWriter(folder, "fakes", max_samples=per_shard) as writer:
        for index in range(first_person, first_person + people):
            for chunk in range(chunks):
                writer.write(
                    sample(seed, index, frames, size_px, fps, chunk, sound, depth_source, mean_head, confidence)
                )
    return writer.shards


def sha256(path: Path) -> str:
    """Of a file, by another program than ours."""
    return subprocess.run(["sha256sum", path], capture_output=True, check=True, text=True).stdout.split()[0]
