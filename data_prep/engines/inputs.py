"""The videos that a command's inputs stand for, by what a changed one is known, and whether an input is still there;
no video is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import fsspec

from data_prep.machine.retry import RETRIES, retrying
from data_prep.photos.find import PeopleError, listed_person, read_list
from data_prep.store import is_url
from data_prep.video.video import VIDEO_SUFFIXES, find_videos
from jdap.io.remote import remote_errors, stamp_of

#: Bytes of a video that is not there.
GONE = -1


class InputFile(NamedTuple):
    """An input: path or URL, the name that its id is made of, its bytes, its modification time or ETag, and its id
    (``item``) where it is not made of its name."""

    path: str
    name: str
    bytes: int
    stamp: str = ""
    item: str = ""


def find_inputs(inputs: Sequence[str | Path], retries: int = RETRIES) -> list[InputFile]:
    """The videos that inputs stand for, sorted by name and path.

    Paths and folders as :func:`data_prep.video.video.find_videos` reads them. A URL stands for the file, or for all
    video files below it. Raises OSError where a server does not say what a folder holds; of a single video that it does
    not tell of, the row will say so.
    """
    found: list[InputFile] = []
    for place in inputs:
        if is_url(place):
            found += _ask(str(place), retries)
        else:
            found += [_local(path, name) for path, name in find_videos([Path(os.path.abspath(place))])]
    return sorted(found, key=lambda f: (f.name, f.path))


def is_there(path: str) -> bool:
    """Whether the source of an item of a plan is there: a file, a folder, or a list that names the person. Of a URL
    only the download tells, and of what cannot be asked only who opens it: they count as there."""
    if is_url(path):
        return True
    if listed := listed_person(path):
        source, person = listed
        try:
            return person in read_list(source)
        except PeopleError:
            return False
    try:
        os.stat(path)
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return True


def _local(path: Path, name: str) -> InputFile:
    try:
        status = path.stat()
    except OSError:  # its row will say what is wrong with it
        return InputFile(str(path), name, GONE)
    return InputFile(str(path), name, status.st_size, str(status.st_mtime_ns))


def _ask(url: str, retries: int) -> list[InputFile]:
    try:
        return retrying(lambda: _find_remote(url), retries)
    except OSError:
        if Path(url).suffix.lower() not in VIDEO_SUFFIXES:
            raise
        return [InputFile(url, "/".join(url.split("/")[-2:]), GONE)]


def _find_remote(url: str) -> list[InputFile]:
    with remote_errors(url):
        fs, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        try:
            with remote_errors(url):  # a server that fails is not one that says no
                info = fs.info(root)
        except FileNotFoundError:
            return [InputFile(url, "/".join(root.split("/")[-2:]), GONE)]
        if info["type"] != "directory":
            return [InputFile(url, "/".join(root.split("/")[-2:]), info.get("size") or 0, stamp_of(info))]
        found = []
        for path, inside in fs.find(root, detail=True).items():
            relative = path.removeprefix(root).lstrip("/")
            hidden = any(part.startswith(".") for part in relative.split("/"))
            if Path(path).suffix.lower() in VIDEO_SUFFIXES and not hidden:
                name = f"{root.rpartition('/')[2]}/{relative}"
                found.append(InputFile(fs.unstrip_protocol(path), name, inside.get("size") or 0, stamp_of(inside)))
        return found or [InputFile(url, root.rpartition("/")[2], GONE)]
