"""The video files that paths and folders stand for."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

#: What a folder is searched for.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp"),
)


def find_videos(inputs: list[Path]) -> list[tuple[Path, str]]:
    """The files that inputs stand for, in order, each with a name to make an id of.

    A folder stands for its video files (by suffix, :data:`VIDEO_SUFFIXES`, recursive, sorted), named by their path from
    the folder's parent; every other path, also a missing one, stands for itself, named by its folder and its own name.
    Folders that are linked are searched like others, each once: links may go round. Hidden files are left out. A folder
    without videos, or one that must not be read, stands for itself, so that it gets a row.
    """
    found: list[tuple[Path, str]] = []
    for root in inputs:
        real = Path(os.path.realpath(root))  # unlike resolve() it takes links that go round
        inside = sorted(search(root, VIDEO_SUFFIXES)) if root.is_dir() else []
        found += [(path, f"{real.name}/{path.relative_to(root).as_posix()}") for path in inside if path != root]
        if not inside or root in inside:
            found.append((root, f"{real.parent.name}/{root.name}"))
    return found


def search(root: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with these suffixes in a folder and its subfolders, in no order; hidden ones are left out.

    Linked folders are searched like others, each once. A folder that must not be read stands for itself.
    """
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        found.append(Path(os.fsdecode(error.filename)))

    # Its own files first, linked folders after all others: a folder goes by its own name where it has one here.
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        start = waiting.pop(0)
        for place, folders, files in os.walk(start, onerror=unreadable):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
            # Broken links and pipes are in, too: they get a row that says so.
            names = (name for name in files if not name.startswith("."))
            found += [Path(place, name) for name in names if Path(name).suffix.lower() in suffixes]
    return found
