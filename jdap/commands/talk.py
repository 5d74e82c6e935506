"""``jdap talk PORTRAIT SOUND -o talk.mp4``: the person in a photo says what is in a sound file, with depth.

Writes ``talk.mp4`` (picture and sound), ``talk.depth.mkv`` (lossless 16-bit) or the folder ``talk.depth`` of PNGs,
``talk.preview.mp4`` (picture and depth in colour side by side), and ``talk.json``. With several seeds they are
``talk-seed0.mp4`` … Each file is there whole or not at all.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jdap.choices import CRF, DEPTH_FORMATS, EVERY_FACE, OVERLAP, VIDEO, WINDOW_STARTS
from jdap.commands.arguments import CommandError, add_run_arguments, add_window_arguments, positive

if TYPE_CHECKING:
    from jdap.io.progress import Telling
    from jdap.media.sound import Sound
    from jdap.pipelines.talking import TalkingPipeline

TALK_WEIGHTS = "shipped:talk-tiny"
TALK_STEPS, FEW_STEPS = 20, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap talk``."""
    parser.description = "The person in a photo says what is in a sound file: video with sound, depth, a preview."
    parser.add_argument("photo", type=Path, metavar="PORTRAIT", help="a photo of the person")
    parser.add_argument("sound", type=Path, metavar="SOUND", help="wav, mp3, m4a, flac …, or a video with sound")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="NAME.mp4", help="the video to write")
    add_run_arguments(parser, TALK_WEIGHTS)
    parser.add_argument("--seeds", type=positive, default=1, help="videos, of seeds K, K + 1 … (default 1)")
    parser.add_argument("--steps", type=positive, help=f"sampling steps (default {TALK_STEPS})")
    parser.add_argument("--guidance", type=float, help="strength of the reference (default 1: as trained)")
    parser.add_argument("--audio-guidance", type=float, help="strength of the sound (default 1: as trained)")
    parser.add_argument(
        "--few-step", action="store_true", help=f"fast: {FEW_STEPS} steps without guidance, a network call each"
    )
    parser.add_argument(
        "--noise-sharing", type=float, help="0 … 1, noise that frames have in common (default: as the weights say)"
    )
    parser.add_argument("--overlap", type=int, help=f"frames that windows share (default: {OVERLAP}; 0 shows borders)")
    parser.add_argument(
        "--start", choices=WINDOW_STARTS, help="what the first window continues (default: as the weights say)"
    )
    parser.add_argument("--max-seconds", type=_seconds, help="say no more than the first so many seconds of the sound")
    parser.add_argument(
        "--depth-format",
        choices=DEPTH_FORMATS,
        default=VIDEO,
        help="depth as one lossless video (default), a folder of 16-bit PNGs, or not at all",
    )
    parser.add_argument(
        "--preview", action=argparse.BooleanOptionalAction, default=True, help="picture and depth side by side"
    )
    parser.add_argument("--crf", type=int, default=CRF, help=f"x264's quality, 0 (best) … 51 (default {CRF})")
    add_window_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make the videos, one seed after another; the exit status is 0."""
    from rich.console import Console

    from jdap.commands import common as command
    from jdap.commands.dispatch import ended_by_sigterm
    from jdap.io.progress import Telling
    from jdap.media.sound import first_seconds, open_sound
    from jdap.photos import head, paste
    from jdap.photos.film import Outputs, tellers, write_video
    from jdap.photos.read import read_photo
    from jdap.pipelines.talking import TalkingPipeline

    how = _settings(args)
    sound = open_sound(args.sound)
    photo = read_photo(args.photo)
    pipeline = command.pipeline_of(TalkingPipeline, args)
    command.check_steps(how["steps"], pipeline)
    how["overlap"] = _overlap(args.overlap, pipeline)
    with command.choosing(args) as (choose, _):
        chosen = choose(photo, args.photo)
    photo = chosen.photo
    (window_px,) = chosen.windows_px
    reference = head.cropped(pipeline, photo, window_px)
    notes = [*photo.notes, *chosen.notes]
    if (beyond := command.outside(photo, window_px)) > 0.01:
        notes.append(f"{beyond:.0%} of the window lie outside of the photo")
    of_weights = {name: getattr(pipeline.shape, name) for name in ("noise_sharing", "start") if how[name] is None}
    settings = how | of_weights
    console = Console()
    with ended_by_sigterm():
        for seed in range(args.seed, args.seed + args.seeds):
            outputs = Outputs.of(args.out, args.depth_format, args.preview, seed if args.seeds > 1 else None)
            begun = time.monotonic()
            with Telling("frame", _frames(pipeline, sound, args.max_seconds), console=console) as telling:
                windows_done, on_step = tellers(partial(_tell, telling), pipeline, how["overlap"])
                blocks = first_seconds(sound.blocks(), args.max_seconds)
                frames = write_video(
                    pipeline,
                    reference,
                    blocks,
                    outputs,
                    windows_done,
                    crf=args.crf,
                    seed=seed,
                    callback_on_step_end=on_step,
                    **how,
                )
            took_s = time.monotonic() - begun
            fps = pipeline.shape.fps
            heard = sound.faults.notes()
            data = command.source(args.photo, photo, chosen, window_px) | {
                "sound": {"file": str(args.sound), "max_seconds": args.max_seconds},
                "files": {name: path and path.name for name, path in asdict(outputs).items() if name != "metadata"},
                "frames": frames,
                "fps": fps,
                "seconds": round(frames / fps, 3),
                "depth": {**paste.FRAME, "range": "one for all frames", "format": args.depth_format},
                "made_by": command.describe(args, pipeline) | settings | {"seed": seed, "crf": args.crf},
                "window": asdict(pipeline.shape),
                "took_s": round(took_s, 2),
                "frames_per_second": round(frames / took_s, 3),
                "notes": [*notes, *heard],
            }
            command.write_json(outputs.metadata, data)
            told = "; ".join([*notes, *heard])
            console.print(
                f"{outputs.video}: {frames} frames in {took_s:.1f} s, {frames / took_s:.2f} frames/s"
                + (f" ({told})" if told else ""),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of :meth:`TalkingPipeline.talk` that the options say. Raises CommandError for what contradicts."""
    given = {"steps": args.steps, "guidance": args.guidance, "audio_guidance": args.audio_guidance}
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if args.few_step and named:
        raise CommandError(f"--few-step is {FEW_STEPS} steps without guidance: leave out {', '.join(named)}")
    if args.several == EVERY_FACE:
        raise CommandError("--several all: one person talks; choose the face with --box")
    if args.out.suffix.lower() != ".mp4":
        raise CommandError(f"--out {args.out}: the video is written as MP4; name it NAME.mp4")
    if args.noise_sharing is not None and not 0 <= args.noise_sharing <= 1:
        raise CommandError(f"--noise-sharing must be within 0 … 1, got {args.noise_sharing:g}")
    if any(g is not None and not math.isfinite(g) for g in (args.guidance, args.audio_guidance)):
        raise CommandError("--guidance and --audio-guidance must be numbers")
    defaults = {"steps": FEW_STEPS if args.few_step else TALK_STEPS, "guidance": 1.0, "audio_guidance": 1.0}
    settings = {name: default if given[name] is None else given[name] for name, default in defaults.items()}
    return settings | {"noise_sharing": args.noise_sharing, "start": args.start}


def _overlap(asked: int | None, pipeline: TalkingPipeline) -> int:
    try:
        return pipeline.shape.overlap(asked)
    except ValueError as error:
        raise CommandError(f"--overlap: {error}") from error


def _frames(pipeline: TalkingPipeline, sound: Sound, max_seconds: float | None) -> int | None:
    """How many frames there will be; None for a sound whose length nobody knows."""
    seconds = [s for s in (sound.duration_s, max_seconds) if s is not None]
    return math.ceil(min(seconds) * pipeline.shape.fps - 1e-6) if seconds else None


def _tell(telling: Telling, frames: float) -> None:
    total = math.inf if telling.total is None else telling.total
    telling.tell(min(frames, total), f"{telling.rate(frames):.2f} frames/s")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise argparse.ArgumentTypeError(f"must be seconds above 0, got {text!r}")
    return seconds
