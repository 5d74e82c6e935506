"""The pipeline's stages, one file each: ``stage(clips, job) -> clips`` for the clips of one segment of a video.

A stage fills fields of its clips (:class:`data_prep.clips.clip.Clip` says which), and may turn one down with
``clip.reject("reason that names a score and its value")``; those do not reach the stages after it. Most treat clips one
by one (:func:`each`). What a stage needs beyond its clips is in :class:`Job`.
"""

from data_prep.clips.steps.job import Job, Stage, Tools, each
from data_prep.clips.steps.settings import Settings, read_settings

__all__ = ["Job", "Settings", "Stage", "Tools", "each", "read_settings"]
