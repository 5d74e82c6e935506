"""Who makes the frames of ``jdap talk``: the clip model, or the photo itself, moved."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from jdap.choices import BY_MODEL, BY_WARP, IMAGE_WEIGHTS, TALK_WEIGHTS
from jdap.commands import common as command
from jdap.commands.arguments import CommandError
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import find_folder
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict
from jdap.photos.film import Talking, tellers
from jdap.photos.head import cropped
from jdap.photos.read import Photo, PhotoError
from jdap.photos.window import by_faces
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.pose.change import PoseError
from jdap.pose.heads import Heads
from jdap.pose.photo import BOTH, read_performance
from jdap.pose.pipeline import PosePipeline
from jdap.pose.talking import Speaker
from jdap.pose.turns import turns_of
from jdap.units import FPS


class Talker(Protocol):
    """Frames at ``fps``, once a photo's head was seen."""

    fps: float

    def see(self, photo: Photo, path: Path, window_px: np.ndarray) -> None:
        """Take in the head in a window of a photo. Raises PhotoError where it cannot be made to talk."""

    def talking(self, seed: int, tell: Callable[[float], None]) -> Talking:
        """A video of this seed; ``tell`` hears how many frames are made."""

    def told(self) -> dict[str, Any]:
        """How the video is made, for its record."""


class ModelTalker:
    """The clip model draws every frame."""

    def __init__(self, args: argparse.Namespace, how: dict[str, Any]) -> None:
        self.pipeline = command.pipeline_of(TalkingPipeline, args)
        command.check_steps(how["steps"], self.pipeline)
        try:
            overlap = self.pipeline.shape.overlap(args.overlap)
        except ValueError as error:
            raise CommandError(f"--overlap: {error}") from error
        self.args, self.how, self.fps = args, how | {"overlap": overlap}, self.pipeline.shape.fps

    def see(self, photo: Photo, path: Path, window_px: np.ndarray) -> None:
        """As :class:`Talker` has it."""
        self.reference = cropped(self.pipeline, photo, window_px)

    def talking(self, seed: int, tell: Callable[[float], None]) -> Talking:
        """As :class:`Talker` has it."""
        windows_done, on_step = tellers(tell, self.pipeline, self.how["overlap"])
        talk = partial(self.pipeline.talk, self.reference, seed=seed, callback_on_step_end=on_step, **self.how)
        return talk, windows_done

    def told(self) -> dict[str, Any]:
        """As :class:`Talker` has it."""
        of_weights = {
            name: getattr(self.pipeline.shape, name) for name in ("noise_sharing", "start") if self.how[name] is None
        }
        made_by = command.describe(self.args, self.pipeline) | self.how | of_weights
        return {"made_by": {"by": BY_MODEL} | made_by, "window": asdict(self.pipeline.shape)}


class WarpTalker:
    """The photo's own texture is moved by what a face does that says the sound."""

    fps = float(FPS)

    def __init__(self, args: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self.args = args
        folder = find_folder(args.speaking, "make it with `python -m benchmarks speaking`")
        self.face: SpeakingFace = load_strict(SpeakingFace, folder)
        portrait = command.pipeline_of(PortraitPipeline, args)
        landmarker = stack.enter_context(Landmarker())
        self.pipeline = PosePipeline(portrait, Heads(landmarker))
        self.turns = None if args.turns is None else self._turns(args.turns, landmarker)

    def _turns(self, path: Path, landmarker: Landmarker) -> Tensor:
        performance = read_performance(path, self.pipeline.heads, by_faces(landmarker), BOTH)
        try:
            return turns_of(performance, self.fps)
        except PoseError as error:
            raise CommandError(f"--turns {path}: {error}") from error

    def see(self, photo: Photo, path: Path, window_px: np.ndarray) -> None:
        """As :class:`Talker` has it."""
        try:
            self.speaker = Speaker(self.face, self.pipeline, photo, window_px)  # one depth for all seeds
        except PoseError as error:
            raise PhotoError(f"{path}: {error}; name the head's square with --box LEFT,TOP,SIZE") from error

    def talking(self, seed: int, tell: Callable[[float], None]) -> Talking:
        """As :class:`Talker` has it."""
        how = {"lips": self.args.lips, "motion": self.args.motion, "turns": self.turns}
        return partial(self.speaker.talk, seed=seed, **how), tell

    def told(self) -> dict[str, Any]:
        """As :class:`Talker` has it."""
        assert self.pipeline.portrait is not None
        made_by = command.describe(self.args, self.pipeline.portrait)
        own = {name: getattr(self.args, name) for name in ("speaking", "lips", "motion")} | {"steps": 1}  # of the depth
        own |= {"turns": self.args.turns and str(self.args.turns)}
        return {"made_by": {"by": BY_WARP} | made_by | own}


def talker_of(args: argparse.Namespace, how: dict[str, Any], stack: contextlib.ExitStack) -> Talker:
    """Who makes the frames that the options ask for."""
    if args.weights is None:
        args.weights = IMAGE_WEIGHTS if args.by == BY_WARP else TALK_WEIGHTS
    return WarpTalker(args, stack) if args.by == BY_WARP else ModelTalker(args, how)
