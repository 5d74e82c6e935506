"""The pipeline's steps, one file each: ``step(clips, job) -> clips`` for the clips of one segment of a video.

A step fills fields of its clips (:class:`data_prep.clips.clip.Clip` says which), and may turn one down with
``clip.reject("reason that names a score and its value")``; those do not reach the steps after it. Most treat clips one
by one (:func:`each`). What a step needs beyond its clips is in :class:`VideoJob`.
"""

from data_prep.clips.steps.job import ClipStep, Tools, VideoJob, each
from data_prep.clips.steps.settings import PrepareSettings, read_settings

__all__ = ["ClipStep", "PrepareSettings", "Tools", "VideoJob", "each", "read_settings"]
