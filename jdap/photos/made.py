"""What the files are called that commands make of a photo, so that all of them may write into one folder."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path


class Made(StrEnum):
    """The word that stands after the photo's name in all that one command makes of it, pictures and metadata."""

    DEPTH = "depth"
    NEW = "seed"
    EDIT = "edit"
    RELIT = "relit"
    POSED = "posed"
    MESH = "mesh"

    def of(self, name: str, end: str, number: int | None = None) -> str:
        """``NAME.WORD.END``, or of the pictures of one kind ``NAME.WORD2.END`` …"""
        return f"{name}.{self}{'' if number is None else number}.{end}"

    @property
    def rows(self) -> str:
        """The file with a row for each photo."""
        return self.of("rows", "jsonl")


_NUMBERED = re.compile(rf"({'|'.join(Made)})\d*")


def metadata_of(picture: Path) -> Path | None:
    """The metadata beside a picture that a command made: ``NAME.WORD.json`` of ``NAME.WORD2.depth.png``; None if there
    is no such file."""
    return next((beside for beside in metadata_places(picture) if beside.is_file()), None)


def metadata_places(picture: Path) -> list[Path]:
    """Where a picture's metadata may be; several places, for a photo's own name may have such words in it, too."""
    words = picture.name.split(".")
    found = [(i, _NUMBERED.fullmatch(words[i])) for i in range(len(words) - 2, 0, -1)]
    return [picture.with_name(".".join([*words[:i], word[1], "json"])) for i, word in found if word]
