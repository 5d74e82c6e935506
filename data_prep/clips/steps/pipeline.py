"""The pipeline of one video: segments of :data:`SEGMENT_S` run through :data:`STEPS`, and rows come out.

Whatever goes wrong with a video is a row. Who does which videos where is told in :mod:`data_prep.engines.prepare`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.clips.clip import Clip, cut_evenly
from data_prep.clips.quality import FAILED, KEPT, mark_duplicates
from data_prep.clips.steps import ClipStep, PrepareSettings, Tools, VideoJob
from data_prep.clips.steps.head import fit_heads
from data_prep.clips.steps.people import find_people
from data_prep.clips.steps.rating import rate
from data_prep.clips.steps.render import render_samples
from data_prep.clips.steps.sound import read_sound
from data_prep.clips.steps.window import choose_window
from data_prep.machine.faults import BUG, not_the_videos, told
from data_prep.machine.memory import give_back
from data_prep.video.faces import FaceFinder
from data_prep.video.shots import find_cuts
from data_prep.video.tracks import Tracker
from data_prep.video.video import FrameReader, UnreadableVideo, open_video
from jdap.units import FPS

#: The way of a segment of a video: each step takes the clips that are still in. A new step is one more line here.
STEPS: tuple[tuple[str, ClipStep], ...] = (
    ("people", find_people),  # first pass: decode at 25 fps, find cuts, landmarks; a clip for each person and shot
    ("fit", fit_heads),  # camera, identity, expressions, pose
    ("crop", choose_window),  # a stable square window, and its cameras
    ("sound", read_sound),  # 16 kHz mono, in time with the first frame
    ("rate", rate),  # scores; thresholds are applied to them at the very end, by quality.select
    ("render", render_samples),  # second pass: crops, depth, skin, confidence; samples and contact sheets
)
#: Longer videos are worked through in even segments of at most this, each with clips of its own: memory stays bounded.
SEGMENT_S = 60.0


@dataclass(frozen=True)
class Task:
    """One video: where it is, what it is called, and where its results go; the names of what comes after it."""

    path: Path
    name: str
    base_id: str
    scratch: Path
    sheets: Path
    ahead: tuple[str, ...] = ()


def prepare_video(task: Task, tools: Tools) -> list[dict[str, Any]]:
    """Run one video through the pipeline; returns its rows.

    Raises only what is no fault of the video's: an OSError of the storage, which may pass, or of a full disk, or a
    :class:`data_prep.machine.faults.MachineFault`.
    The samples of a row that is ``kept`` lie in ``task.scratch/CLIP_ID/*.tar``. Whether it stays kept or is held is
    the answer of :func:`data_prep.clips.quality.select` when they are stored.
    """
    rows: list[dict[str, Any]] = []
    try:
        video = open_video(task.path)
        task.sheets.mkdir(parents=True, exist_ok=True)
        with FaceFinder() as finder:
            job = VideoJob(tools, task.name, video, finder, Tracker(), FrameReader(video), task.scratch, task.sheets)
            job.shots = find_cuts(job.timed_each("decode", FrameReader(video).read(0, video.frames)), video.starts)
            for start, stop in cut_evenly(video.frames, round(SEGMENT_S * FPS)):
                segment = Clip(str(task.path), task.base_id, video, start, stop - start)
                rows += [clip.row() for clip in run_steps(segment, job)]  # segments before a failure stay
                give_back()
    except Exception as error:  # a bug must not cost the other videos their rows
        if fault := not_the_videos(error):
            raise fault from error
        if isinstance(error, UnreadableVideo):
            rows.append(failed_row(task, str(error).removeprefix(f"{task.path}: ")))
        else:
            rows.append(failed_row(task, *told(error), fault=BUG))
    return mark_duplicates(rows)


def make_pipeline(settings: PrepareSettings) -> Callable[[Task], list[dict[str, Any]]]:
    """:func:`prepare_video` with the models that it needs, for a worker that computes with one thread."""
    torch.set_num_threads(1)  # sums depend on the number of threads, and shards must not
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
