"""One person's pictures through preparation: faces, one identity for all, scores, depth; rows come out.

A person's pictures are stills that share an identity; each has a camera, a pose and an expression of its own, and
nothing is smooth between them. Those that pass the thresholds become samples together, from which reference and target
are drawn; each of the others is a clip of its own, held, so that other thresholds can admit it. At most
:data:`TOGETHER` pictures are fitted at a time, and :data:`data_prep.clips.steps.render.MAX_CHUNK` crops are in memory.

Shapes: F pictures, N landmarks, S x S pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.choices import BLACK, REJECT
from data_prep.clips import contact_sheet
from data_prep.clips.clip import cut_evenly
from data_prep.clips.measures import fit_scores
from data_prep.clips.quality import FAILED, KEPT, REJECTED, clip_scores, why_not
from data_prep.clips.steps.fitted import Framed, fitted_sample, frame_scores, sheet_row
from data_prep.clips.steps.head import lip_opening_mm
from data_prep.clips.steps.job import Stopwatch, Tools
from data_prep.clips.steps.pipeline import Task
from data_prep.clips.steps.render import MAX_CHUNK, SHEET_ROWS
from data_prep.fit.fit import Fit, FitSettings, Observed, expression_prior, fit_tracks
from data_prep.head.landmarks import LANDMARK_COUNT
from data_prep.machine.faults import BUG, MACHINE, is_forbidden, not_the_videos, told
from data_prep.machine.memory import give_back
from data_prep.machine.watchdog import beat
from data_prep.photos.find import PeopleError, pictures_of, stamp_of_pictures
from data_prep.photos.look import WIDER, Duplicates, Look, NoPerson, Taken, look
from data_prep.photos.settings import PhotoSettings
from jdap.faces import crop
from jdap.faces.landmarker import Landmarker
from jdap.geometry import PinholeCamera
from jdap.io.files import write_whole
from jdap.io.threads import use_threads
from jdap.photos.read import PhotoError, read_photo
from jdap.shards.sample import Sample
from jdap.shards.schema import FITTED, Record
from jdap.shards.writer import ShardWriter

#: Pictures that are fitted with one identity; of more there are several fits, so that memory does not grow.
TOGETHER = 256
#: Landmarks of all pictures are brought to one camera of this focal length, pixels.
COMMON_F_PX = 1000.0
_CHANGED = "its pictures are not those that the run was planned with: run it again, with --retry failed"
#: Scores that mean nothing of stills.
MOTION_SCORES = ("jitter_mm",)


def make_people(settings: PhotoSettings) -> Callable[[Task], list[dict[str, Any]]]:
    """:func:`prepare_person` with the models that it needs, for a worker that computes with one thread."""
    use_threads(1)  # sums depend on the number of threads, and shards must not
    return functools.partial(prepare_person, tools=Tools(settings), settings=settings)


def prepare_person(task: Task, tools: Tools, settings: PhotoSettings) -> list[dict[str, Any]]:
    """Run a person's pictures through preparation; returns their rows, as
    :func:`data_prep.clips.steps.pipeline.prepare_video` does, and raises what it raises."""
    rows: list[dict[str, Any]] = []
    try:
        paths = pictures_of(str(task.path))
        task.sheets.mkdir(parents=True, exist_ok=True)
        earlier = Duplicates()
        with Landmarker() as landmarker:
            for group, (low, high) in enumerate(cut_evenly(len(paths), TOGETHER) if paths else ()):
                person = _Person(task, tools, settings, group)
                for number in range(low, high):
                    person.look_at(paths[number], number, landmarker, earlier)
                    beat()
                rows += person.finish()
                give_back()
        if not paths:
            rows.append(_row(task, task.base_id, str(task.path), REJECTED, "no picture", 0))
    except Exception as error:  # a bug must not cost the other people their rows
        if fault := not_the_videos(error):
            raise fault from error
        if isinstance(error, (OSError, PeopleError)):
            rows.append(_unreadable(task, task.base_id, str(task.path), error, 0))
        else:
            reason, details = told(error)
            failed = _row(task, task.base_id, str(task.path), FAILED, reason, 0)
            rows.append(failed | {"details": details, "fault": BUG})
    return rows if _as_planned(task, settings) else _left_open(task, rows)


def _as_planned(task: Task, settings: PhotoSettings) -> bool:
    """Whether the person's pictures are still those that were planned, as far as that is known."""
    try:
        return task.stamp in ("", stamp_of_pictures(pictures_of(str(task.path)), settings.twice))
    except (OSError, PeopleError):
        return False


def _left_open(task: Task, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a person whose pictures have changed meanwhile: what failed may pass, and what went got no row."""
    found = [row | {"fault": MACHINE} if row["status"] == FAILED else row for row in rows]
    row = _row(task, task.base_id, str(task.path), FAILED, _CHANGED, 0) | {"fault": MACHINE}
    return [*(one for one in found if one["clip_id"] != task.base_id), row]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The pictures that were fitted together, with a score (F,) of each."""

    looks: list[Look]
    seen: Framed
    scores: dict[str, np.ndarray]

    def numbers(self, pictures: Sequence[int]) -> dict[str, float]:
        """What a clip of these pictures is judged by."""
        return clip_scores({name: values[list(pictures)] for name, values in self.scores.items()})


class _Person:
    """Some of a person's pictures on their way."""

    def __init__(self, task: Task, tools: Tools, settings: PhotoSettings, group: int) -> None:
        self.task, self.tools, self.settings, self.group = task, tools, settings, group
        self.watch = Stopwatch(tools.clock)
        self.rows: list[dict[str, Any]] = []
        self.looks: list[Look] = []

    def look_at(self, path: Path, number: int, landmarker: Landmarker, earlier: Duplicates) -> None:
        """Take in a picture, or make the row of one that cannot be measured."""
        clip_id = f"{self.task.base_id}_{number:06d}"
        try:
            if str(path) in self.settings.twice:
                raise NoPerson(f"the same file as another person's: {self.settings.twice[str(path)]}")
            with self.watch.timed("landmarks"):
                found = look(path, number, landmarker, self.settings.faces)
            padded = found.scores["padded"]
            if self.settings.padding == REJECT and padded > 1e-3:
                raise NoPerson(f"padded: {padded:.1%} of the crop lies outside of the picture (--padding reject)")
            if (same := earlier.of(found)) and not self._takes_the_place(found, same):
                raise NoPerson(f"duplicate of {same.name}")
        except NoPerson as error:
            self.rows.append(_row(self.task, clip_id, str(path), REJECTED, str(error)))
        except PhotoError as error:
            if fault := not_the_videos(error, path):
                raise fault from error
            self.rows.append(_unreadable(self.task, clip_id, str(path), error, 1))
        else:
            self.looks.append(found)

    def _takes_the_place(self, found: Look, same: Taken) -> bool:
        """Let a picture take an earlier one's place if its face is wider: a small copy must not cost the large one."""
        new, old = Taken.of(found), next((one for one in self.looks if one.number == same.number), None)
        if old is None or new.face_px < WIDER * same.face_px:  # or the earlier one is fitted already
            return False
        self.looks.remove(old)
        clip_id = f"{self.task.base_id}_{old.number:06d}"
        self.rows.append(_row(self.task, clip_id, str(old.path), REJECTED, f"duplicate of {new.name}"))
        same.name, same.number, same.face_px = new.name, new.number, new.face_px
        return True

    def finish(self) -> list[dict[str, Any]]:
        """Fit, judge and render; the rows of all pictures, in order."""
        if self.looks:
            with self.watch.timed("fit"):
                fitted = self._fit()
            reasons = [why_not(fitted.numbers([k]), self.settings.thresholds) for k in range(len(self.looks))]
            kept = [k for k, reason in enumerate(reasons) if not reason]
            clips = [(f"{self.task.base_id}_set{self.group:03d}", kept)] if kept else []
            for k, reason in enumerate(reasons):
                clip_id = f"{self.task.base_id}_{self.looks[k].number:06d}"
                if reason and self.settings.hold:
                    clips.append((clip_id, [k]))
                elif reason:
                    self.rows.append(_row(self.task, clip_id, str(self.looks[k].path), REJECTED, reason))
            for clip_id, pictures in clips:
                self.rows.append(self._render(fitted, clip_id, pictures))
            self._share_seconds()
        return sorted(self.rows, key=lambda row: row["clip_id"])

    def _fit(self) -> _Fitted:
        looks, model = self.looks, self.tools.model
        zoom_F = torch.tensor([COMMON_F_PX / one.camera.f_px for one in looks])
        centre_F2 = torch.tensor([[one.camera.cx_px, one.camera.cy_px] for one in looks])
        landmarks = torch.from_numpy(np.stack([one.face.landmarks_px_N3[:LANDMARK_COUNT] for one in looks]))
        points = torch.cat([landmarks[..., :2] - centre_F2[:, None], landmarks[..., 2:]], -1) * zoom_F[:, None, None]
        scores = torch.from_numpy(np.stack([one.face.blendshapes_B for one in looks]))
        prior = expression_prior(scores, looks[0].face.names, model)
        seen = Observed(points, prior, PinholeCamera(COMMON_F_PX, 0.0, 0.0, 1, 1))
        common = fit_tracks([seen], model, self.tools.correspondence, FitSettings().unordered())[0]
        fitted = _in_pictures(common, zoom_F.to(model.device))
        windows = np.stack([one.window_px_3 for one in looks])
        cameras = np.concatenate(
            [crop.window_cameras(one.camera, one.window_px_3[None], self.settings.size) for one in looks]
        )
        all_scores = {name: np.array([one.scores[name] for one in looks], np.float32) for name in looks[0].scores}
        all_scores |= {name: x for name, x in fit_scores(fitted).items() if name not in MOTION_SCORES}
        all_scores["lip_opening_mm"] = lip_opening_mm(fitted, self.tools).astype(np.float32)
        return _Fitted(looks, Framed(fitted, landmarks.numpy(), windows, cameras), all_scores)

    def _render(self, fitted: _Fitted, clip_id: str, pictures: list[int]) -> dict[str, Any]:
        """Write the samples of a clip of these pictures, and its sheet; they are judged again when they are stored."""
        settings = self.settings
        error = f"fit error {fitted.scores['fit_error'][pictures].mean():.2%} of the face's width"
        sheet = contact_sheet.Sheet(f"{clip_id}   {len(pictures)} pictures   {error}")
        shown = set(np.linspace(0, len(pictures) - 1, SHEET_ROWS).round().astype(int).tolist())
        with ShardWriter(self.task.scratch / clip_id, "clip") as writer:
            for low, high in cut_evenly(len(pictures), MAX_CHUNK):
                part = pictures[low:high]
                with self.watch.timed("warp"):
                    rgb = np.stack([self._crop(fitted.looks[k]) for k in part])
                record = Record(
                    clip_id=clip_id,
                    person_id=self.task.base_id,
                    depth_source=FITTED,
                    frames=len(part),
                    size_px=settings.size,
                    fps=0.0,
                    first_frame=low,
                    source=self.task.name,
                    scores=frame_scores(fitted.scores, part),
                    software=self.tools.software,
                )
                sample = fitted_sample(record, fitted.seen, part, rgb, self.tools, self.watch)
                with self.watch.timed("encode"):
                    writer.write(sample)
                with self.watch.timed("sheet"):
                    for index in (i - low for i in range(low, high) if i in shown):
                        sheet.rows.append(contact_sheet.shrunk(self._sheet_row(fitted, sample, part[index], index)))
                beat()
        with self.watch.timed("sheet"):
            write_whole(self.task.sheets / f"{clip_id}{contact_sheet.SHEET_END}", contact_sheet.render_sheet(sheet))
        paths = [fitted.looks[k].path for k in pictures]
        source = str(self.task.path) if len(paths) > 1 else str(paths[0])
        row = _row(self.task, clip_id, source, KEPT, "", len(pictures))
        return row | {"scores": fitted.numbers(pictures), "pictures": [path.name for path in paths]}

    def _crop(self, one: Look) -> np.ndarray:
        rgb = read_photo(one.path).rgb_HW3
        return crop.crop_frame(rgb, one.window_px_3, self.settings.size, black=self.settings.padding == BLACK)

    def _sheet_row(self, fitted: _Fitted, sample: Sample, picture: int, index: int) -> contact_sheet.SheetFrame:
        error, yaw, pitch = (fitted.scores[name][picture] for name in ("fit_error", "yaw_deg", "pitch_deg"))
        name = fitted.looks[picture].path.name
        label = f"{name}   error {error:.2%}   yaw {yaw:.0f}  pitch {pitch:.0f} degrees"
        return sheet_row(label, sample, fitted.seen, picture, index)

    def _share_seconds(self) -> None:
        """What the pictures took is told by the rows that have samples, by their pictures."""
        drawn = [row for row in self.rows if row["status"] == KEPT] or self.rows
        total = sum(row["frames"] for row in drawn)
        for row in drawn:
            share = row["frames"] / total
            row["seconds"] = {part: round(spent * share, 3) for part, spent in self.watch.parts.items()}


def _in_pictures(fitted: Fit, zoom_F: torch.Tensor) -> Fit:
    """A fit before the common camera, with residuals and widths in pixels of each picture."""
    return replace(
        fitted,
        residual_px_FN2=fitted.residual_px_FN2 / zoom_F[:, None, None],
        width_px_F=fitted.width_px_F / zoom_F,
    )


def _unreadable(task: Task, clip_id: str, source: str, error: Exception, frames: int) -> dict[str, Any]:
    """The row of a picture, or a person, that cannot be read."""
    row = _row(task, clip_id, source, FAILED, str(error).removeprefix(f"{source}: "), frames)
    return row | {"fault": MACHINE} if is_forbidden(error) else row


def _row(task: Task, clip_id: str, source: str, status: str, reason: str, frames: int = 1) -> dict[str, Any]:
    return {
        "source": source,
        "clip_id": clip_id,
        "person_id": task.base_id,
        "status": status,
        "reason": " ".join(reason.split()),
        "frames": frames,
        "scores": {},
        "seconds": {},
    }
