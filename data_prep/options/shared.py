"""Options that several commands have; what is made of them is read where the work is done."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.choices import BLACK, EDGE, ENGINES, REJECT, RULE, SILERO, SINGLE, SPLIT
from data_prep.machine.retry import RETRIES
from data_prep.machine.watchdog import LIMIT_S
from jdap.choices import NO_PARSER, SHIPPED_PARSER


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The arguments that :func:`read_settings` reads."""
    parser.add_argument("--size", type=int, default=512, help="side of the stored frames, pixels (default 512)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the fit and the renderer (default cpu)")
    parser.add_argument("--face-model", default="", metavar="FILE", help="head model, by convert-model (default: ICT)")
    parser.add_argument("--mean-head", action="store_true", help="store the posed mean head's depth too")
    add_parser(parser)
    parser.add_argument("--faces", choices=(SPLIT, SINGLE), default=SPLIT, help="several faces: a clip each, or none")
    parser.add_argument("--padding", choices=(EDGE, BLACK, REJECT), default=EDGE, help="what lies outside a picture")
    add_thresholds(parser)
    parser.add_argument("--sync-weights", default="", metavar="FILE", help="a SyncNet, to score sync by; slow on a CPU")
    hears = "what tells a voice: a rule, or silero-vad, an extra (default rule)"
    parser.add_argument("--voice", choices=(RULE, SILERO), default=RULE, help=hears)
    parser.add_argument("--no-hold", action="store_true", help="do not store clips that fail a threshold")


def add_parser(parser: argparse.ArgumentParser) -> None:
    """``--parser``."""
    names = "|".join((NO_PARSER, SHIPPED_PARSER, "FILE.onnx"))
    what = f"takes what hides the face out of the depth: the parser that ships, or yours (default {NO_PARSER})"
    parser.add_argument("--parser", default=NO_PARSER, metavar=names, help=what)


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """``--min`` and ``--max``."""
    parser.add_argument("--min", default="", metavar="SCORE=X,…", help="hold clips whose score is lower; none lifts it")
    parser.add_argument("--max", default="", metavar="SCORE=X,…", help="hold clips whose score is higher")


def add_engine(parser: argparse.ArgumentParser, workers: str) -> None:
    """The arguments that :func:`read_engine` reads; ``workers``: what their number is by default."""
    parser.add_argument("--retries", type=int, default=RETRIES, help="of input and output errors (default 3)")
    parser.add_argument("--retry", choices=("failed",), help="make again what failed by no fault of its own")
    limit = (
        f"seconds without progress, and one for each 20 MB of the file, until a worker is ended (default {LIMIT_S:g})"
    )
    parser.add_argument("--video-timeout", type=float, default=LIMIT_S, metavar="S", help=limit)
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="local disk for what is in work (default $TMPDIR)")
    who = parser.add_argument_group("who works")
    who.add_argument("--engine", choices=ENGINES, default="local", help="processes here, or a Ray cluster")
    who.add_argument("--workers", type=int, help=workers)
    who.add_argument("--rank", type=int, help="of several runs, this one … (default: from SLURM, or RANK)")
    who.add_argument("--world-size", type=int, help="… of so many (default: from SLURM, or WORLD_SIZE)")
    who.add_argument("--ray-address", help="of a running cluster: auto, HOST:6379 (default: start one here)")
    share = "of Ray's; 0.25: four share one (default: 1 with --device cuda, else 0)"
    who.add_argument("--gpus-per-worker", type=float, help=share)
