"""Whether a mouth that was heard follows the true one: of drawn speakers, and of people in videos.

Shapes: N speakers, F frames at 25 fps, S audio samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, answers, report
from benchmarks.speaking.people import SPOKEN, Spoken
from data_prep.video.find import find_videos
from jdap.faces.landmarker import Landmarker, face_width_px
from jdap.io.progress import Telling
from jdap.media.frames import FramesError, read_frames
from jdap.media.sound import SoundError, open_sound
from jdap.metrics.lips import amplitude_ratio, best_lag, correlation
from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.speaking import Articulation
from jdap.pose.talking import AHEAD
from jdap.units import FPS

#: Sound (B, 640 F) and F → what the face does: :class:`jdap.models.audio.speaking.SpeakingFace`, or another like it.
Hears = Callable[[Tensor, int], Articulation]
#: What is measured → (unit, whether higher is better).
SPEAKING_MEASURES = {
    "opening": ("correlation", True),
    "amplitude": ("ratio", None),
    "lag": ("frames", None),
    **{name: ("correlation", True) for name in SPOKEN},
}
_OWN, _OTHER = "own sound", "another's sound"
#: mediapipe's landmarks in the middle of the inner lips; how long a face is, mm, by which openings are told.
_UPPER, _LOWER, _FACE_MM = 13, 14, 170.0
#: A video counts where a face is found in this share of its frames; of longer ones the first seconds.
_FOUND, _MOST_S = 0.8, 20.0
_AT_ONCE = 50


class SeenVideo(NamedTuple):
    """A video's sound (S,), and the opening between the lips (F,), mm of a face as long as :data:`_FACE_MM`."""

    name: str
    audio_S: Tensor
    opening_mm_F: Tensor


@torch.inference_mode()
def of_speakers(face: Hears, spoken: Spoken, seed: int) -> list[dict[str, Any]]:
    """Rows of drawn speakers: by their own sound, and by the next one's."""
    frames = spoken.expression_NFE.shape[1]
    parts = [face(audio, frames) for audio in spoken.audio_NS.split(_AT_ONCE)]
    expression, opening = (torch.cat(x) for x in zip(*parts, strict=True))
    values = {_OWN: _of_opening(opening, spoken.opening_mm_NF)}
    for k, name in enumerate(SPOKEN):
        values[_OWN][name] = correlation(expression[..., k], spoken.expression_NFE[..., k]).tolist()
    values[_OTHER] = {"opening": correlation(opening.roll(1, 0), spoken.opening_mm_NF).tolist()}
    return answers.rows(values, SPEAKING_MEASURES, [str(n) for n in range(len(spoken))], seed, whom="drawn speakers")


@torch.inference_mode()
def of_videos(face: Hears, videos: Sequence[SeenVideo], seed: int) -> list[dict[str, Any]]:
    """Rows of people in videos, whose lips landmarks measure; heard ahead, as a photo that talks does."""
    values: dict[str, dict[str, list[float]]] = {_OWN: {}, _OTHER: {}}
    heard = [_ahead(face(one.audio_S[None], len(one.opening_mm_F)).opening_mm_BF) for one in videos]
    for own, other, one in zip(heard, [*heard[1:], *heard[:1]], videos, strict=True):
        for name, numbers in _of_opening(own, one.opening_mm_F[None, : own.shape[1]]).items():
            values[_OWN].setdefault(name, []).extend(numbers)
        both = min(other.shape[1], own.shape[1])
        found = correlation(other[:, :both], one.opening_mm_F[None, :both])
        values[_OTHER].setdefault("opening", []).extend(found.tolist())
    return answers.rows(values, SPEAKING_MEASURES, [one.name for one in videos], seed, whom="people in videos")


def _ahead(heard_BF: Tensor) -> Tensor:
    return heard_BF[:, AHEAD:]


def _of_opening(heard_BF: Tensor, true_BF: Tensor) -> dict[str, list[float]]:
    lag, _ = best_lag(heard_BF, true_BF)
    found = {"opening": correlation(heard_BF, true_BF), "amplitude": amplitude_ratio(heard_BF, true_BF), "lag": lag}
    return {name: x.double().tolist() for name, x in found.items()}


def see(folder: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[SeenVideo]:
    """The videos of a folder as they are seen and heard; ``tell`` hears of those that are left out."""
    for path, name in find_videos([folder]):
        try:
            found = _see(path, name)
        except (SoundError, FramesError) as error:
            tell(str(error))
            continue
        if isinstance(found, str):
            tell(f"{path}: {found}")
        else:
            yield found


def seen_in(folder: Path, console: Console) -> list[SeenVideo]:
    """The same as a list, with progress and a line for what is left out.

    Raises :class:`benchmarks.BenchmarkError` where nothing is left.
    """
    videos = []
    with Telling("video", console=console) as telling:
        for one in see(folder, lambda line: console.print(line, style="yellow", soft_wrap=True)):
            videos.append(one)
            telling.tell(len(videos), one.name)
    if not videos:
        raise BenchmarkError(f"--videos {folder}: in none of them a face and a sound are found")
    return videos


def publish(stem: Path, rows: Sequence[dict[str, Any]], stamp: dict[str, Any], console: Console) -> None:
    """Write ``stem.json`` and ``stem.csv``, and print a table for each kind of speaker."""
    report.write_json(stem.with_suffix(".json"), {"rows": rows, "stamp": stamp})
    report.write_csv(stem.with_suffix(".csv"), rows)
    for whom in dict.fromkeys(row["whom"] for row in rows):
        console.print(whom, style="bold")
        report.show(answers.table([row for row in rows if row["whom"] == whom], SPEAKING_MEASURES), console)


def _see(path: Path, name: str) -> SeenVideo | str:
    times_s, opening_mm = list[float](), list[float]()
    with Landmarker(video=True) as landmarker:
        for k, (rgb, fps) in enumerate(read_frames(path)):
            if k / fps >= _MOST_S:
                break
            faces = landmarker.detect(rgb, round(1000 * k / fps))
            times_s.append((k + 0.5) / fps)
            if not faces:
                opening_mm.append(np.nan)
                continue
            face = max(faces, key=lambda one: face_width_px(one.landmarks_px_N3))
            apart = np.linalg.norm(face.landmarks_px_N3[_UPPER] - face.landmarks_px_N3[_LOWER])
            opening_mm.append(float(apart / face_width_px(face.landmarks_px_N3) * _FACE_MM))
    seen = ~np.isnan(opening_mm)
    if not len(seen) or seen.mean() < _FOUND:
        return f"a face is found in {seen.mean() if len(seen) else 0:.0%} of its frames"
    frames = int(times_s[-1] * FPS)
    opening = np.interp((np.arange(frames) + 0.5) / FPS, np.array(times_s)[seen], np.array(opening_mm)[seen])
    audio, sound = torch.zeros(frames * FRAME_SAMPLES), open_sound(path)
    samples = np.concatenate(list(sound.blocks()))[: len(audio)]
    audio[: len(samples)] = torch.from_numpy(samples)
    return SeenVideo(name, audio, torch.from_numpy(opening).float())
