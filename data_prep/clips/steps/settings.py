"""What the command line of ``prepare`` says to the steps."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import torch

from data_prep.choices import EDGE, RULE, SEGMENT_S, SPLIT
from data_prep.clips.heard import voice_detector
from data_prep.clips.quality import THRESHOLDS, Thresholds, parse_thresholds
from data_prep.head.files import load_face_model
from jdap.choices import NO_PARSER
from jdap.faces.parser import load_parser


@dataclass(frozen=True)
class PrepareSettings:
    """What the command line says.

    * ``size``: side of the stored frames, pixels; ``device``: of the fit, the renderer and the crops
    * ``face_model``: file of the head model (:mod:`data_prep.head.files`); empty: ICT-FaceKit
    * ``mean_head``: whether the mean head's depth is drawn too
    * ``faces``: several faces in a picture become several clips (``split``), or turn each of them down (``single``)
    * ``padding``: what fills a crop that reaches out of the picture, its ``edge`` or ``black``; or ``reject``
    * ``thresholds``: score → (least, most), see :mod:`data_prep.clips.quality`; ``hold``: whether clips that fail them
      are drawn and stored apart, so that other thresholds can admit them
    * ``parser``: what tells skin from what covers it (:func:`jdap.faces.parser.load_parser`)
    * ``sync_weights``: the user's SyncNet (:mod:`data_prep.video.syncnet`), or empty
    * ``voice``: what tells a voice (:func:`data_prep.clips.heard.voice_detector`)
    * ``segment_s``: longer videos are parted into segments of at most so many seconds; 0: none is
    """

    size: int = 512
    device: str = "cpu"
    mean_head: bool = False
    faces: str = SPLIT
    padding: str = EDGE
    thresholds: Thresholds = field(default_factory=lambda: dict(THRESHOLDS))
    hold: bool = True
    face_model: str = ""
    sync_weights: str = ""
    parser: str = NO_PARSER
    voice: str = RULE
    segment_s: float = SEGMENT_S


#: In shorter segments a seam would have no place to move to.
LEAST_SEGMENT_S = 2.0


class SettingsError(ValueError):
    """A mistake in the command's arguments, told in one line."""


def read_settings(args: argparse.Namespace) -> PrepareSettings:
    """The settings; raises :class:`SettingsError`, ThresholdError, ModelFileError for the face model, or
    :class:`jdap.faces.parsing.ParserError`."""
    if args.size < 32 or args.size % 8:
        raise SettingsError(f"--size must be a multiple of 8, at least 32, got {args.size}")
    if args.segment_s and not LEAST_SEGMENT_S <= args.segment_s < float("inf"):
        raise SettingsError(f"--segment-s must be 0 or at least {LEAST_SEGMENT_S:g}, got {args.segment_s:g}")
    elsewhere = getattr(args, "engine", "local") == "ray"  # the head of a cluster need not have what its workers have
    if args.device.startswith("cuda") and not elsewhere and not torch.cuda.is_available():
        raise SettingsError("--device cuda: this torch sees no CUDA device; use --device cpu")
    voice_detector(args.voice)  # what is missing is told here
    load_parser(args.parser)  # a bad file is told here, not by every worker
    if args.face_model:
        load_face_model(args.face_model)  # a bad file is told here, not by every worker
    return PrepareSettings(
        args.size,
        args.device,
        args.mean_head,
        args.faces,
        args.padding,
        parse_thresholds(args.min, args.max),
        hold=not args.no_hold,
        face_model=args.face_model,
        sync_weights=args.sync_weights,
        parser=args.parser,
        voice=args.voice,
        segment_s=args.segment_s,
    )
