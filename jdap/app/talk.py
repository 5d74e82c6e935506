"""The person in a visitor's photo says what is in a sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jdap.app.limits import MOST_SOUND_S, RefusedError, check_bytes, without_path
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.choices import VIDEO
from jdap.media.sound import SoundError, first_seconds, open_sound
from jdap.photos.film import Outputs, tellers, write_video
from jdap.photos.head import cropped

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
    models: Models, seen: Seen, sound_path: Path, folder: Path, seed: int = 0, tell: Tell = lambda done, frames: None
) -> Said:
    """Make the video of the first :data:`MOST_SOUND_S` seconds. Raises :class:`RefusedError` for what is no sound, and
    without weights that talk."""
    if models.talking is None:
        raise RefusedError(NO_TALK)
    check_bytes(sound_path)
    outputs = Outputs.of(folder / f"{seen.name}.talk.mp4", VIDEO, preview=True)
    assert outputs.depth is not None
    assert outputs.preview is not None
    try:
        sound = open_sound(sound_path)
        with models.lock:
            pipeline = models.talking
            frames = math.ceil(min(sound.duration_s or MOST_SOUND_S, MOST_SOUND_S) * pipeline.shape.fps)
            windows_done, on_step = tellers(lambda done: tell(min(done, frames), frames), pipeline)
            reference = cropped(pipeline, seen.photo, seen.window_px)
            write_video(
                pipeline,
                reference,
                first_seconds(sound.blocks(), MOST_SOUND_S),
                outputs,
                windows_done,
                steps=QUICK_STEPS,
                seed=seed,
                callback_on_step_end=on_step,
            )
    except SoundError as error:
        raise RefusedError(f"This sound cannot be used: {without_path(error, sound_path)}.") from error
    too_long = (sound.duration_s or 0) > MOST_SOUND_S
    notes = [f"the first {MOST_SOUND_S:g} seconds of {sound.duration_s:.0f}"] if too_long else []
    return Said(outputs.preview, outputs.video, outputs.depth, (*notes, *sound.faults.notes()))
