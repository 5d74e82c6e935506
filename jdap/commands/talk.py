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

from jdap.choices import (
    BY_MODEL,
    BY_WARP,
    CRF,
    DEPTH_FORMATS,
    EVERY_FACE,
    IMAGE_WEIGHTS,
    OVERLAP,
    RENDERERS,
    SPEAKING,
    TALK_WEIGHTS,
    VIDEO,
    WINDOW_STARTS,
)
from jdap.commands.arguments import (
    CommandError,
    add_run_arguments,
    add_window_arguments,
    positive,
    within,
)

if TYPE_CHECKING:
    from jdap.io.progress import Telling
    from jdap.media.sound import Sound

TALK_STEPS, FEW_STEPS = 20, 4
#: What only the model can be told.
OF_MODEL = ("steps", "guidance", "audio_guidance", "noise_sharing", "overlap", "start")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap talk``."""
    parser.description = "The person in a photo says what is in a sound file: video with sound, depth, a preview."
    parser.add_argument("photo", type=Path, metavar="PORTRAIT", help="a photo of the person")
    parser.add_argument("sound", type=Path, metavar="SOUND", help="wav, mp3, m4a, flac …, or a video with sound")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="NAME.mp4", help="the video to write")
    parser.add_argument(
        "--by",
        choices=RENDERERS,
        default=BY_MODEL,
        help="model (default): every frame is drawn; warp: the photo itself is moved, sharp and recognisable",
    )
    add_run_arguments(parser, None, f"{TALK_WEIGHTS}; of --by warp, for the photo's depth, {IMAGE_WEIGHTS}")
    parser.add_argument(
        "--lips", type=within(0, 3), default=1.0, metavar="L", help="of --by warp: how far the mouth moves (default 1)"
    )
    parser.add_argument(
        "--motion", type=within(0, 3), default=1.0, metavar="M", help="of --by warp: sway; 0 keeps still (default 1)"
    )
    parser.add_argument(
        "--turns", type=Path, metavar="VIDEO", help="of --by warp: turn as the head in this video does, not by chance"
    )
    parser.add_argument(
        "--speaking", default=SPEAKING, metavar="DIR", help=f"of --by warp: what hears speech (default {SPEAKING})"
    )
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
    import contextlib

    from rich.console import Console

    from jdap.commands import common as command
    from jdap.commands.dispatch import ended_by_sigterm
    from jdap.commands.talkers import talker_of
    from jdap.io.progress import Telling
    from jdap.media.sound import first_seconds, open_sound
    from jdap.photos import paste
    from jdap.photos.film import Outputs, write_video
    from jdap.photos.metadata import share_outside
    from jdap.photos.read import read_photo

    how = _settings(args)
    sound = open_sound(args.sound)
    photo = read_photo(args.photo)
    console = Console()
    with contextlib.ExitStack() as stack:
        talker = talker_of(args, how, stack)
        choose, _ = stack.enter_context(command.choosing(args))
        chosen = choose(photo, args.photo)
        photo = chosen.photo
        (window_px,) = chosen.windows_px
        talker.see(photo, args.photo, window_px)
        notes = [*photo.notes, *chosen.notes]
        if (beyond := share_outside(photo, window_px)) > 0.01:
            notes.append(f"{beyond:.0%} of the window lie outside of the photo")
        stack.enter_context(ended_by_sigterm())
        for seed in range(args.seed, args.seed + args.seeds):
            outputs = Outputs.of(args.out, args.depth_format, args.preview, seed if args.seeds > 1 else None)
            begun = time.monotonic()
            with Telling("frame", _frames(talker.fps, sound, args.max_seconds), console=console) as telling:
                talk, windows_done = talker.talking(seed, partial(_tell, telling))
                blocks = first_seconds(sound.blocks(), args.max_seconds)
                frames = write_video(talk, talker.fps, blocks, outputs, windows_done, crf=args.crf)
            took_s = time.monotonic() - begun
            heard = sound.faults.notes()
            told = talker.told()
            data = command.source(args.photo, photo, chosen, window_px) | {
                "sound": {"file": str(args.sound), "max_seconds": args.max_seconds},
                "files": {name: path and path.name for name, path in asdict(outputs).items() if name != "metadata"},
                "frames": frames,
                "fps": talker.fps,
                "seconds": round(frames / talker.fps, 3),
                "depth": {**paste.FRAME, "range": "one for all frames", "format": args.depth_format},
                **told,
                "made_by": told["made_by"] | {"seed": seed, "crf": args.crf},
                "took_s": round(took_s, 2),
                "frames_per_second": round(frames / took_s, 3),
                "notes": [*notes, *heard],
            }
            command.write_json(outputs.metadata, data)
            said = "; ".join([*notes, *heard])
            console.print(
                f"{outputs.video}: {frames} frames in {took_s:.1f} s, {frames / took_s:.2f} frames/s"
                + (f" ({said})" if said else ""),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of :meth:`TalkingPipeline.talk` that the options say. Raises CommandError for what contradicts."""
    _check_way(args)
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


def _check_way(args: argparse.Namespace) -> None:
    """Raises CommandError for options of the other way to make a video."""
    of_warp = {"lips": args.lips != 1, "motion": args.motion != 1, "speaking": args.speaking != SPEAKING}
    of_warp["turns"] = args.turns is not None
    of_model = {name: getattr(args, name) is not None for name in OF_MODEL} | {"few_step": args.few_step}
    others, way = (of_model, BY_MODEL) if args.by == BY_WARP else (of_warp, BY_WARP)
    if wrong := [f"--{name.replace('_', '-')}" for name, given in others.items() if given]:
        raise CommandError(f"{', '.join(wrong)}: only with --by {way}")
    if args.turns is not None and args.motion not in (0, 1):
        raise CommandError(
            "--motion is how much the head sways, and with --turns it does not: leave it out (0: no blinks)"
        )


def _frames(fps: float, sound: Sound, max_seconds: float | None) -> int | None:
    """How many frames there will be; None for a sound whose length nobody knows."""
    seconds = [s for s in (sound.duration_s, max_seconds) if s is not None]
    return math.ceil(min(seconds) * fps - 1e-6) if seconds else None


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
