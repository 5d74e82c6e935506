"""``python -m benchmarks speaking``: trains what ``jdap talk --by warp`` hears by, and measures it (or another one).

The studio's speakers say sentences, and what their mouths do is known; a small network learns it from the sound, which
is changed to be that of other voices and microphones (:mod:`benchmarks.speaking.training`). It is measured on speakers,
sentences and mouths that it has not met, and on people in videos. Drawing and training go on where they were
interrupted. Writes the folder ``speaking/``, ``speaking.json`` and ``speaking.csv``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from rich.console import Console

from benchmarks import BenchmarkError, report
from benchmarks.speaking import measure, people
from benchmarks.speaking.training import train
from jdap.io.assets import find_folder
from jdap.io.files import make_folder
from jdap.io.progress import Telling
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict


def run(args: argparse.Namespace) -> int:
    """Train unless one is given, measure, print the tables, and write the files into ``args.out``."""
    console, began = Console(), time.monotonic()
    make_folder(args.out)
    made: dict[str, Any] = {}
    if args.speaking is None:
        trained = _trained(args, console, began)
        if trained is None:
            return 0
        face, made = trained
    else:
        folder = find_folder(args.speaking, "make it with `python -m benchmarks speaking`")
        face = load_strict(SpeakingFace, folder)
    if face.names != people.SPOKEN:
        raise BenchmarkError(f"--speaking {args.speaking}: it knows other expressions than the studio's speakers use")
    _draw(args, "test", args.test_speakers, console)
    rows = measure.of_speakers(face, people.read(args.out / "drawn", "test", args.test_speakers), args.seed)
    if args.videos is not None:
        rows += measure.of_videos(face, measure.seen_in(args.videos, console), args.seed)
    stamp = report.software_stamp() | made | {"speaking": args.speaking or "trained", "seed": args.seed}
    measure.publish(args.out / "speaking", rows, stamp, console)
    return 0


def _trained(args: argparse.Namespace, console: Console, began: float) -> tuple[SpeakingFace, dict[str, Any]] | None:
    """The network and what was done; None where the minutes are over before."""
    limit = 60 * args.minutes
    if not _draw(args, "train", args.speakers, console, began + limit):
        console.print(f"{args.minutes:g} minutes are over while speakers are drawn: the same command goes on")
        return None
    spoken = people.read(args.out / "drawn", "train", args.speakers)
    with Telling("step", args.steps, console=console) as telling:
        face, done, spent = train(
            spoken,
            args.steps,
            args.out / "last.pt",
            seconds=limit - (time.monotonic() - began),
            seed=args.seed,
            on_step=lambda step, loss: telling.tell(step, f"loss {loss:.3f}"),
        )
    if done < args.steps:
        console.print(f"{args.minutes:g} minutes are over at step {done} of {args.steps}: the same command goes on")
        return None
    (args.out / "speaking").mkdir(exist_ok=True)
    face.half().save_pretrained(args.out / "speaking")
    made = {"steps": done, "speakers": args.speakers, "training_processor_s": round(spent, 1)}
    return load_strict(SpeakingFace, args.out / "speaking"), made


def _draw(args: argparse.Namespace, split: str, count: int, console: Console, until: float = float("inf")) -> bool:
    """Draw what is missing; whether all is there."""
    there = 0
    with Telling(f"{split} speaker", count, console=console) as telling:
        for there in people.draw_missing(args.out / "drawn", split, count):
            telling.tell(there)
            if time.monotonic() > until:
                break
    return there >= count
