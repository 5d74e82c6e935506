"""Options that several benchmarks have, and what their values may be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.choices import ALIGNMENT_NAMES, FIRST, METHOD_NAMES, MIDDLE, MOVED_TURNS, SWAY
from jdap.choices import DTYPES
from jdap.commands.arguments import positive as positive
from jdap.commands.arguments import refuse_idle as refuse_idle
from jdap.io.device import AUTO, DEVICE_HELP


def numbers(text: str) -> tuple[int, ...]:
    """``64,128`` → (64, 128), as an argument."""
    return tuple(positive(part) for part in text.split(","))


def refuse_unread(args: argparse.Namespace, parser: argparse.ArgumentParser, read_by: Mapping[str, set[str]]) -> None:
    """Raises CommandError for options that none of ``args.parts`` reads; ``read_by``: option → the parts that do."""
    unread = [name for name, parts in read_by.items() if not parts & set(args.parts)]
    refuse_idle(args, parser, unread, f"with --parts {','.join(args.parts)}")


def words_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """The type of an argument that names some of the ``known`` words, with commas between them."""

    def words(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(text.split(",")))
        if unknown := [word for word in found if word not in known]:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(known)}")
        return found

    return words


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)


def add_embedder(parser: argparse.ArgumentParser) -> None:
    """``--embedder``."""
    parser.add_argument(
        "--embedder",
        type=Path,
        metavar="FILE.onnx",
        help="a network of your own that faces are compared by, from faces cut out as ArcFace's (default: dlib's)",
    )


def add_models(parser: argparse.ArgumentParser, known: Sequence[str], default: str) -> None:
    """Options that name methods of depth: which of the ``known`` ones (``default`` says which without being told), how
    they run, and where results go."""
    parser.add_argument("--weights", help="weights folder, or shipped:NAME (methods jdap, jdap_head and mean)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table (JSON, CSV) and the picture")
    methods = f"comma-separated, of {','.join(known)}; {default}"
    parser.add_argument("--methods", type=words_of(known), help=methods)
    for option, place, what in (
        ("marigold", "FOLDER", "weights of diffusers' Marigold pipeline"),
        ("transformers", "FOLDER", "weights of transformers' depth estimation (Depth Anything …)"),
        ("function", "MODULE:FUNCTION", "a function of pictures"),
    ):
        parser.add_argument(
            f"--{option}", type=named, action="append", default=[], metavar=f"[NAME=]{place}",
            help=f"also measure {what}; may be given several times",
        )  # fmt: skip
    parser.add_argument("--steps", type=positive, default=1, help="sampling steps of ours (default 1)")
    parser.add_argument("--ensemble", type=positive, default=1, help="seeds of ours that are averaged (default 1)")
    parser.add_argument("--size", type=positive, help="side of the pictures in pixels (default: the pipeline's)")
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and of the bootstrap (default 0)")


def add_method_arguments(parser: argparse.ArgumentParser, known: Sequence[str] = METHOD_NAMES) -> None:
    """Options of every benchmark that compares depth with the truth: :func:`add_models`, and how it is compared."""
    add_models(parser, known, "by default all that the data can serve")
    parser.add_argument(
        "--alignments",
        type=words_of(ALIGNMENT_NAMES),
        default=ALIGNMENT_NAMES,
        help=f"of {','.join(ALIGNMENT_NAMES)} (default all)",
    )
    parser.add_argument("--no-regions", action="store_true", help="do not look for the regions of faces")
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures at a time (default 16)")


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark that draws talking portraits."""
    parser.add_argument(
        "--weights", type=named, action="append", default=[], metavar="NAME=FOLDER",
        help="weights of jdap train-video, or shipped:NAME; may be given several times",
    )  # fmt: skip
    parser.add_argument("--moved", action="store_true", help="beside them the reference moved, as jdap talk --by warp")
    parser.add_argument(
        "--turns", choices=MOVED_TURNS, default=SWAY, help=f"of --moved: how the head turns (default {SWAY}: by chance)"
    )
    parser.add_argument("--shards", default="shipped:talking/test", help="held-out clips (default: those that ship)")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; files there are replaced")
    parser.add_argument("--steps", type=positive, default=10, help="sampling steps of each window (default 10)")
    parser.add_argument("--guidance", type=float, default=1.0, help="strength of the reference (default 1: as trained)")
    parser.add_argument("--audio-guidance", type=float, default=1.0, help="strength of the sound (default 1)")
    parser.add_argument("--reference", choices=(FIRST, MIDDLE), default=FIRST, help="frame given (default first)")
    parser.add_argument("--limit", type=positive, help="only the first so many clips")
    add_device(parser)
    parser.add_argument(
        "--dtype", choices=DTYPES, default=DTYPES[0], help=f"of the networks that draw (default {DTYPES[0]})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")


def add_pair_arguments(parser: argparse.ArgumentParser, what: str, steps: int) -> None:
    """Options of benchmarks that change pictures and have the true ones: ``what`` is counted, drawn in ``steps``."""
    parser.add_argument("--weights", default="shipped:image-tiny", help="weights folder (default shipped:image-tiny)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table (JSON, CSV) and the picture")
    parser.add_argument("--redraw", type=float, default=0.3, help="strength of the model's redraw; 0: no such row")
    parser.add_argument("--steps", type=positive, default=steps, help=f"of drawing (default {steps})")
    parser.add_argument("--limit", type=positive, help=f"only the first so many {what}")
    parser.add_argument("--batch-size", type=positive, default=10, help=f"{what} at a time (default 10)")
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampler's noise and the bootstrap (default 0)")


def named(text: str) -> tuple[str, str]:
    """``NAME=FOLDER`` as a pair, as an argument; a folder alone is named after itself."""
    name, equals, folder = text.partition("=")
    name, folder = (name, folder) if equals else (Path(text).name, text)
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"must be NAME=FOLDER, got {text!r}")
    return name, folder
