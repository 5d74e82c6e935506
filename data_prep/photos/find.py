"""Whose pictures there are: people by the folder that a picture lies in, by a list, or each picture somebody else's.

A person is known by its ``path``, from which a worker finds the pictures again: a folder, a picture, or
``LIST.csv#PERSON``, in which the name's own ``/``, ``#`` and ``%`` are written as in URLs, so that it is one name of a
file. Nothing is opened to find them but lists, and files of one size, which may be the same.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from data_prep.choices import EACH, FOLDER, TEST, TRAIN, VAL
from data_prep.video.find import search
from jdap.photos.folder import PHOTOS, UNREAD, is_made_here

LIST_SUFFIX, PERSON_MARK = ".csv", "#"
_MARKED = str.maketrans({"%": "%25", "/": "%2F", PERSON_MARK: "%23"})
PHOTO_SUFFIXES = PHOTOS | UNREAD
#: Which share of people is kept for validation, and which for tests; the rest is for training.
VAL_SHARE = TEST_SHARE = 0.1


class PeopleError(ValueError):
    """Inputs in which nobody can be found; the message names them and says what to do."""


@dataclass(frozen=True)
class PhotoPerson:
    """``path``: where the pictures are found again; ``name``: the input's name and the person's within it."""

    path: str
    name: str

    @property
    def split(self) -> str:
        """The split that this person belongs to, by a hash of the name within the input: the same on every run."""
        own = self.name.partition("/")[2] or self.name
        share = int.from_bytes(hashlib.sha256(own.encode(errors="surrogateescape")).digest()[:6]) / 2**48
        if share < TEST_SHARE:
            return TEST
        return VAL if share < TEST_SHARE + VAL_SHARE else TRAIN


def find_people(inputs: Sequence[str | Path], by: str = FOLDER) -> list[PhotoPerson]:
    """The people whom inputs stand for: folders, which are searched, pictures, and lists (CSV); sorted by name.

    Raises :class:`PeopleError` for a list that cannot be read. A path that is not there stands for itself.
    """
    found: dict[str, PhotoPerson] = {}
    for place in inputs:
        root = Path(os.path.abspath(place))
        for person in _of_list(root) if is_list(root) else _of_folder(root, by):
            found.setdefault(person.path, person)
    return sorted(found.values(), key=lambda person: (person.name, person.path))


def pictures_of(path: str) -> list[Path]:
    """The pictures of a person by its path, in order: what lies there now.

    Raises OSError where a folder must not be read, :class:`PeopleError` for a list that is gone or has nobody of that
    name.
    """
    if listed := listed_person(path):
        source, name = listed
        people = read_list(source)
        if name not in people:
            raise PeopleError(f"{source}: has no pictures of {name}")
        return list(people[name])
    place = Path(path)
    if not place.is_dir():
        return [place]
    return sorted(inside for inside in place.iterdir() if _is_picture(inside))


def is_list(place: Path) -> bool:
    """Whether an input is a list of people, which may be missing."""
    return place.suffix.lower() == LIST_SUFFIX and not os.path.isdir(place)


def listed_person(path: str) -> tuple[Path, str] | None:
    """The list that a person's path names, and who of it; None for a folder or a picture, which may be called alike."""
    place, mark, name = path.rpartition(PERSON_MARK)
    if not mark or "/" in name or not is_list(Path(place)) or os.path.lexists(path):
        return None
    return Path(place), unquote(name)


def read_list(path: Path) -> dict[str, tuple[Path, ...]]:
    """Person → pictures of a CSV with the columns ``file`` and ``person``; paths are from the list's folder.

    Who has no name is somebody else in each picture. Raises :class:`PeopleError`.
    """
    try:
        return _read_list(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise PeopleError(f"{path}: no such list") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PeopleError(f"{path}: cannot be read as CSV ({error})") from error


@functools.lru_cache(maxsize=4)
def _read_list(path: Path, changed: int) -> dict[str, tuple[Path, ...]]:
    people: dict[str, list[Path]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"file", "person"} <= set(rows.fieldnames or ()):
            raise PeopleError(f"{path}: its first line must name the columns file and person")
        for number, row in enumerate(rows, 2):
            name = (row["file"] or "").strip()
            if not name or "\0" in name:
                raise PeopleError(f"{path}: line {number} names no file")
            people[(row["person"] or "").strip() or name].append(path.parent / name)
    return {person: tuple(dict.fromkeys(files)) for person, files in people.items()}


def _of_list(path: Path) -> list[PhotoPerson]:
    people = read_list(path)
    if not people:
        raise PeopleError(f"{path}: lists no picture")
    return [PhotoPerson(f"{path}{PERSON_MARK}{name.translate(_MARKED)}", f"{path.stem}/{name}") for name in people]


def _of_folder(root: Path, by: str) -> list[PhotoPerson]:
    if not root.is_dir():
        return [PhotoPerson(str(root), f"{root.parent.name}/{root.name}")]
    files = [path for path in search(root, PHOTO_SUFFIXES) if path.is_dir() or not is_made_here(path)]
    if not files:
        return [PhotoPerson(str(root), root.name)]
    # A folder that must not be read is in the list itself.
    places = files if by == EACH else {path if path.is_dir() else path.parent for path in files}
    return [PhotoPerson(str(place), _name(root, place)) for place in places]


def _name(root: Path, place: Path) -> str:
    return root.name if place == root else f"{root.name}/{place.relative_to(root).as_posix()}"


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in PHOTO_SUFFIXES and not path.is_dir() and not is_made_here(path)


def same_files(people: Iterable[tuple[PhotoPerson, Sequence[Path]]]) -> dict[str, str]:
    """Picture → the earlier person's picture that is the same file under another name, byte by byte.

    Who is right nobody knows; but one face must not be two people, who may come into two splits. Pipes and devices are
    never opened, and empty files are no picture of anybody.
    """
    by_size: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for number, (_, files) in enumerate(people):
        for path in files:
            try:
                status = path.stat()
            except OSError:  # its row says so
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size:
                by_size[status.st_size].append((number, path))
    found: dict[str, str] = {}
    for places in by_size.values():
        if len({number for number, _ in places}) < 2:
            continue
        first: dict[bytes, tuple[int, Path]] = {}
        for number, path in places:
            try:
                with path.open("rb") as file:  # in blocks: it may be larger than memory
                    digest = hashlib.file_digest(file, "sha256").digest()
            except OSError:
                continue
            owner, earlier = first.setdefault(digest, (number, path))
            if owner != number:
                found[str(path)] = str(earlier)
    return found


def stamp_of_pictures(files: Iterable[Path], twice: Mapping[str, str]) -> str:
    """What changes when one of a person's pictures does, comes, goes, or is another's, too (:func:`same_files`)."""
    stamp = hashlib.sha256()
    for path in files:
        try:
            status = os.stat(path)
            known = f"{path.name} {status.st_size} {status.st_mtime_ns} {twice.get(str(path), '')}\n"
        except OSError:
            known = f"{path.name} gone\n"
        stamp.update(known.encode(errors="surrogateescape"))
    return stamp.hexdigest()[:16]
