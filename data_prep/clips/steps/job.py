"""What every step is given: the models of a worker, and the video in work."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from data_prep.clips.clip import Clip
from data_prep.clips.steps.settings import PrepareSettings
from data_prep.fit.render import HeadRenderer
from data_prep.head.files import load_face_model
from data_prep.machine.faults import not_the_videos, told
from data_prep.machine.software import version_of
from data_prep.machine.watchdog import beat
from data_prep.video.faces import FaceFinder
from data_prep.video.shots import ShotFrame
from data_prep.video.sync import load_syncnet
from data_prep.video.tracks import Tracker
from data_prep.video.video import FrameReader, UnreadableVideo, Video
from jdap.faces.parser import load_parser
from jdap.geometry import PinholeCamera

T = TypeVar("T")


class Tools:
    """Models that every clip needs, on one device, and the clock (s) of steps; built once in a worker."""

    def __init__(self, settings: PrepareSettings, clock: Callable[[], float] = time.perf_counter):
        self.clock = clock
        self.settings = settings
        face = load_face_model(settings.face_model or None, settings.device)
        self.model, self.correspondence = face.model, face.correspondence
        self.renderer = HeadRenderer(self.model, self.correspondence)
        self.sync = load_syncnet(Path(settings.sync_weights), settings.device) if settings.sync_weights else None
        self.parser = load_parser(settings.parser, settings.device)
        self.software = {
            name: version_of(name) for name in ("jdap", "torch", "mediapipe", "scenedetect", "decord", "av")
        }
        if self.parser is not None:
            self.software["parser"] = settings.parser
        if settings.face_model:
            self.software["face_model"] = face.source


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
    """One video in work.

    * ``name``: the video's name for records: its folder's name and its own
    * ``samples``: folder where each clip's samples go, ``samples/CLIP_ID/*.tar``; ``sheets``: folder of contact sheets
    * ``finder``, ``tracker``: of its faces
    * ``drawn``: the reader of the second pass (stored frames), ``shots``: the frames of the first one (faces), with
      cuts; both go forward only, so memory does not grow with the video
    * ``camera``: of the whole picture, from the first clip on
    * ``people``: track → ``person_id``
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
    people: dict[int, str] = field(default_factory=dict)
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
        if fault := not_the_videos(error):  # the engine tries again elsewhere, or stops on a full disk
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
