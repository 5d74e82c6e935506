"""The person in a visitor's photo says what is in a sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jdap.app.limits import MOST_SOUND_S, NO_FIT, NO_HEADS, RefusedError, check_bytes, without_path
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.choices import BY_MODEL, BY_WARP, VIDEO
from jdap.io.fetch import AssetError
from jdap.media.sound import SoundError, first_seconds, open_sound
from jdap.photos.film import Outputs, Talking, tellers, write_video
from jdap.photos.head import cropped
from jdap.pose.change import PoseError
from jdap.pose.pipeline import PosePipeline
from jdap.pose.talking import Speaker
from jdap.units import FPS

#: Few steps without guidance, as ``jdap talk --few-step``.
QUICK_STEPS = 4
NO_TALK = (
    "The weights that talk are not installed here. They lie in a checkout of the repository; "
    "jdap app --talk-weights DIR takes others."
)
#: Is told how many frames are made, of how many.
Tell = Callable[[float, int], None]


@dataclass(frozen=True)
class Said:
    """The ``preview`` (picture and depth side by side), the ``video`` and its ``depth``, and ``notes``."""

    preview: Path
    video: Path
    depth: Path
    notes: tuple[str, ...] = ()


def say(
    models: Models,
    seen: Seen,
    sound_path: Path,
    folder: Path,
    seed: int = 0,
    tell: Tell = lambda done, frames: None,
    by: str = BY_WARP,
) -> Said:
    """Make the video of the first :data:`MOST_SOUND_S` seconds, the photo itself moved or drawn by the model.

    Raises :class:`RefusedError` for what is no sound, for a photo without a face to be moved, and where what it takes
    is not there.
    """
    if by == BY_MODEL and models.talking is None:
        raise RefusedError(NO_TALK)
    check_bytes(sound_path)
    outputs = Outputs.of(folder / f"{seen.name}.talk.mp4", VIDEO, preview=True)
    assert outputs.depth is not None
    assert outputs.preview is not None
    try:
        sound = open_sound(sound_path)
        with models.lock:
            fps = float(FPS) if by == BY_WARP or models.talking is None else models.talking.shape.fps
            frames = math.ceil(min(sound.duration_s or MOST_SOUND_S, MOST_SOUND_S) * fps)

            def told(done: float) -> None:
                tell(min(done, frames), frames)

            talk, windows_done = (_moved if by == BY_WARP else _drawn)(models, seen, seed, told)
            write_video(talk, fps, first_seconds(sound.blocks(), MOST_SOUND_S), outputs, windows_done)
    except SoundError as error:
        raise RefusedError(f"This sound cannot be used: {without_path(error, sound_path)}.") from error
    except AssetError as error:
        raise RefusedError(NO_HEADS) from error
    except PoseError as error:
        raise RefusedError(NO_FIT) from error
    too_long = (sound.duration_s or 0) > MOST_SOUND_S
    notes = [f"the first {MOST_SOUND_S:g} seconds of {sound.duration_s:.0f}"] if too_long else []
    return Said(outputs.preview, outputs.video, outputs.depth, (*notes, *sound.faults.notes()))


def _moved(models: Models, seen: Seen, seed: int, tell: Callable[[float], None]) -> Talking:
    pipeline = PosePipeline(models.portrait, models.heads)
    speaker = Speaker(models.speaking, pipeline, seen.photo, seen.window_px)
    return partial(speaker.talk, seed=seed), tell


def _drawn(models: Models, seen: Seen, seed: int, tell: Callable[[float], None]) -> Talking:
    assert models.talking is not None
    windows_done, on_step = tellers(tell, models.talking)
    reference = cropped(models.talking, seen.photo, seen.window_px)
    talk = partial(models.talking.talk, reference, steps=QUICK_STEPS, seed=seed, callback_on_step_end=on_step)
    return talk, windows_done
