"""Second pass over a segment: crops, depth, skin and confidence of every clip, its samples and its contact sheet."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator

import numpy as np

from data_prep.choices import BLACK
from data_prep.clips import contact_sheet
from data_prep.clips.clip import Clip, cut_evenly
from data_prep.clips.measures import picture_hash
from data_prep.clips.quality import KEPT, fingerprint
from data_prep.clips.steps.fitted import Framed, fitted_sample, frame_scores, sheet_row
from data_prep.clips.steps.job import VideoJob, costs
from data_prep.machine.watchdog import beat
from data_prep.video.sync import SyncMeter
from data_prep.video.video import UnreadableVideo
from jdap.faces import crop
from jdap.io.files import write_whole
from jdap.shards.sample import Sample
from jdap.shards.schema import FITTED, Record
from jdap.shards.writer import ShardWriter
from jdap.units import FPS, SAMPLE_RATE

#: A sample has at most this many frames.
MAX_CHUNK = 32
#: Rows of a contact sheet.
SHEET_ROWS = 6


def render_samples(clips: list[Clip], job: VideoJob) -> list[Clip]:
    """Go through the segment once more and write what each clip needs of it: what the first pass kept, or where that is
    not all, the file from the first of these frames on.

    A clip that breaks costs itself; where the video breaks off, the clips that are finished by then stay.
    """
    drawings = list[_Drawing]()
    for clip in clips:
        with costs(clip, job):
            drawings.append(_Drawing(clip, job))
    if not drawings:
        return clips
    start, stop = min(clip.start for clip in clips), max(clip.start + clip.frames for clip in clips)
    kept = all(drawing.was_kept() for drawing in drawings)
    frames: Iterable[np.ndarray | None] = itertools.repeat(None, stop - start)
    if not kept:
        frames = job.timed_each("decode", job.drawn.read(start, stop))
    try:
        for k, frame in enumerate(frames, start):
            beat()
            for drawing in drawings:
                if drawing.clip.status == KEPT:
                    with costs(drawing.clip, job):
                        drawing.add(k - drawing.clip.start, frame)
    except UnreadableVideo as error:
        for drawing in drawings:
            if not drawing.clip.written:
                drawing.clip.fail(str(error).removeprefix(f"{job.video.path}: "))
    finally:
        for drawing in drawings:
            drawing.close()
    return clips


class _Drawing:
    """A clip while its frames come by: at most :data:`MAX_CHUNK` crops are held, on a GPU what they are cut from."""

    def __init__(self, clip: Clip, job: VideoJob):
        self.clip, self.job = clip, job
        self.writer = ShardWriter(job.samples / clip.clip_id, "clip")
        self._chunks: Iterator[tuple[int, int]] = iter(cut_evenly(clip.frames, MAX_CHUNK))
        self._low, self._high = next(self._chunks)
        self._crops: list[np.ndarray] = []
        self._cuts: list[crop.Cut] = []
        error = f"fit error {clip.scores['fit_error'].mean():.2%} of the face's width"
        self._sheet = contact_sheet.Sheet(f"{clip.clip_id}   {clip.frames} frames   {error}")
        self._shown = set(np.linspace(0, clip.frames - 1, SHEET_ROWS).round().astype(int).tolist())
        self._sync = None
        if job.tools.sync is not None and clip.audio is not None:
            self._sync = SyncMeter(job.tools.sync, clip.landmarks_px_FN3, job.tools.settings.device)
        self._hashed = {0: b"", (clip.frames - 1) // 2: b"", clip.frames - 1: b""}

    def was_kept(self) -> bool:
        """Whether the first pass kept all that is needed; SyncNet's pictures are others."""
        return self._sync is None and all(self._region(k) is not None for k in range(self.clip.frames))

    def _region(self, k: int) -> crop.Region | None:
        clip = self.clip
        return self.job.kept.region(clip.start + k, clip.window_px_F3[k], self.job.tools.settings.size)

    def add(self, k: int, frame: np.ndarray | None) -> None:
        """Take in the picture of the clip's frame ``k``, if it has one of that number; None: as it was kept."""
        clip, settings = self.clip, self.job.tools.settings
        if not 0 <= k < clip.frames:
            return
        region = self._region(k) if frame is None else crop.Region.whole(frame)
        assert region is not None
        with self.job.timed("warp"):
            part = crop.cut(region, clip.window_px_F3[k], settings.size, black=settings.padding == BLACK)
            if settings.device == "cpu":
                self._crops.append(part.resampled(settings.size))
            else:
                self._cuts.append(part)
        if self._sync is not None and frame is not None:
            with self.job.timed("sync"):
                self._sync.add(k, frame)
        if k + 1 == self._high:
            self._write()
        if k + 1 == clip.frames:
            self._finish()

    def close(self) -> None:
        """Finish the shard; of a clip that broke nothing stays."""
        if self.clip.status == KEPT and self.clip.written:
            with costs(self.clip, self.job):
                self.writer.close()
        if self.clip.status != KEPT or not self.clip.written:
            self.writer.abort()
            (self.job.sheets / f"{self.clip.clip_id}{contact_sheet.SHEET_END}").unlink(missing_ok=True)
            shutil.rmtree(self.writer.folder)

    def _finish(self) -> None:
        clip = self.clip
        clip.fingerprint = fingerprint(list(self._hashed.values()), clip.scores)
        if self._sync is not None and clip.audio is not None:
            with self.job.timed("sync"):
                found = self._sync.finish(clip.audio)
            clip.numbers |= {"sync_confidence": found.confidence, "sync_offset_frames": found.offset}
        with self.job.timed("sheet"):
            write_whole(
                self.job.sheets / f"{clip.clip_id}{contact_sheet.SHEET_END}", contact_sheet.render_sheet(self._sheet)
            )
        clip.written = clip.frames

    def _write(self) -> None:
        """Finish the sample whose last frame has come, and begin the next one."""
        low, high, settings = self._low, self._high, self.job.tools.settings
        with self.job.timed("warp"):
            rgb = (
                np.stack(self._crops)
                if self._crops
                else crop.resample_batch(self._cuts, settings.size, settings.device)
            )
        for k in self._hashed.keys() & set(range(low, high)):
            self._hashed[k] = picture_hash(rgb[k - low])
        sample = make_sample(self.clip, self.job, slice(low, high), rgb)
        with self.job.timed("encode"):
            self.writer.write(sample)
        with self.job.timed("sheet"):
            shown = [_row(self.clip, sample, k, k - low) for k in range(low, high) if k in self._shown]
            self._sheet.rows += [contact_sheet.shrunk(row) for row in shown]
        self._crops, self._cuts = [], []
        self._low, self._high = next(self._chunks, (high, high))


def make_sample(clip: Clip, job: VideoJob, part: slice, rgb_FHW3: np.ndarray) -> Sample:
    """Frames ``part`` of a clip, whose crops are given, with their depth."""
    assert clip.fit is not None
    audio = None
    if clip.audio is not None:
        rate = SAMPLE_RATE / FPS
        audio = clip.audio[round(part.start * rate) : round(part.stop * rate)]
    record = Record(
        clip_id=clip.clip_id,
        person_id=clip.person_id,
        depth_source=FITTED,
        frames=part.stop - part.start,
        size_px=job.tools.settings.size,
        fps=float(FPS),
        first_frame=part.start,
        source=job.name,
        scores=frame_scores(clip.scores, part),
        software=job.tools.software,
    )
    seen = Framed(clip.fit, clip.landmarks_px_FN3, clip.window_px_F3, clip.camera_px_F3)
    return fitted_sample(record, seen, part, rgb_FHW3, job.tools, job.watch, audio)


def _row(clip: Clip, sample: Sample, frame: int, index: int) -> contact_sheet.SheetFrame:
    """Frame ``frame`` of the clip, which is ``index`` of the sample, for the sheet."""
    assert clip.fit is not None
    error = clip.scores["fit_error"][frame]
    yaw, pitch = clip.scores["yaw_deg"][frame], clip.scores["pitch_deg"][frame]
    label = f"frame {frame}   error {error:.2%}   yaw {yaw:.0f}  pitch {pitch:.0f} degrees"
    seen = Framed(clip.fit, clip.landmarks_px_FN3, clip.window_px_F3, clip.camera_px_F3)
    return sheet_row(label, sample, seen, frame, index)
