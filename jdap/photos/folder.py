"""Which files of a folder are photos."""

from __future__ import annotations

import json
from pathlib import Path

from jdap.photos.made import metadata_of

#: What photos are called. What else Pillow knows (PDF, icons, films, measurements) is read where it is named itself.
PHOTOS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2"),
    *(".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
}
#: Photos that Pillow cannot read: they get a row that says so.
UNREAD = {".heic", ".heif", ".hif"}


def photos_in(folder: Path) -> list[Path]:
    """The photos straight inside a folder, sorted. Raises OSError where it must not be read.

    Hidden files are left out (``._photo.jpg`` holds what macOS knows of the photo beside it), and so is what our own
    commands have made: their results may be written into the folder of the photos.
    """
    known = PHOTOS | UNREAD
    inside = sorted(path for path in folder.iterdir() if path.suffix.lower() in known and path.is_file())
    return [path for path in inside if not path.name.startswith(".") and not is_made_here(path)]


def is_made_here(path: Path) -> bool:
    """Whether a command of ours made this picture: by its name, and by the metadata beside it."""
    beside = metadata_of(path)
    if beside is None or not beside.is_file():  # a pipe would be waited for
        return False
    try:
        return "jdap" in json.loads(beside.read_text(encoding="utf-8"))["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
