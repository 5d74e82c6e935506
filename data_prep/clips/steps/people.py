"""First pass over a segment: decode, find cuts, find and follow faces; a clip for each person in each shot."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import numpy as np

from data_prep.choices import SINGLE
from data_prep.clips.clip import SHORTEST_CLIP, Clip, Place
from data_prep.clips.covers import SIDE, face_look
from data_prep.clips.measures import appearance, colours_at, outside, repeats
from data_prep.clips.steps.job import VideoJob
from data_prep.video.faces import count_small_faces
from data_prep.video.tracks import Track
from jdap.faces.landmarker import BLENDSHAPES, LANDMARKS, face_width_px

#: A face that is smaller cannot be fitted; it is not worth storing either, and no threshold admits it.
MEASURABLE_PX = 32
#: With ``--faces single``: another large face is in at most this share of a clip's frames.
SEVERAL_SHARE = 0.05
#: Frames in which small faces are looked for when a segment has no large one.
CENSUS = 3
NOTHING = float("nan")


def find_people(clips: list[Clip], job: VideoJob) -> list[Clip]:
    """The clips of a segment's people, in the order of their first frames; or the segment, turned down."""
    (segment,) = clips
    seen, tracks = _watch(segment, job)
    tracks.sort(key=lambda track: (track.start, track.number))
    if not tracks:
        segment.reject(_why_no_face(seen.census))
        return [segment]
    made: list[Clip] = []
    for track in tracks:
        nth = sum(clip.start == track.start for clip in made)
        made.append(_clip(track, nth, segment, seen, job))
    return made


class _Look(NamedTuple):
    """Of a face in a frame; by default of none."""

    sharpness: float = NOTHING
    brightness: float = NOTHING
    skin_N3: np.ndarray = np.zeros((LANDMARKS, 3), np.uint8)
    grey_SS: np.ndarray = np.zeros((SIDE, SIDE), np.uint8)


class _Seen:
    """What was noted of the frames as they passed: each face's look, margins to cuts, and a few frames."""

    def __init__(self) -> None:
        self.looks: dict[tuple[int, int], _Look] = {}
        self.margins: list[float] = []
        self.repeated: list[bool] = []
        self.census: list[np.ndarray] = []
        #: Track → where it was last before the segment, and at its end, if it was there.
        self.before: dict[int, Place] = {}
        self.after: dict[int, Place] = {}


def _watch(segment: Clip, job: VideoJob) -> tuple[_Seen, list[Track]]:
    seen, tracks = _Seen(), list[Track]()
    every = max(1, segment.frames // CENSUS)
    shots = job.timed_each("cuts", islice(job.shots, job.run_up + segment.frames))
    before: np.ndarray | None = None
    for k, shot in enumerate(shots, segment.start - job.run_up):
        if k == segment.start and job.run_up:
            seen.before, tracks = _places(job.tracker.segment(k)), []
        with job.timed("landmarks"):
            faces = job.finder.find(shot.rgb_HW3, shot.cut)
        tracks += job.tracker.step(k, shot.rgb_HW3, faces, shot.cut)
        job.kept.add(k, shot.rgb_HW3, job.tracker.places())
        if k < segment.start:
            before = shot.rgb_HW3
            continue
        for face in faces:
            points = face.landmarks_px_N3
            skin, grey = colours_at(shot.rgb_HW3, points), face_look(shot.rgb_HW3, points)
            seen.looks[k, id(face)] = _Look(*appearance(shot.rgb_HW3, points), skin, grey)
        seen.margins.append(1.0 if shot.cut else shot.margin)
        seen.repeated.append(repeats(shot.rgb_HW3, before))
        before = shot.rgb_HW3
        if (k - segment.start) % every == every // 2:
            seen.census.append(shot.rgb_HW3)
    going_on = job.tracker.segment(segment.start + segment.frames)
    if segment.start + segment.frames < segment.video.frames:
        seen.after = _places(going_on)
    return seen, tracks + going_on


def _places(tracks: list[Track]) -> dict[int, Place]:
    """Track → where its face was last."""
    places = {}
    for track in tracks:
        points = next(face for face in reversed(track.faces) if face is not None).landmarks_px_N3
        x, y = points[:, :2].mean(0)
        places[track.number] = round(float(x), 1), round(float(y), 1), round(float(face_width_px(points)), 1)
    return places


def _clip(track: Track, nth: int, segment: Clip, seen: _Seen, job: VideoJob) -> Clip:
    """The clip of a track (trimmed: it begins and ends with a face), turned down where it cannot be used."""
    frames, first = len(track.faces), track.start - segment.start
    clip = Clip(segment.source, segment.base_id, segment.video, track.start, frames, nth)
    clip.person_id = clip.clip_id
    clip.before, clip.after = seen.before.get(track.number), seen.after.get(track.number)
    looks = [_Look() if face is None else seen.looks[track.start + i, id(face)] for i, face in enumerate(track.faces)]
    there = [face for face in track.faces if face is not None]
    clip.blendshape_names = there[0].names
    no_points, no_shapes = np.full((LANDMARKS, 3), np.nan, np.float32), np.full(BLENDSHAPES, np.nan, np.float32)
    clip.landmarks_px_FN3 = fill_gaps(np.stack([no_points if f is None else f.landmarks_px_N3 for f in track.faces]))
    clip.blendshapes_FB = fill_gaps(np.stack([no_shapes if f is None else f.blendshapes_B for f in track.faces]))
    clip.beside = track.beside
    clip.skin_FN3 = np.stack([look.skin_N3 for look in looks])
    clip.look_FSS = np.stack([look.grey_SS for look in looks])
    clip.scores = {
        "found": np.array([face is not None for face in track.faces], np.float32),
        "several": np.array(track.several, np.float32),
        "sharpness": np.array([look.sharpness for look in looks], np.float32),
        "brightness": np.array([look.brightness for look in looks], np.float32),
        "source_fps": np.full(frames, segment.video.source_fps(track.start, track.start + frames), np.float32),
        "repeated": np.array(seen.repeated[first : first + frames], np.float32),
        "outside": outside(clip.landmarks_px_FN3, segment.video.width, segment.video.height),
        "cut_margin": np.array(seen.margins[first : first + frames], np.float32),
    }
    _turn_down(clip, track, job)
    return clip


def _turn_down(clip: Clip, track: Track, job: VideoJob) -> None:
    several = float(np.mean(track.several))
    width = float(np.median(face_width_px(clip.landmarks_px_FN3)))
    if job.tools.settings.faces == SINGLE and several > SEVERAL_SHARE:
        clip.reject(
            f"several faces in {several:.0%} of the frames (most {SEVERAL_SHARE:.0%}; --faces split separates them)"
        )
    elif track.overlapped:
        clip.reject(f"overlapped: another face hides it in {clip.frames} frames, or is hidden")
    elif clip.frames < SHORTEST_CLIP:
        clip.reject(f"short: {clip.frames} frames with a face, least {SHORTEST_CLIP}")
    elif width < MEASURABLE_PX:
        clip.reject(f"face too small to measure: {width:.0f} px, least {MEASURABLE_PX}")


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


def _why_no_face(frames: list[np.ndarray]) -> str:
    small = count_small_faces(frames)
    if small.count == 0:
        return "no face"
    if small.count == 1:
        return f"no face large enough (one of about {small.width_px:.0f} px)"
    return f"several faces, none large enough ({small.count} in a frame, the largest about {small.width_px:.0f} px)"
