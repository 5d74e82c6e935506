"""What every step is given: the models of a worker, and the video in work."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data_prep.clips.clip import Clip
from data_prep.clips.heard import voice_detector
from data_prep.clips.kept import KeptFrames
from data_prep.clips.segments import Segments
from data_prep.clips.steps.settings import PrepareSettings
from data_prep.fit.fit import CHEEKS, Observed, default_camera, expression_prior
from data_prep.fit.lens import find_lens
from data_prep.fit.render import HeadRenderer
from data_prep.head.files import load_face_model
from data_prep.head.landmarks import LANDMARK_COUNT
from data_prep.machine.faults import not_the_videos, told
from data_prep.machine.software import version_of
from data_prep.machine.watchdog import beat
from data_prep.video.faces import FaceFinder
from data_prep.video.shots import ShotFrame
from data_prep.video.syncnet import load_syncnet
from data_prep.video.tracks import Tracker
from data_prep.video.video import FrameReader, UnreadableVideo, Video, open_video, whole_picture
from jdap.faces.landmarker import Face, Landmarker
from jdap.faces.parser import load_parser
from jdap.geometry import PinholeCamera
from jdap.units import FPS

T = TypeVar("T")
#: Pictures by whose faces the camera of a long video is guessed.
GLIMPSES = 16


class Tools:
    """Models that every clip needs, on one device, and the clock (s) of steps; built once in a worker."""

    def __init__(self, settings: PrepareSettings, clock: Callable[[], float] = time.perf_counter):
        self.clock = clock
        self.settings = settings
        face = load_face_model(settings.face_model or None, settings.device)
        self.model, self.correspondence = face.model, face.correspondence
        self.renderer = HeadRenderer(self.model, self.correspondence)
        self.sync = load_syncnet(Path(settings.sync_weights), settings.device) if settings.sync_weights else None
        self.hear = voice_detector(settings.voice)
        self.parser = load_parser(settings.parser, settings.device)
        self.software = {
            name: version_of(name) for name in ("jdap", "torch", "mediapipe", "scenedetect", "decord", "av")
        }
        if self.parser is not None:
            self.software["parser"] = settings.parser
        if settings.face_model:
            self.software["face_model"] = face.source
        self._video: tuple[object, Segments] | None = None
        self._camera: tuple[Video, PinholeCamera | None] | None = None

    def segments_of(self, path: Path) -> Segments:
        """A file's segments, kept until another file is asked for: a worker may be given many of them.

        Raises :class:`data_prep.video.error.UnreadableVideo`.
        """
        status = path.stat() if path.is_file() else None
        key = (path, status.st_size, status.st_mtime_ns) if status else None
        if self._video is None or self._video[0] != key:
            self._video = None  # not two at once
            self._video = key, Segments(open_video(path), round(self.settings.segment_s * FPS))
        return self._video[1]

    def camera_of(self, video: Video) -> PinholeCamera | None:
        """The camera of a video that is parted, by the widest face of some of its pictures; None where none has one."""
        if self._camera is None or self._camera[0] is not video:
            self._camera = video, guess_camera(video, self)
        return self._camera[1]


def guess_camera(video: Video, tools: Tools) -> PinholeCamera | None:
    """The camera by the faces of :data:`GLIMPSES` pictures, spread evenly over a video: the guess by the widest one,
    and the lens where they are near (each by itself: they may be several people's); None without a face."""
    glimpses: list[Face] = []
    with Landmarker() as landmarker:
        for k in sorted({int((i + 0.5) / GLIMPSES * video.frames) for i in range(GLIMPSES)}):
            picture = whole_picture(video, k)
            glimpses += [] if picture is None else landmarker.detect(picture)
            beat()
    if not glimpses:
        return None
    widest = max(across_px(face.landmarks_px_N3) for face in glimpses)
    camera = default_camera(video.width, video.height, widest)
    seen = [
        Observed(
            torch.from_numpy(face.landmarks_px_N3[None, :LANDMARK_COUNT]),
            expression_prior(torch.from_numpy(face.blendshapes_B[None]), face.names, tools.model),
            camera,
        )
        for face in glimpses
    ]
    return find_lens(seen, tools.model, tools.correspondence, camera)


def across_px(landmarks_px: np.ndarray) -> float:
    """From cheek to cheek, in pixels, of landmarks (..., N, 2 or 3): of several the 95 % quantile."""
    apart = np.linalg.norm(landmarks_px[..., CHEEKS[0], :2] - landmarks_px[..., CHEEKS[1], :2], axis=-1)
    return float(np.quantile(apart, 0.95))


class Stopwatch:
    """Seconds of named ``parts``, by a ``clock`` (s)."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock, self.parts = clock, dict[str, float]()
        self._inside = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count what happens inside as ``part``; parts may be nested."""
        started, outer, self._inside = self.clock(), self._inside, 0.0
        try:
            yield
        finally:
            spent = self.clock() - started
            self.parts[part] = self.parts.get(part, 0.0) + spent - self._inside
            self._inside = outer + spent


@dataclass(eq=False)
class VideoJob:
    """A segment of a video in work.

    * ``name``: the video's name for records: its folder's name and its own
    * ``samples``: folder where each clip's samples go, ``samples/CLIP_ID/*.tar``; ``sheets``: folder of contact sheets
    * ``finder``, ``tracker``: of its faces
    * ``drawn``: the reader of the second pass (stored frames), ``shots``: the frames of the first one (faces), with
      cuts, beginning ``run_up`` frames before the segment; both go forward only, so memory does not grow with it
    * ``kept``: what the first pass keeps for the second, which reads the file only where that is not enough
    * ``camera``: of the whole picture, one for the video; where nothing is known of it yet, from the first clip on
    """

    tools: Tools
    name: str
    video: Video
    finder: FaceFinder
    tracker: Tracker
    drawn: FrameReader
    samples: Path
    sheets: Path
    camera: PinholeCamera | None = None
    shots: Iterator[ShotFrame] = field(default_factory=lambda: iter(()))
    run_up: int = 0
    kept: KeptFrames = field(default_factory=KeptFrames)
    watch: Stopwatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Stopwatch(self.tools.clock)

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of named parts of the step that is running."""
        return self.watch.parts

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Count what happens inside as ``part`` of the step, with its own line in reports; parts may be nested."""
        return self.watch.timed(part)

    def timed_each(self, part: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that making them takes counted as ``part``."""
        iterator = iter(items)
        while True:
            beat()
            with self.timed(part):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


#: Takes the clips of a segment that are still in, and gives back clips: the same ones, more or none.
ClipStep = Callable[[list[Clip], VideoJob], list[Clip]]


@contextmanager
def costs(clip: Clip, job: VideoJob) -> Iterator[None]:
    """What breaks inside costs this clip, and nothing else. A machine's fault is no clip's: it is raised."""
    try:
        yield
    except Exception as error:
        if fault := not_the_videos(error, job.video.path):  # the engine tries again elsewhere, or stops on a full disk
            raise fault from error
        if isinstance(error, UnreadableVideo):
            clip.fail(str(error).removeprefix(f"{job.video.path}: "))
        else:
            clip.fail(*told(error))


def each(treat: Callable[[Clip, VideoJob], None]) -> ClipStep:
    """A step that treats its clips one by one: if that breaks, this clip fails, and the others go on."""

    @functools.wraps(treat)
    def step(clips: list[Clip], job: VideoJob) -> list[Clip]:
        for clip in clips:
            with costs(clip, job):
                treat(clip, job)
            beat()
        return clips

    return step
