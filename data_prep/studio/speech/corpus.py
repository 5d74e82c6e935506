"""The sentences that are said (``corpus.txt``), and which of them are held out."""

from __future__ import annotations

from functools import cache
from importlib import resources

from data_prep.studio.speech.espeak import SpeechError

SPLITS = ("train", "val", "test")


@cache
def sentences(language: str, split: str) -> tuple[str, ...]:
    """The sentences of a language (``en``) in one of :data:`SPLITS`.

    Of each language's sentences, counted from 1, every tenth is for ``test``, the one before it for ``val``: no
    sentence is in two splits. Raises :class:`SpeechError` for a language or split that there is not.
    """
    if split not in SPLITS:
        raise SpeechError(f"no such split: {split!r}; there are {', '.join(SPLITS)}")
    if language not in languages():
        raise SpeechError(f"the corpus has no language {language!r}; it has {', '.join(languages())}")
    held_out = {9: "val", 0: "test"}
    return tuple(s for i, s in enumerate(_corpus()[language], 1) if held_out.get(i % 10, "train") == split)


def languages() -> tuple[str, ...]:
    """The languages of the corpus."""
    return tuple(_corpus())


@cache
def _corpus() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    into: list[str] = []
    for line in resources.files(__package__).joinpath("corpus.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            into = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            into.append(line)
    return {language: tuple(lines) for language, lines in found.items()}
