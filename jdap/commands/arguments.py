"""Options that several commands have, and what their values may be. Nothing here needs torch: help must be quick."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from jdap.choices import DTYPES, FIT_HEAD, GUIDANCE, HEAD_STARTS, IMAGE_WEIGHTS, LARGEST, METHODS, NO_HEAD, SEVERAL
from jdap.io.device import AUTO, DEVICE_HELP


class CommandError(ValueError):
    """What was asked for cannot be done at all; the message is one line that says why and what to do."""


def refuse_idle(args: argparse.Namespace, parser: argparse.ArgumentParser, idle: Iterable[str], where: str) -> None:
    """Raises :class:`CommandError` for options that were told otherwise than by default, and do nothing ``where`` other
    options lead."""
    if told := [f"--{name.replace('_', '-')}" for name in idle if getattr(args, name) != parser.get_default(name)]:
        raise CommandError(f"{where} there is no use for {', '.join(told)}: leave that out")


def add_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Options of the commands that fill a folder; ``steps`` is the default number of sampling steps."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what is made")
    parser.add_argument("--steps", type=positive, default=steps, help=f"sampling steps (default {steps})")
    add_run_arguments(parser, IMAGE_WEIGHTS)
    add_window_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser, weights: str | None, otherwise: str = "") -> None:
    """``--weights``, ``--seed``, ``--device`` and ``--dtype``, which all commands have.

    ``otherwise`` says what the default is where there is no one name for it (``weights`` None).
    """
    told = f"weights folder, shipped:NAME or hub id OWNER/NAME (default {weights or otherwise})"
    parser.add_argument("--weights", default=weights, help=told)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise (default 0)")
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help=f"of the networks (default {DTYPES[0]}); bfloat16 is for GPUs, and for CPUs that multiply it",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, of commands that say what they did in rows."""
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, one a line, and nothing else")


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part of a photo is the head: ``--box``, ``--no-crop``, ``--several``."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--box", type=_box, metavar="LEFT,TOP,SIZE", help="the head's square, in the upright photo's pixels"
    )
    how.add_argument("--no-crop", action="store_true", help="the photos are square crops of a head already")
    how.add_argument(
        "--several",
        type=_several,
        default=LARGEST,
        metavar=f"{{{','.join(SEVERAL)},N}}",
        help="photos with several faces: the largest (default), all of them, none, or the N-th largest",
    )


def add_head(parser: argparse.ArgumentParser) -> None:
    """``--head``, of commands that estimate a photo's depth."""
    parser.add_argument(
        "--head",
        choices=HEAD_STARTS,
        help=f"{FIT_HEAD}: a head is fitted to the face, and depth betters it: for real people (default where faces "
        f"are looked for and the weights have layers for it); {NO_HEAD}: by the picture alone",
    )


def add_guidance(parser: argparse.ArgumentParser) -> None:
    """``--guidance``, which all commands have."""
    parser.add_argument(
        "--guidance",
        type=float,
        default=GUIDANCE,
        help=f"strength of the reference; 1 is as trained (default {GUIDANCE:g})",
    )


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that make pictures, ``jdap generate`` and ``jdap edit``."""
    add_arguments(parser, steps=20)
    add_guidance(parser)
    parser.add_argument(
        "--method", choices=METHODS, help="how what is given is held (default: clean where the weights know it)"
    )
    parser.add_argument(
        "--resample", type=positive, default=1, help="RePaint's resampling of what is given (default 1)"
    )


def positive(text: str) -> int:
    """A whole number from 1, as an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def within(low: float, high: float, what: str = "within") -> Callable[[str], float]:
    """The type of an argument that is a number, ``low`` … ``high``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {what} {low:g} … {high:g}, got {text!r}")
        return value

    return number


def _several(text: str) -> str | int:
    if text in SEVERAL:
        return text
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        allowed = ", ".join(SEVERAL)
        raise argparse.ArgumentTypeError(f"must be {allowed} or a face's number, got {text!r}") from None


def _box(text: str) -> tuple[float, float, float]:
    try:
        left, top, size = (float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be LEFT,TOP,SIZE in pixels, got {text!r}") from None
    if not size > 0:
        raise argparse.ArgumentTypeError(f"the size must be above 0, got {text!r}")
    return left, top, size


def add_depth(parser: argparse.ArgumentParser, what: str) -> None:
    """``--depth``, which all commands read alike (:func:`jdap.photos.inputs.read_depth`)."""
    parser.add_argument("--depth", type=Path, metavar="FILE", help=f"{what}: a ….depth.png that a command wrote")


def add_depth_and_redraw(parser: argparse.ArgumentParser, when: str = "") -> None:
    """``--depth``, ``--ensemble``, ``--redraw`` and ``--guidance`` of commands that change a photo by its depth."""
    add_depth(parser, "the head's depth; without it, it is estimated")
    parser.add_argument("--ensemble", type=positive, default=1, help="draws of depth that are combined (default 1)")
    parser.add_argument(
        "--redraw",
        type=within(0, 1),
        default=0.0,
        metavar="S",
        help=f"{when}0 … 1: noise that the model redraws from (default 0)",
    )
    add_guidance(parser)
