"""Who is whom in photos that lie in one folder: by the embeddings of their faces, kept as a list that people can mend.

Two files lie in the output folder. ``people.csv`` is a list as :func:`data_prep.photos.find.read_list` reads it; what
stands in it stays as it is, so a run that is repeated with more photos adds to it. ``people.npz`` holds what was
measured of each photo, so that nothing is measured twice; it is written every now and then, whole.

Shapes: F pictures, E numbers of an embedding.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.choices import EACH, PEOPLE_FACES, PEOPLE_LIST
from data_prep.machine.faults import not_the_videos
from data_prep.photos.find import PeopleError, PhotoPerson, find_people, is_list, read_list
from data_prep.photos.grouping import group_embeddings
from data_prep.photos.look import NoPerson, faces_of
from jdap.faces.embedding import FaceEmbedder
from jdap.faces.landmarker import Landmarker
from jdap.io.files import write_whole
from jdap.io.progress import track
from jdap.photos.read import PhotoError, read_photo

#: Photos that are measured between two writings of what is known.
WRITTEN_EACH = 500


def list_people(inputs: Sequence[str | Path], folder: Path, within: float, faces: str) -> list[Path]:
    """The inputs with ``folder/people.csv`` in place of folders and pictures; lists stay as they are.

    ``within``, ``faces``: as :func:`group_embeddings` and :func:`data_prep.photos.look.look` have them. A picture
    without a face, or with several that may be meant, is somebody else in the list, and preparation says why.

    Raises :class:`data_prep.photos.find.PeopleError` for a list that cannot be read,
    :class:`jdap.faces.embedding.IdentityError` where the extra is not installed, and OSError.
    """
    folder = Path(os.path.abspath(folder))
    lists = [Path(place) for place in inputs if is_list(Path(place))]
    everybody = find_people([place for place in inputs if Path(place) not in lists], EACH)
    path = folder / PEOPLE_LIST
    known = {file: person for person, files in read_list(path).items() for file in files} if path.is_file() else {}
    pictures = [one for one in everybody if Path(one.path) in known or _can_be_listed(Path(one.path), folder)]
    listed = {one.path for one in pictures}
    others = [*lists, *(Path(one.path) for one in everybody if one.path not in listed)]
    if not pictures:
        return others
    if any(Path(one.path) not in known for one in pictures):
        embedding_of = _Measured(folder / PEOPLE_FACES, faces).embeddings(pictures)
        _write(path, pictures, known, _group(pictures, known, embedding_of, within))
    return [*others, path]


def _can_be_listed(path: Path, folder: Path) -> bool:
    """Whether a list can name this: no folder, no name that is no text or ends in a space; and nothing that cannot be
    read now, for what the list says of a picture stays."""
    name = _told(path, folder)
    return not path.is_dir() and name == name.strip() and name.isprintable() and os.access(path, os.R_OK)


def _group(
    pictures: Sequence[PhotoPerson], known: dict[Path, str], embedding_of: dict[str, np.ndarray], within: float
) -> dict[Path, str]:
    """Picture → person of those that are new and have a face. A group takes the name that most of its known pictures
    have, or else that of its first picture."""
    seen = [one for one in pictures if one.path in embedding_of]
    groups = defaultdict[int, list[PhotoPerson]](list)
    if seen:
        labels = group_embeddings(np.stack([embedding_of[one.path] for one in seen]), within)
        for one, label in zip(seen, labels.tolist(), strict=True):
            groups[label].append(one)
    found, taken = dict[Path, str](), set(known.values())
    for members in groups.values():
        names = Counter(known[Path(one.path)] for one in members if Path(one.path) in known)
        person = names.most_common(1)[0][0] if names else _new_name(members[0].name, taken)
        taken.add(person)
        found |= {Path(one.path): person for one in members if Path(one.path) not in known}
    return found


def _new_name(name: str, taken: Collection[str]) -> str:
    """The name, or one with a number behind it where two folders of one name hold files of one name."""
    return next(one for k in itertools.count(1) if (one := name if k == 1 else f"{name} {k}") not in taken)


def _write(path: Path, pictures: Sequence[PhotoPerson], known: dict[Path, str], found: dict[Path, str]) -> None:
    """The list: what was known, then what is new; who has no face has no name."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "person"])
    for file, person in known.items():
        name = _told(file, path.parent)
        rows.writerow((name, "" if person == name else person))
    new = [Path(one.path) for one in pictures if Path(one.path) not in known]
    rows.writerows((_told(file, path.parent), found.get(file, "")) for file in new)
    write_whole(path, text.getvalue().encode())


def _told(file: Path, folder: Path) -> str:
    """A file as the list in ``folder`` names it: within it by its path from there, elsewhere by its whole path."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else os.path.abspath(file)


class _Measured:
    """What was measured of photos: path → (stamp, embedding (E,) or None without one)."""

    def __init__(self, path: Path, faces: str) -> None:
        self.path, self.faces = path, faces
        self.known: dict[str, tuple[str, np.ndarray | None]] = {}
        if path.is_file():
            self._read()

    def embeddings(self, pictures: Sequence[PhotoPerson]) -> dict[str, np.ndarray]:
        """Path → embedding of the photos that have one; measures those that are new or have changed."""
        stamps = {one.path: self._stamp(one.path) for one in pictures}
        todo = [path for path, stamp in stamps.items() if self.known.get(path, ("", None))[0] != stamp]
        if todo:
            embedder = FaceEmbedder()
            with Landmarker() as landmarker:
                for number, path in enumerate(track(todo, "face", Console(stderr=True)), 1):
                    found = self._measure(path, landmarker, embedder)
                    if found is None and self._stamp(path) != stamps[path]:
                        raise PeopleError(f"{path}: has changed while faces were compared; run the same command again")
                    self.known[path] = (stamps[path], found)
                    if number % WRITTEN_EACH == 0 or number == len(todo):
                        self._keep()
        return {path: found for path in stamps if (found := self.known[path][1]) is not None}

    def _measure(self, path: str, landmarker: Landmarker, embedder: FaceEmbedder) -> np.ndarray | None:
        try:
            photo = read_photo(Path(path))
            face = faces_of(photo, landmarker, self.faces)[0]
        except (PhotoError, NoPerson) as error:  # preparation looks at it again, and its row says why
            if fault := not_the_videos(error, Path(path)):
                raise fault from error
            return None
        return embedder.of_photo(photo.rgb_HW3, face.landmarks_px_N3)

    def _stamp(self, path: str) -> str:
        """Of the file, and of what is asked of its faces."""
        try:
            status = os.stat(path)
        except OSError:
            return f"gone {self.faces}"
        return f"{status.st_size} {status.st_mtime_ns} {self.faces}"

    def _read(self) -> None:
        try:
            with np.load(self.path) as held:
                paths, stamps, rows = held["paths"].tolist(), held["stamps"].tolist(), held["rows"].tolist()
                embeddings = held["embeddings"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise PeopleError(f"{self.path}: cannot be read ({error}); delete it, faces are measured again") from error
        for path, stamp, row in zip(paths, stamps, rows, strict=True):
            self.known[os.fsdecode(path)] = (stamp, embeddings[row] if row >= 0 else None)

    def _keep(self) -> None:
        found = [embedding for _, embedding in self.known.values() if embedding is not None]
        has = np.array([embedding is not None for _, embedding in self.known.values()])
        buffer = io.BytesIO()
        np.savez(
            buffer,
            paths=np.array([os.fsencode(path) for path in self.known]),
            stamps=np.array([stamp for stamp, _ in self.known.values()]),
            rows=np.where(has, np.cumsum(has) - 1, -1),
            embeddings=np.stack(found) if found else np.zeros((0, 0), np.float32),
        )
        write_whole(self.path, buffer.getvalue())
