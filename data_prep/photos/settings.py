"""What the command line of ``photos`` says to those who prepare people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data_prep.clips.steps.settings import PrepareSettings


@dataclass(frozen=True)
class PhotoSettings(PrepareSettings):
    """Settings of preparation, of which photos have no sync; ``faces`` is ``widest`` (the widest face, where it
    stands out) or ``single`` (no picture with another large face).

    ``twice``: picture → another person's that is the same file (:func:`data_prep.photos.find.same_files`).
    """

    twice: Mapping[str, str] = field(default_factory=dict)
