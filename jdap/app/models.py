"""What the page works with: the models, loaded once and used by one visitor at a time."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from jdap.choices import DTYPES, SPEAKING
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import NotInstalledError, resolve
from jdap.io.device import find_device, tell_of_bfloat16
from jdap.io.fetch import AssetError
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.relight import RelightPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.pose.heads import Heads


@dataclass(frozen=True, eq=False)
class Models:
    """``portrait`` for depth, ``relight`` on it, ``talking``, a ``landmarker`` that finds faces, and ``heads`` to move.

    ``weights`` is what the portrait's are called, and ``dtype`` what they compute in.
    ``talking`` is None where the weights that ship were not installed: a wheel holds none.
    Networks and landmarker are used under the ``lock``: they are fast when each has the machine to itself.
    """

    portrait: PortraitPipeline
    talking: TalkingPipeline | None
    landmarker: Landmarker
    weights: str
    dtype: str
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def load(cls, weights: str, talk_weights: str, device: str, dtype: str = DTYPES[0]) -> Self:
        """By the names of weights folders. Raises what ``from_pretrained`` and :class:`Landmarker` raise."""
        on, kind = find_device(device), getattr(torch, dtype)
        tell_of_bfloat16(dtype, on)
        portrait = PortraitPipeline.from_pretrained(weights, dtype=kind).quiet().to(on)
        talking: TalkingPipeline | None = None
        with contextlib.suppress(NotInstalledError):
            talking = TalkingPipeline.from_pretrained(talk_weights, dtype=kind).quiet().to(on)
        # of a folder of this machine its visitors are told the name alone
        name = Path(weights).name if Path(weights).is_dir() else weights
        return cls(portrait, talking, Landmarker(), name, dtype)

    @property
    def relight(self) -> RelightPipeline:
        """The relighting pipeline on the same networks."""
        return RelightPipeline(self.portrait)

    @cached_property
    def heads(self) -> Heads:
        """Fits and moves head models; made when it is first asked for. Raises :class:`jdap.io.fetch.AssetError`."""
        return Heads(self.landmarker)

    @cached_property
    def betters_heads(self) -> bool:
        """Whether depth betters a head that is fitted to the face; where there is no head model for it, it says so."""
        if self.portrait.face_layers is None:
            return False
        try:
            return self.heads is not None
        except AssetError as error:
            print(f"depth is that of pictures alone, without fitted heads: {error}", file=sys.stderr)
            return False

    @cached_property
    def speaking(self) -> SpeakingFace:
        """Hears what a face does that says a sound; read when it is first asked for."""
        return load_strict(SpeakingFace, resolve(SPEAKING))

    def close(self) -> None:
        """Free the landmarker."""
        self.landmarker.close()
