"""The pipeline's stages: each takes a clip and yields clips, filling fields of :class:`data_prep.clip.Clip`.

Most stages yield the clip they were given. ``find_faces`` yields one clip for each unbroken stretch of a face. What a
stage needs beyond the clip is in :class:`Job`: models (built once in a worker), the open video, and where samples go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from data_prep import contact_sheet, quality
from data_prep.audio import read_audio
from data_prep.clip import Clip
from data_prep.correspondence import LANDMARKS, Correspondence, load_correspondence
from data_prep.depth import HeadRenderer
from data_prep.faces import FaceTracker, Track, count_small_faces
from data_prep.fit import CHEEKS, default_camera, expression_prior, fit
from data_prep.morphable import MorphableModel, load_ict
from data_prep.shards import Sample, ShardWriter
from data_prep.video import FPS, FrameReader, Video
from jdap.faces import crop
from jdap.files import write_whole
from jdap.geometry import PinholeCamera
from jdap.schema import FITTED, SAMPLE_RATE, Record

#: A face that is lost for at most this many frames (0.2 s) is filled in linearly; longer gaps end the clip.
MAX_GAP = 5
#: A clip has at least this many frames: what the temporal stage reads at once.
MIN_FRAMES = 16
#: A sample has at most this many frames.
MAX_CHUNK = 32
#: Rows of a contact sheet.
SHEET_ROWS = 6
#: Frames in which small faces are looked for when a segment has no large one.
CENSUS = 3


@dataclass(frozen=True)
class Settings:
    """What the command line says: side of the stored frames in pixels, device, and whether the mean head is drawn."""

    size: int = 512
    device: str = "cpu"
    mean_head: bool = False


class Tools:
    """Models that every clip needs, on one device; built once in a worker."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.model: MorphableModel = load_ict(device=settings.device)
        self.correspondence: Correspondence = load_correspondence(device=settings.device)
        self.renderer = HeadRenderer(self.model, self.correspondence)
        self.software = {name: _version(name) for name in ("jdap", "torch", "mediapipe", "decord", "av")}


@dataclass(eq=False)
class Job:
    """One video in work.

    * ``name``: the video's name for records: its folder's name and its own
    * ``tracked``, ``drawn``: readers of the first pass (faces) and of the second (stored frames); both go forward only,
      so memory does not grow with the video
    * ``samples``: folder where each clip's samples go, ``samples/CLIP_ID/*.tar``; ``sheets``: folder of contact sheets
    * ``camera``: of the whole picture, from the first clip on
    * ``person_id``, ``face_until``: whose face was seen last, and the frame it was seen up to
    """

    tools: Tools
    name: str
    video: Video
    tracker: FaceTracker
    tracked: FrameReader
    drawn: FrameReader
    samples: Path
    sheets: Path
    camera: PinholeCamera | None = None
    person_id: str = ""
    face_until: int = -1


def find_faces(clip: Clip, job: Job) -> Iterator[Clip]:
    """Landmarks of every frame of a segment; a clip for each stretch in which it is not lost and does not jump."""
    looks: list[tuple[float, float]] = []
    kept: list[np.ndarray] = []
    track = _track(clip, job, looks, kept)
    runs = unbroken(track.faces_F > 0, track.jump_F)
    if not runs:
        clip.reject(_why_no_face(kept))
        yield clip
    for low, high in runs:
        run = slice(low, high)
        part = Clip(clip.source, clip.base_id, clip.video, clip.start + low, high - low)
        goes_on = low == 0 and clip.start == job.face_until and not track.jump_F[0]
        job.person_id = part.person_id = job.person_id if goes_on and job.person_id else part.clip_id
        job.face_until = part.start + part.frames
        part.landmarks_px_FN3 = fill_gaps(track.landmarks_px_FN3[run])
        part.blendshapes_FB = fill_gaps(track.blendshapes_FB[run])
        part.blendshape_names = track.blendshape_names
        part.scores = {
            "found": (track.faces_F[run] > 0).astype(np.float32),
            "several": (track.faces_F[run] > 1).astype(np.float32),
            "sharpness": np.array([s for s, _ in looks[run]], np.float32),
            "brightness": np.array([b for _, b in looks[run]], np.float32),
        }
        if part.frames < MIN_FRAMES:
            part.reject(f"short: {part.frames} frames with a face, least {MIN_FRAMES}")
        yield part


def fit_head(clip: Clip, job: Job) -> Iterator[Clip]:
    """Camera and morphable head."""
    tools, points = job.tools, clip.landmarks_px_FN3[:, :LANDMARKS]
    if job.camera is None:
        cheeks = np.linalg.norm(points[:, CHEEKS[0], :2] - points[:, CHEEKS[1], :2], axis=-1)
        job.camera = default_camera(clip.video.width, clip.video.height, float(np.quantile(cheeks, 0.95)))
    clip.camera = job.camera
    scores = torch.from_numpy(clip.blendshapes_FB)
    prior = expression_prior(scores, clip.blendshape_names, tools.model)
    clip.fit = fit(torch.from_numpy(points), prior, clip.camera, tools.model, tools.correspondence)
    clip.scores |= quality.fit_scores(clip.fit)
    yield clip


def crop_head(clip: Clip, job: Job) -> Iterator[Clip]:
    """The square window and its cameras."""
    assert clip.camera is not None
    width, height = clip.video.width, clip.video.height
    clip.window_px_F3 = crop.head_windows(clip.landmarks_px_FN3[:, :LANDMARKS], width, height, FPS)
    clip.camera_px_F3 = crop.window_cameras(clip.camera, clip.window_px_F3, job.tools.settings.size)
    clip.scores["padded"] = crop.padded_share(clip.window_px_F3, width, height).astype(np.float32)
    yield clip


def read_sound(clip: Clip, job: Job) -> Iterator[Clip]:
    """Sound in time with the clip's first frame; a clip without an audio track stays, and says so."""
    clip.audio = read_audio(clip.video.path, clip.video.start_s + clip.start / FPS, clip.frames / FPS)
    clip.scores["audio"] = np.full(clip.frames, clip.audio is not None, np.float32)
    yield clip


def judge(clip: Clip, job: Job) -> Iterator[Clip]:
    """Apply the thresholds of :mod:`data_prep.quality`."""
    reason = quality.judge(clip.scores)
    if reason:
        clip.reject(reason)
    elif clip.audio is None:
        clip.reason = "no audio track"
    yield clip


def draw_depth(clip: Clip, job: Job) -> Iterator[Clip]:
    """Second pass: crop the frames, draw their depth, write samples and the contact sheet."""
    title = (
        f"{clip.clip_id}   {clip.frames} frames   fit error {clip.scores['fit_error'].mean():.2%} of the face's width"
    )
    sheet = contact_sheet.Sheet(title)
    shown = set(np.linspace(0, clip.frames - 1, SHEET_ROWS).round().astype(int).tolist())
    with ShardWriter(job.samples / clip.clip_id, "clip") as writer:
        for low, high in cut_evenly(clip.frames, MAX_CHUNK):
            sample = _sample(clip, job, slice(low, high))
            writer.write(sample)
            sheet.rows += [_row(clip, sample, k, k - low) for k in range(low, high) if k in shown]
    clip.written = clip.frames
    write_whole(job.sheets / f"{clip.clip_id}.png", contact_sheet.draw_sheet(sheet))
    yield clip


def unbroken(found_F: np.ndarray, jump_F: np.ndarray) -> list[tuple[int, int]]:
    """[low, high) of stretches that begin and end with a found face, hold no gap over :data:`MAX_GAP` and no jump."""
    runs: list[tuple[int, int]] = []
    for k in np.nonzero(found_F)[0].tolist():
        if runs and k - runs[-1][1] <= MAX_GAP and not jump_F[k]:
            runs[-1] = (runs[-1][0], k + 1)
        else:
            runs.append((k, k + 1))
    return runs


def fill_gaps(values_F: np.ndarray) -> np.ndarray:
    """Rows of NaN (F, ...) filled linearly in time; the first and the last row must be there."""
    missing = np.isnan(values_F).reshape(len(values_F), -1).any(1)
    out = values_F.copy()
    there = np.nonzero(~missing)[0]
    for k in np.nonzero(missing)[0]:
        after = np.searchsorted(there, k)
        a, b = there[after - 1], there[after]
        out[k] = values_F[a] + (values_F[b] - values_F[a]) * ((k - a) / (b - a))
    return out


def cut_evenly(frames: int, most: int) -> list[tuple[int, int]]:
    """[low, high) of the fewest pieces of at most ``most`` frames, as even as can be: no short one is left over."""
    count = -(-frames // most)
    edges = [frames * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def _track(clip: Clip, job: Job, looks: list[tuple[float, float]], kept: list[np.ndarray]) -> Track:
    """Track a segment; ``looks`` gets each frame's sharpness and brightness, ``kept`` a few frames."""
    every = max(1, clip.frames // CENSUS)

    def look(k: int, frame: np.ndarray, landmarks_px_N3: np.ndarray | None) -> None:
        if k % every == every // 2:
            kept.append(frame)
        gone = (float("nan"), float("nan"))
        looks.append(gone if landmarks_px_N3 is None else quality.appearance(frame, landmarks_px_N3))

    return job.tracker.track(job.tracked.read(clip.start, clip.start + clip.frames), look)


def _why_no_face(frames: list[np.ndarray]) -> str:
    small = count_small_faces(frames)
    if small.count == 0:
        return "no face"
    if small.count == 1:
        return f"no face large enough (one of about {small.width_px:.0f} px)"
    return f"several faces, none large enough ({small.count} in a frame, the largest about {small.width_px:.0f} px)"


def _sample(clip: Clip, job: Job, part: slice) -> Sample:
    """Frames ``part`` of a clip, with their depth."""
    settings, renderer, fitted = job.tools.settings, job.tools.renderer, clip.fit
    assert fitted is not None
    frames = part.stop - part.start
    read = job.drawn.read(clip.start + part.start, clip.start + part.stop)
    rgb = [crop.crop_frame(frame, clip.window_px_F3[part.start + i], settings.size) for i, frame in enumerate(read)]
    cameras = torch.from_numpy(clip.camera_px_F3[part])
    rotation, translation = fitted.rotation_F3[part], fitted.translation_mm_F3[part]
    expression = fitted.expression_FE[part]
    maps = renderer.draw(fitted.identity_K, expression, rotation, translation, cameras, settings.size)
    mean = renderer.draw_mean(rotation, translation, cameras, settings.size) if settings.mean_head else None
    audio = None
    if clip.audio is not None:
        rate = SAMPLE_RATE / FPS
        audio = clip.audio[round(part.start * rate) : round(part.stop * rate)]
    # All of the model's modes, as the studio stores them; those that were not fitted are 0.
    modes = len(job.tools.model.identity_KV3)
    identity = np.pad(fitted.identity_K.cpu().numpy(), (0, modes - len(fitted.identity_K)))
    arrays = {
        "camera_px": clip.camera_px_F3[part],
        "rotation": rotation.cpu().numpy(),
        "translation_mm": translation.cpu().numpy(),
        "identity": identity[None].repeat(frames, 0),
        "expression": expression.cpu().numpy(),
        "landmarks_px": crop.to_window(
            clip.landmarks_px_FN3[part, :, :2], clip.window_px_F3[part], settings.size
        ).astype(np.float32),
    }
    record = Record(
        clip_id=clip.clip_id,
        person_id=clip.person_id,
        depth_source=FITTED,
        frames=frames,
        size_px=settings.size,
        fps=FPS,
        first_frame=part.start,
        source=job.name,
        scores={name: [round(float(x), 4) for x in s[part]] for name, s in clip.scores.items()},
        software=job.tools.software,
    )
    return Sample(record, np.stack(rgb), maps.depth_mm_FHW, maps.skin_FHW, arrays, audio, mean)


def _row(clip: Clip, sample: Sample, frame: int, index: int) -> contact_sheet.Row:
    """Frame ``frame`` of the clip, which is ``index`` of the sample, for the sheet."""
    assert clip.fit is not None
    landmarks = sample.arrays["landmarks_px"][index, :LANDMARKS]
    zoom = sample.record.size_px / clip.window_px_F3[frame, 2]
    error = clip.scores["fit_error"][frame]
    yaw, pitch = clip.scores["yaw_deg"][frame], clip.scores["pitch_deg"][frame]
    return contact_sheet.Row(
        f"frame {frame}   error {error:.2%}   yaw {yaw:.0f}  pitch {pitch:.0f} degrees",
        sample.rgb_FHW3[index],
        sample.depth_mm_FHW[index],
        sample.skin_FHW[index],
        sample.arrays["camera_px"][index],
        landmarks,
        landmarks + clip.fit.residual_px_FN2[frame].cpu().numpy() * zoom,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
