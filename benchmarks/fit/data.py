"""What fits are measured on: clips of people, views of a scan, pictures of studio people, and drawn landmarks.

Shapes: F frames or views, S x S pixels, N landmarks, E expressions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from data_prep.convert.derive import attach, mirror_pairs, read_obj, register
from data_prep.convert.refine import LOOKS, refine
from data_prep.fit.fit import CHEEKS, Fit, Observed, default_camera, expression_prior
from data_prep.fit.render import DepthMaps, HeadRenderer
from data_prep.head import assets
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence
from data_prep.head.model import MorphableModel, head_to_camera
from data_prep.scans import place as scans
from data_prep.scans.files import read_scan
from data_prep.studio.motion import performance
from data_prep.studio.people import draw_person
from data_prep.video.faces import FaceFinder
from data_prep.video.video import FrameReader, find_videos, open_video
from jdap.faces.landmarker import Face, Landmarker
from jdap.geometry import PinholeCamera, project
from jdap.shards.reader import read_samples

#: Landmarks of views are brought to one camera, whose focal length this is, pixels.
VIEW_F_PX = 1000.0
DEPTH_SIZE_PX = 128
#: People of drawn clips: nobody's of the studio's splits by default seeds.
DRAWN_SEED = 11


@dataclass(frozen=True, eq=False)
class TrueDepth:
    """True depth of frames: ``depth_mm_FSS`` (0 = none), ``face_FSS`` bool, ``camera_px_F3``; of drawn clips all
    frames' ``rotation_F3``."""

    depth_mm_FSS: np.ndarray
    face_FSS: np.ndarray
    camera_px_F3: Tensor
    rotation_F3: Tensor | None = None


def read_clips(folders: Sequence[Path], frames: int, model: MorphableModel) -> dict[str, Observed]:
    """Name → the first ``frames`` frames of each video of one person; raises :class:`BenchmarkError` for others."""
    clips = {}
    for path, _ in find_videos(list(folders)):
        video = open_video(path)
        with FaceFinder() as finder:
            found = [finder.find(frame) for frame in FrameReader(video).read(0, min(video.frames, frames))]
        if any(len(faces) != 1 for faces in found):
            raise BenchmarkError(f"{path}: there is not one face in every frame; give videos of one person each")
        faces = [faces[0] for faces in found]
        points = np.stack([face.landmarks_px_N3[:, :2] for face in faces])
        across = float(np.quantile(np.linalg.norm(points[:, CHEEKS[0]] - points[:, CHEEKS[1]], axis=-1), 0.95))
        clips[f"{path.parent.name}/{path.stem}"] = observe(
            faces, default_camera(video.width, video.height, across), model
        )
    return clips


def observe(faces: Sequence[Face], camera: PinholeCamera, model: MorphableModel) -> Observed:
    """What mediapipe found of one person, frame by frame."""
    landmarks = torch.from_numpy(np.stack([face.landmarks_px_N3[:LANDMARK_COUNT] for face in faces]))
    scores = torch.from_numpy(np.stack([face.blendshapes_B for face in faces]))
    return Observed(landmarks, expression_prior(scores, faces[0].names, model), camera)


def part(seen: Observed, frames: slice | list[int]) -> Observed:
    """Some of the frames."""
    return Observed(seen.landmarks_px_FN3[frames], seen.prior_FE[frames], seen.camera)


def held_out(clips: dict[str, Observed], folds: int, model: MorphableModel) -> dict[str, Correspondence]:
    """Name → a correspondence that was derived anew and refined on the clips of the other folds alone."""
    vertices_mm, faces = read_obj(assets.fetch("canonical_face"))
    derived, pairs = attach(register(vertices_mm, faces, model), vertices_mm, model)[0], mirror_pairs(vertices_mm)
    names, found = list(clips), dict[str, Correspondence]()
    for fold in range(folds):
        people = [
            part(clips[name], np.linspace(0, len(clips[name].prior_FE) - 1, LOOKS).round().astype(int).tolist())
            for i, name in enumerate(names)
            if i % folds != fold
        ]
        refined = refine(derived, people, model, pairs)
        found |= dict.fromkeys(names[fold::folds], refined)
    return found


def scan_views(
    folder: Path, yaws_deg: Sequence[float], size: int, model: MorphableModel, correspondence: Correspondence
) -> tuple[Observed, TrueDepth]:
    """A scan's views as mediapipe sees them, and their depth.

    The crops' cameras are known, as the pipeline knows them up to the lens; landmarks are brought to one camera.
    """
    head = scans.place(read_scan(folder), model, correspondence)
    rng = np.random.default_rng(0)
    views = [scans.render_view(head, yaw, size, rng, plain=i % 2 == 0) for i, yaw in enumerate(yaws_deg)]
    with Landmarker() as landmarker:
        faces = [
            _only(landmarker.find(view.rgb_SS3), f"{folder} at {yaw:.0f}°")
            for view, yaw in zip(views, yaws_deg, strict=True)
        ]
    camera = torch.stack([view.camera_px_3 for view in views])
    seen = observe(faces, PinholeCamera(VIEW_F_PX, 0.0, 0.0, 1, 1), model)
    points = torch.cat([seen.landmarks_px_FN3[..., :2] - camera[:, None, 1:], seen.landmarks_px_FN3[..., 2:]], -1)
    truth = TrueDepth(np.stack([v.depth_mm_SS for v in views]), np.stack([v.skin_SS for v in views]), camera)
    return Observed(points * (VIEW_F_PX / camera[:, 0])[:, None, None], seen.prior_FE, seen.camera), truth


def studio_clips(folder: Path, model: MorphableModel) -> dict[str, tuple[Observed, TrueDepth]]:
    """Person → clip of ``python -m data_prep studio --clips``, as mediapipe sees it, and its depth."""
    clips = {}
    with Landmarker() as landmarker:
        for shard in sorted(folder.glob("*.tar")):
            for sample in read_samples(shard):
                faces = [_only(landmarker.find(rgb), sample.key) for rgb in sample.rgb_FHW3]
                camera_px = sample.arrays["camera_px"]
                camera = _camera(camera_px[0], sample.record.size_px)
                truth = TrueDepth(sample.depth_mm_FHW, sample.skin_FHW, torch.from_numpy(camera_px))
                clips[sample.record.person_id] = (observe(faces, camera, model), truth)
    if not clips:
        raise BenchmarkError(
            f"{folder} holds no shards: make some with `python -m data_prep studio --clips --split test`"
        )
    return clips


def rendered_clips(
    people: int,
    frames: int,
    size: int,
    noise_px: float,
    model: MorphableModel,
    correspondence: Correspondence,
    lens: tuple[float, float] | None = None,
) -> dict[str, tuple[Observed, TrueDepth]]:
    """Person → landmarks of the studio's heads and moves with white noise, and depth of a few frames.

    Scores are the true expressions with noise of 0.08. No picture is drawn: this is what the fit alone loses. With a
    ``lens`` (field of view in degrees, distance in mm) heads are straight before that, and the fit is given the guess.
    """
    renderer, clips = HeadRenderer(model, correspondence), {}
    for index in range(people):
        generator = torch.Generator().manual_seed(index)
        person = draw_person(DRAWN_SEED, index, len(model.identity_KV3))
        take = performance.draw_clip(np.random.default_rng([DRAWN_SEED, index]), model.expression_names, frames, size)
        expression, rotation, translation, camera = (
            torch.from_numpy(a)
            for a in (take.expression_FE, take.rotation_F3, take.translation_mm_F3, take.camera_px_F3)
        )
        if lens is not None:
            camera = torch.tensor([size / 2 / math.tan(math.radians(lens[0] / 2)), size / 2, size / 2]).expand(
                frames, 3
            )
            translation = torch.tensor([0.0, 0.0, lens[1]]).expand(frames, 3)
        identity = torch.from_numpy(person.identity_K)
        points = correspondence.points(
            head_to_camera(model.vertices(identity[None], expression), rotation, translation)
        )
        pixels = project(points, camera)
        pixels = pixels + noise_px * torch.randn(pixels.shape, generator=generator)
        relief = (points[..., 2:] - points[..., 2:].mean(1, keepdim=True)) * (camera[:, :1] / translation[:, 2:])[
            :, None
        ]
        prior = (expression + 0.08 * torch.randn(expression.shape, generator=generator)).clamp(0, 1)
        seen = Observed(torch.cat([pixels, relief], -1), prior, _camera(camera[0], size))
        if lens is not None:
            across = float((pixels[:, CHEEKS[0]] - pixels[:, CHEEKS[1]]).norm(dim=-1).quantile(0.95))
            seen = replace(seen, camera=default_camera(size, size, across))
        few = few_of(frames)
        # Depth is looked at on a coarse grid: its errors are smooth.
        coarse = camera[few] * (DEPTH_SIZE_PX / size)
        maps = renderer.render(identity, expression[few], rotation[few], translation[few], coarse, DEPTH_SIZE_PX)
        clips[person.person_id] = (seen, TrueDepth(maps.depth_mm_FHW, maps.skin_FHW, coarse, rotation))
    return clips


def few_of(frames: int) -> list[int]:
    """The frames of a clip whose depth is looked at: a quarter and three quarters through."""
    return sorted({frames // 4, 3 * frames // 4})


def render_fit(renderer: HeadRenderer, fitted: Fit, frames: list[int], camera_px_F3: Tensor, size: int) -> DepthMaps:
    """Depth and spread of some frames of a fit."""
    pose = fitted.expression_FE[frames], fitted.rotation_F3[frames], fitted.translation_mm_F3[frames]
    return renderer.render(fitted.identity_K, *pose, camera_px_F3, size, fitted.covariance_KK)


def _camera(camera_px_3: np.ndarray | Tensor, size: int) -> PinholeCamera:
    f_px, cx_px, cy_px = camera_px_3.tolist()
    return PinholeCamera(f_px, cx_px, cy_px, size, size)


def _only(faces: list[Face], where: str) -> Face:
    if len(faces) != 1:
        raise BenchmarkError(f"{where}: mediapipe finds {len(faces)} faces, not one")
    return faces[0]
