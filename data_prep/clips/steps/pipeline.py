"""The pipeline of one video: its segments run through :data:`STEPS`, and rows come out.

Whatever goes wrong with a video is a row. Who does which videos where is told in :mod:`data_prep.engines.prepare`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.clips.clip import Clip
from data_prep.clips.joining import join_segments
from data_prep.clips.quality import FAILED, KEPT
from data_prep.clips.segments import Segments, run_up, watch
from data_prep.clips.steps import ClipStep, PrepareSettings, Tools, VideoJob
from data_prep.clips.steps.head import fit_heads
from data_prep.clips.steps.people import find_people
from data_prep.clips.steps.rating import rate
from data_prep.clips.steps.render import render_samples
from data_prep.clips.steps.sound import read_sound
from data_prep.clips.steps.window import choose_window
from data_prep.machine.faults import BUG, MACHINE, is_forbidden, not_the_videos, told
from data_prep.machine.memory import give_back
from data_prep.video.faces import FaceFinder
from data_prep.video.tracks import Tracker
from data_prep.video.video import FrameReader, UnreadableVideo
from jdap.io.threads import use_threads

#: The way of a segment of a video: each step takes the clips that are still in. A new step is one more line here.
STEPS: tuple[tuple[str, ClipStep], ...] = (
    ("people", find_people),  # first pass: decode at 25 fps, find cuts, landmarks; a clip for each person and shot
    ("fit", fit_heads),  # camera, identity, expressions, pose
    ("crop", choose_window),  # a stable square window, and its cameras
    ("sound", read_sound),  # 16 kHz mono, in time with the first frame
    ("rate", rate),  # scores; thresholds are applied to them at the very end, by quality.select
    ("render", render_samples),  # second pass: crops, depth, skin, confidence; samples and contact sheets
)


@dataclass(frozen=True)
class Task:
    """One video: where it is, what it is called, and where its results go; the names of what comes after it.

    ``segment``: the one that is wanted, None for all; ``divide``: whether a video of several may be left to others, one
    by one: then the answer is :class:`Divided`; ``stamp``: by which its source was known when it was planned.
    """

    path: Path
    name: str
    base_id: str
    scratch: Path
    sheets: Path
    ahead: tuple[str, ...] = ()
    segment: int | None = None
    divide: bool = False
    stamp: str = ""


@dataclass(frozen=True)
class Divided:
    """Nothing was done: the video has so many ``segments``, which can be asked for one by one."""

    segments: int


def prepare_video(task: Task, tools: Tools) -> list[dict[str, Any]] | Divided:
    """Run one video, or a segment of it, through the pipeline; returns its rows.

    A video's rows are those of its segments, joined (:func:`data_prep.clips.joining.join_segments`).
    Raises only what is no fault of the video's: an OSError of the storage, which may pass, or of a full disk, or a
    :class:`data_prep.machine.faults.MachineFault`.
    The samples of a row that is ``kept`` lie in ``task.scratch/CLIP_ID/*.tar``. Whether it stays kept or is held is
    the answer of :func:`data_prep.clips.quality.select` when they are stored.
    """
    parts: list[list[dict[str, Any]]] = []
    try:
        segments = tools.segments_of(task.path)
        task.sheets.mkdir(parents=True, exist_ok=True)
    except Exception as error:
        parts.append([_broken(task, error)])
    else:
        if task.divide and task.segment is None and len(segments) > 1:
            return Divided(len(segments))
        for number in range(len(segments)) if task.segment is None else (task.segment,):
            parts.append(_prepare_segment(task, tools, segments, number))
            give_back()
    return join_segments(parts) if task.segment is None else parts[0]


def _prepare_segment(task: Task, tools: Tools, segments: Segments, number: int) -> list[dict[str, Any]]:
    video, alone = segments.video, len(segments) == 1
    try:
        start, stop = segments[number]
        lead = run_up(start)
        with FaceFinder() as finder:
            drawn = FrameReader(video, start)
            job = VideoJob(tools, task.name, video, finder, Tracker(), drawn, task.scratch, task.sheets)
            job.run_up, job.camera = lead, None if alone else tools.camera_of(video)
            job.shots = watch(video, start - lead, stop, lambda frames: job.timed_each("decode", frames))
            clips = run_steps(Clip(str(task.path), task.base_id, video, start, stop - start), job)
        return [clip.row() for clip in clips]
    except Exception as error:
        return [_broken(task, error, "" if alone else f"_{segments.evenly(number):06d}")]


def _broken(task: Task, error: Exception, at: str = "") -> dict[str, Any]:
    """The row of a video, or of the segment that begins ``at``, that an exception ended. A machine's fault is raised:
    a bug must not cost the other videos their rows."""
    if fault := not_the_videos(error, task.path):
        raise fault from error
    if isinstance(error, UnreadableVideo):
        whose = MACHINE if is_forbidden(error) else ""
        row = failed_row(task, str(error).removeprefix(f"{task.path}: "), fault=whose)
        return row | {"clip_id": f"{task.base_id}{at}"}
    return failed_row(task, *told(error), fault=BUG) | {"clip_id": f"{task.base_id}{at}"}


def make_pipeline(settings: PrepareSettings) -> Callable[[Task], list[dict[str, Any]] | Divided]:
    """:func:`prepare_video` with the models that it needs, for a worker that computes with one thread."""
    use_threads(1)  # sums depend on the number of threads, and shards must not
    return functools.partial(prepare_video, tools=Tools(settings))


def run_steps(segment: Clip, job: VideoJob) -> list[Clip]:
    """The clips that :data:`STEPS` make of a segment, in the order of their first frames, with what each step took.

    A step's seconds are shared out by frames, and so are those of its parts (:meth:`data_prep.clips.steps.Job.timed`).
    """
    clips, done = [segment], list[Clip]()
    for name, step in STEPS:
        job.parts.clear()
        with job.timed(name):
            clips = step(clips, job)
        total = sum(clip.frames for clip in clips)
        for clip in clips:
            for part, seconds in job.parts.items():
                clip.seconds[part] = clip.seconds.get(part, 0.0) + seconds * clip.frames / total
        done += [clip for clip in clips if clip.status != KEPT]
        clips = [clip for clip in clips if clip.status == KEPT]
    return sorted(done + clips, key=lambda clip: (clip.start, clip.nth))


def failed_row(task: Task, reason: str, details: str = "", fault: str = "") -> dict[str, Any]:
    """The one row of a video of which nothing came: why, on one line; ``fault``: whose, where not the video's."""
    row: dict[str, Any] = {"source": str(task.path), "clip_id": task.base_id, "status": FAILED}
    row |= {"reason": " ".join(reason.split()), "frames": 0, "scores": {}, "seconds": {}}
    return row | ({"details": details} if details else {}) | ({"fault": fault} if fault else {})
