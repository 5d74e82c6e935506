"""What all tabs are given, and how they are told of a new photo."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdap.app.keeping import Passing
from jdap.app.models import Models

#: Lanes of the one queue: the models work for one visitor at a time, and a lamp that is dragged does not wait for them.
MODELS, LAMP = "models", "lamp"
PAGE_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Desk:
    """``models`` and where files go (``passing``); the page's own components that tabs read: the states ``seen``
    (:class:`jdap.app.photo.Seen`) and ``known`` (:class:`jdap.app.depth.Known`) of one visitor, and the ``seed``."""

    models: Models
    passing: Passing
    seen: Any
    known: Any
    seed: Any


@dataclass(frozen=True)
class TabWork:
    """What a tab does when a photo is new: ``work`` on ``inputs`` gives ``outputs``; of None all are emptied.

    ``opened`` is what it does each time it is opened.
    """

    work: Callable[..., Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    opened: TabWork | None = None


def text_of(name: str) -> str:
    """A file of the page that lies here."""
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def note(message: str, bad: bool = False) -> str:
    """A line for the visitor, as HTML."""
    return f'<p class="note{" bad" * bad}" role="status">{html.escape(message)}</p>' if message else ""
