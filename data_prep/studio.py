"""``python -m data_prep studio``: pictures of random people with exact depth, in shards.

A person is a pure function of (seed, index): the splits are disjoint ranges of the index, so held-out people share
no random stream, and thus no identity coefficients, with training ones. Neither the number of people nor of workers
nor the device changes what is drawn, and a still does not depend on how many follow it.

Shapes: F frames, S x S pixels, G = 2 S + 1 samples a side, V vertices, T triangles, N samples on the head.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from data_prep import takes
from data_prep.bust import Bust, make_bust
from data_prep.looks import light, picture, shadow, surface
from data_prep.looks.person import Paint, PersonLook, draw_look, paint
from data_prep.morphable import HEAD_TO_VIEWER, head_to_camera, load_ict
from data_prep.render import Fragments, interpolate, rasterise
from data_prep.shards import Sample, ShardWriter
from jdap.geometry import axis_angle_to_matrix, project, vertex_normals
from jdap.schema import STUDIO, Record

#: Where each split's people begin. person_id names the index, so no id is in two splits.
SPLIT_START = {"train": 0, "val": 1_000_000, "test": 2_000_000}
MAX_PEOPLE = 1_000_000
#: Identity coefficients are standard normal, redrawn beyond this many standard deviations.
MAX_IDENTITY_SD = 2.0
#: A pixel counts as skin where hair and clothes cover less than this.
MAX_COVER = 0.5
#: Automatic exposure brings a head of this mean luminance there, and others part of the way.
TARGET_LUMINANCE, ADAPTATION = 0.24, 0.65
_LOOK, _IDENTITY, _TAKE = range(3)


class StudioError(ValueError):
    """Arguments that ask for what the studio cannot make."""


@dataclass(frozen=True, eq=False)
class Person:
    """Who is photographed: ``person_id``, ``identity_K`` in standard deviations, and the look."""

    person_id: str
    identity_K: np.ndarray
    look: PersonLook


def draw_person(seed: int, index: int, modes: int) -> Person:
    """The person of this seed and index, with ``modes`` identity coefficients."""
    rng = _stream(seed, index, _IDENTITY)
    identity = rng.standard_normal(modes)
    while (wide := np.abs(identity) > MAX_IDENTITY_SD).any():
        identity[wide] = rng.standard_normal(int(wide.sum()))
    return Person(f"studio-{seed}-{index}", identity.astype(np.float32), draw_look(_stream(seed, index, _LOOK)))


def _stream(seed: int, index: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, *purpose)))


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about one frame but the person and its take."""

    lighting: light.Lighting
    background: picture.Background
    sensor: picture.Sensor


def draw_scene(rng: np.random.Generator) -> Scene:
    """Random light, background and sensor."""
    return Scene(light.draw_lighting(rng), picture.draw_background(rng), picture.draw_sensor(rng))


class Studio:
    """Photographs random people. ``device`` is where it renders."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.bust: Bust = make_bust(load_ict(device=self.device))
        self._eyes = self.bust.part("sclera")
        self._teeth = self.bust.part("teeth")
        self._mouth = self.bust.part("teeth", "gums_tongue", "mouth_socket")
        opaque = self.bust.part("face", "head_neck")
        self._transfer = shadow.measure_transfer(self.bust.rest_V3, self.bust.faces_T3, opaque)

    def sample(self, seed: int, index: int, frames: int, size: int, clip: bool, mean_head: bool) -> Sample:
        """One sample of the person (seed, index): ``frames`` stills, or a silent clip of as many frames at 25 fps.

        ``size`` is the side of the pictures, pixels; ``mean_head`` adds the depth of the posed mean head.
        """
        names = self.bust.model.expression_names
        person = draw_person(seed, index, len(self.bust.model.identity_KV3))
        if clip:
            rng = _stream(seed, index, _TAKE, 0)
            scenes = [draw_scene(rng)] * frames
            take = takes.draw_clip(rng, names, frames, size)
        else:
            streams = [_stream(seed, index, _TAKE, 1, i) for i in range(frames)]
            scenes = [draw_scene(rng) for rng in streams]
            take = takes.join([takes.draw_still(rng, names, size) for rng in streams])
        rgb, depth_mm, skin = self._photograph(person, take, scenes, size)
        arrays = {
            "camera_px": take.camera_px_F3,
            "rotation": take.rotation_F3,
            "translation_mm": take.translation_mm_F3,
            "identity": np.repeat(person.identity_K[None], frames, 0),
            "expression": take.expression_FE,
        }
        record = Record(
            clip_id=f"{person.person_id}-{'clip' if clip else 'stills'}",
            person_id=person.person_id,
            depth_source=STUDIO,
            frames=frames,
            size_px=size,
            fps=takes.FPS if clip else 0.0,
            source="ICT-FaceKit",
            software={"jdap": _version(), "torch": torch.__version__},
        )
        mean_mm = self._mean_head(take, size) if mean_head else None
        return Sample(record, rgb, depth_mm, skin, arrays, mean_head_mm_FHW=mean_mm)

    def _photograph(
        self, person: Person, take: takes.Take, scenes: list[Scene], size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """RGB (F, S, S, 3) uint8, depth (F, S, S) float32 mm, skin (F, S, S) bool."""
        bust = self.bust
        neutral = bust.neutral(torch.from_numpy(person.identity_K).to(self.device))
        painted = paint(person.look, bust.regions, bust.rest_V3)
        outward = vertex_normals(neutral[None], bust.faces_T3)[0]
        neutral = neutral + painted.lift_mm_V[:, None] * outward
        gaze = takes.gaze_direction(bust.model.expression_names, take.expression_FE)
        rgb, depth_mm, skin = [], [], []
        gain = 0.0
        for i, scene in enumerate(scenes):
            head = bust.pose(neutral, torch.from_numpy(take.expression_FE[i]).to(self.device))
            vertices, camera = self._to_camera(head, take, i)
            grid = picture.grid_size(size)
            visible = facing(vertices, bust.faces_T3, picture.grid_camera(camera), grid)
            fragments = rasterise(vertices, bust.faces_T3[visible], picture.grid_camera(camera), grid, grid)
            shot = self._shade(person, painted, head, vertices, visible, fragments, scene, gaze[i], take.rotation_F3[i])
            if i == 0 or scene is not scenes[i - 1]:
                gain = shot.gain
            linear = picture.downsample(shot.rgb_GG3[None])[0]
            rgb.append(picture.expose(linear, scene.sensor, gain, i).cpu().numpy())
            depth_mm.append(picture.centres(fragments.depth_mm)[0].cpu().numpy())
            skin.append(picture.centres(shot.skin_GG[None])[0].cpu().numpy())
        return np.stack(rgb), np.stack(depth_mm), np.stack(skin)

    def _to_camera(self, head_V3: Tensor, take: takes.Take, i: int) -> tuple[Tensor, Tensor]:
        rotation, translation, camera = (
            torch.from_numpy(a[i : i + 1]).to(self.device)
            for a in (take.rotation_F3, take.translation_mm_F3, take.camera_px_F3)
        )
        return head_to_camera(head_V3[None], rotation, translation), camera

    def _shade(
        self,
        person: Person,
        painted: Paint,
        head_V3: Tensor,
        vertices_1V3: Tensor,
        visible_T: Tensor,
        fragments: Fragments,
        scene: Scene,
        gaze_23: np.ndarray,
        rotation_3: np.ndarray,
    ) -> _Shot:
        bust, look = self.bust, person.look
        faces = bust.faces_T3[visible_T]
        normals = vertex_normals(vertices_1V3, _around(faces, bust.faces_T3, len(bust.rest_V3)))[0]
        lighting = scene.lighting.to(self.device)
        opened = self._shadows(lighting, torch.from_numpy(rotation_3))
        attributes = [vertices_1V3[0], normals, bust.rest_V3, surface.vertex_channels(painted), opened]
        seen = fragments.mask[0]
        values = interpolate(fragments, faces, torch.cat(attributes, 1)[None])[0][seen]
        position, normal, rest, channels, opened = values.split([a.shape[1] for a in attributes], 1)
        normal, to_eye = F.normalize(normal, dim=1), F.normalize(-position, dim=1)
        face = visible_T[fragments.face[0][seen]]
        eyes, mouth, teeth = self._eyes[face], self._mouth[face], self._teeth[face]
        skin = ~(eyes | mouth)
        apart = (head_V3[bust.lips[0]] - head_V3[bust.lips[1]]).norm()
        gaze = torch.from_numpy(gaze_23).to(rest)
        looks = surface.join(
            [
                (skin, surface.skin_surface(look, rest[skin], channels[skin])),
                (eyes, surface.eye_surface(look, rest[eyes], bust.regions.eyeball_mm, gaze)),
                (mouth, surface.mouth_surface(rest[mouth], teeth[mouth], apart)),
            ],
            len(rest),
        )
        # Inside of the mouth it is dark for its own reasons, and the mean head's is shut.
        opened = torch.where(mouth[:, None], torch.ones_like(opened), opened) * looks.open_N[:, None]
        colour = light.shade(
            lighting,
            looks.albedo_N3,
            normal,
            to_eye,
            looks.gloss_N,
            looks.sharpness_N,
            looks.wrap_N,
            opened[:, 0],
            opened[:, 1:],
        )
        luminance = float((colour @ colour.new_tensor([0.2126, 0.7152, 0.0722])).mean())
        gain = (TARGET_LUMINANCE / luminance) ** ADAPTATION
        # Exposure is set by the head; the background is drawn for the picture, not for the scene.
        rgb = scene.background.draw(seen.shape[0], self.device) / gain
        rgb[seen] = colour
        skin_seen = torch.zeros_like(seen)
        skin_seen[seen] = bust.skin_T[face] & (looks.hair_N < MAX_COVER) & (looks.clothes_N < MAX_COVER)
        return _Shot(rgb, skin_seen, gain)

    def _shadows(self, lighting: light.Lighting, rotation_3: Tensor) -> Tensor:
        """(V, 1 + D): the share that arrives of the ambient light and of each lamp."""
        turn = axis_angle_to_matrix(rotation_3).to(self.device) * torch.tensor(HEAD_TO_VIEWER, device=self.device)
        transfer = self._transfer
        # Radiance is taken to vary over directions as irradiance does, only less smooth: both are of low order.
        ambient = light.ambient_irradiance(lighting, transfer.directions_D3 @ turn.T).mean(1, keepdim=True)
        return transfer.shadow(torch.cat([ambient, transfer.lobes(lighting.lamps_D3 @ turn)], 1))

    def _mean_head(self, take: takes.Take, size: int) -> np.ndarray:
        """(F, S, S) float32 mm: the depth of the mean head with each frame's pose and camera."""
        out = []
        for i in range(len(take.rotation_F3)):
            vertices, camera = self._to_camera(self.bust.rest_V3, take, i)
            visible = facing(vertices, self.bust.faces_T3, camera, size)
            fragments = rasterise(vertices, self.bust.faces_T3[visible], camera, size, size)
            out.append(fragments.depth_mm[0].cpu().numpy())
        return np.stack(out)


@dataclass(frozen=True, eq=False)
class _Shot:
    """Linear ``rgb_GG3`` before exposure, ``skin_GG`` bool, and the automatic exposure's ``gain``."""

    rgb_GG3: Tensor
    skin_GG: Tensor
    gain: float


def facing(vertices_1V3: Tensor, faces_T3: Tensor, camera_13: Tensor, grid: int) -> Tensor:
    """Indices of the triangles that can be seen: front to the camera, with a sample centre in their bounding box.

    It only spares the rasteriser work: a head is closed, so what turns its back is hidden.
    """
    corners = project(vertices_1V3, camera_13)[0][faces_T3]
    across, down = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    # A hair wider than the rasteriser's own test, which is in double precision.
    low, high = (corners.amin(1) - 0.501).ceil().clamp_min(0), (corners.amax(1) - 0.499).floor().clamp_max(grid - 1)
    return (front & (low <= high).all(1)).nonzero()[:, 0]


def _around(seen_S3: Tensor, faces_T3: Tensor, vertices: int) -> Tensor:
    """All triangles that touch a vertex of those seen: hidden ones count for the normals along the silhouette."""
    touched = torch.zeros(vertices, dtype=torch.bool, device=faces_T3.device)
    touched[seen_S3.flatten()] = True
    return faces_T3[touched[faces_T3].any(1)]


def _version() -> str:
    try:
        return version("jdap")
    except PackageNotFoundError:
        return "source"


@dataclass(frozen=True)
class Job:
    """What a worker makes of each index."""

    seed: int
    frames: int
    size: int
    clip: bool
    mean_head: bool
    device: str


_studios: dict[str, Studio] = {}


def _make(job: Job, index: int) -> tuple[Sample, float]:
    """One sample and the seconds it took; a process builds its studio once."""
    torch.set_num_threads(1)
    studio = _studios.get(job.device) or _studios.setdefault(job.device, Studio(job.device))
    started = time.perf_counter()
    sample = studio.sample(job.seed, index, job.frames, job.size, job.clip, job.mean_head)
    return sample, time.perf_counter() - started


def make_samples(job: Job, indices: range, workers: int) -> Iterator[tuple[Sample, float]]:
    """Samples of the people ``indices``, in order whatever the workers; 0 or 1 worker renders in this process."""
    if workers <= 1:
        yield from map(partial(_make, job), indices)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_make, job), indices, chunksize=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m data_prep studio``."""
    parser.description = "Shards of random people with exact depth."
    parser.add_argument("--people", type=int, required=True, help="how many; one sample each")
    parser.add_argument("--frames", type=int, default=2, help="frames of each person (default 2)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, pixels (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="(seed, index) makes a person (default 0)")
    parser.add_argument("--first", type=int, default=0, help="first person of the split to make (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--stills", dest="clip", action="store_false", help="independent pictures (default)")
    kind.add_argument("--clips", dest="clip", action="store_true", help="consecutive frames at 25 fps")
    parser.add_argument("--split", choices=tuple(SPLIT_START), default="train", help="whose people (default train)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.set_defaults(clip=False)


def run(args: argparse.Namespace) -> int:
    """Write the shards.

    Raises :class:`StudioError` for arguments out of range, FileExistsError for a folder that has such shards already.
    """
    for name, low in (("people", 1), ("frames", 1), ("size", 16), ("seed", 0), ("first", 0)):
        if getattr(args, name) < low:
            raise StudioError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    if args.first + args.people > MAX_PEOPLE:
        raise StudioError(f"a split has {MAX_PEOPLE} people; --first {args.first} --people {args.people} goes beyond")
    first = SPLIT_START[args.split] + args.first
    job = Job(args.seed, args.frames, args.size, args.clip, args.mean_head, args.device)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    prefix = f"{'clips' if args.clip else 'stills'}-{args.split}-{args.seed}"
    with (
        ShardWriter(args.out, prefix) as writer,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("photographing", total=args.people)
        for sample, seconds in make_samples(job, range(first, first + args.people), args.workers):
            writer.add_seconds("render", seconds)
            started = time.perf_counter()
            writer.write(sample)
            writer.add_seconds("write", time.perf_counter() - started)
            progress.advance(task)
    frames = args.people * args.frames
    size = sum(path.stat().st_size for path in writer.shards)
    Console().print(
        f"{args.people} people, {frames} frames, {size / 1e6:.1f} MB ({size / frames / 1e3:.1f} kB a frame)"
    )
    return 0
