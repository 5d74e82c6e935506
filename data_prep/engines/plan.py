"""The plan: which videos make up which unit of work, decided once and kept in the output folder.

A unit is a list of videos of which one shard is made, so what a shard holds does not depend on who makes it. The plan
lies in ``plan/000000.json`` …: generations, each written once and never changed. The first holds the units of the
inputs of the first run; each later one what a later run found: new videos (in new units), and units that are made again
because a video has another size now. For each number the last generation's unit counts.

* A video is the same while its path and its size in bytes are the same; or its name and its size, where the old path
  is gone (a data set that moved).
* What is gone from the source stays in the plan: what was made of it stays, and if nothing was yet, that is its row.
* Inputs of earlier runs that are not named this time stay, too.

Nothing is opened to plan, so a damaged file cannot end a run before it has begun.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from data_prep.store import Store, is_url
from data_prep.video.video import SUFFIXES, find_videos

FOLDER = "plan"
VERSION = 1
#: Bytes of video in a unit, unless told otherwise: 1 to 10 minutes, whose shard at 512² is 0.1 to 1 GB.
UNIT_BYTES = 64 << 20
#: Videos in a unit at most, however small; and units at least, if there are as many videos, so that workers have work.
UNIT_VIDEOS, LEAST_UNITS = 500, 8
#: Bytes of a video that is not there.
GONE = -1


class PrepareError(ValueError):
    """A mistake in the command's arguments, told in one line."""


@dataclass(frozen=True)
class Video:
    """An input: ``path`` or URL, the ``name`` that its id is made of, ``video_id``, its size in ``bytes``."""

    path: str
    name: str
    video_id: str
    bytes: int


@dataclass(frozen=True)
class Unit:
    """The videos of one shard; ``number`` names the shard."""

    number: int
    videos: tuple[Video, ...]

    @property
    def name(self) -> str:
        """The number as it stands in file names."""
        return f"{self.number:06d}"

    def sha256(self, settings: dict[str, Any]) -> str:
        """Of everything that decides the shard's bytes: settings, and ids, names and sizes of the videos."""
        videos = [[v.video_id, v.name, v.bytes] for v in self.videos]
        return hashlib.sha256(json.dumps([VERSION, settings, videos], sort_keys=True).encode()).hexdigest()


@dataclass
class Plan:
    """``units`` by number, what they are made with (``settings``, plain JSON), and how many generations there are."""

    settings: dict[str, Any]
    units: dict[int, Unit] = field(default_factory=dict)
    generations: int = 0

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.units[number] for number in sorted(self.units))


def load_plan(store: Store) -> Plan | None:
    """The plan of a folder, or None where there is none. Raises :class:`PrepareError` for one that cannot be read."""
    names = [name for name in store.names(FOLDER) if name.endswith(".json")]
    plan: Plan | None = None
    for name, data in zip(names, store.read_all(names), strict=True):
        try:
            generation = json.loads(data)
            if generation["version"] != VERSION:
                raise ValueError(f"version {generation['version']}, this is {VERSION}")
            plan = plan or Plan(generation["settings"])
            for unit in generation["units"]:
                videos = tuple(Video(*video) for video in unit["videos"])
                plan.units[unit["number"]] = Unit(unit["number"], videos)
        except (ValueError, KeyError, TypeError) as error:
            raise PrepareError(
                f"{store}/{name}: the plan cannot be read ({error}): start anew with --overwrite"
            ) from error
        plan.generations = int(Path(name).stem) + 1
    return plan


def make_plan(
    store: Store, found: Sequence[tuple[str, str, int]], settings: dict[str, Any], unit_bytes: int = UNIT_BYTES
) -> Plan:
    """The folder's plan, begun or extended so that it covers the videos ``found`` (path, name, bytes).

    Of several processes that do this at once each ends up with the same plan. Raises :class:`PrepareError` where the
    plan was made with other settings.
    """
    while True:
        plan = load_plan(store) or Plan(settings)
        _same_settings(store, plan.settings, settings)
        units = _missing(plan, found, unit_bytes)
        if not units and plan.generations:
            return plan
        if store.create(f"{FOLDER}/{plan.generations:06d}.json", _generation(settings, units)):
            plan.units |= {unit.number: unit for unit in units}
            plan.generations += 1
            return plan


def plain(value: Any) -> Any:
    """Settings as plain JSON: no tuples, and infinity as a word."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def find_inputs(inputs: Sequence[str | Path]) -> list[tuple[str, str, int]]:
    """(path, name, bytes) of the videos that inputs stand for, sorted by name and path.

    Paths and folders as :func:`data_prep.video.video.find_videos` reads them. A URL stands for the file, or for all
    video files below it.
    """
    found: list[tuple[str, str, int]] = []
    for place in inputs:
        if is_url(place):
            found += _find_remote(str(place))
        else:
            found += [(str(path), name, _size(path)) for path, name in find_videos([Path(os.path.abspath(place))])]
    return sorted(found, key=lambda f: (f[1], f[0]))


def video_id(name: str) -> str:
    """An id that is safe in keys and file names: the file's stem and a hash of ``folder/name.ext``."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).stem).strip("-")[:48] or "video"
    return f"{stem}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _missing(plan: Plan, found: Sequence[tuple[str, str, int]], unit_bytes: int) -> list[Unit]:
    """Units to add to a plan, new or in place of those of the same number."""
    planned = {v.path: (unit.number, k) for unit in plan.units.values() for k, v in enumerate(unit.videos)}
    here = {path for path, _, _ in found}
    moved: dict[tuple[str, int], list[str]] = {}
    for path, (number, k) in planned.items():
        video = plan.units[number].videos[k]
        if path not in here and not is_url(path) and not Path(path).exists():
            moved.setdefault((video.name, video.bytes), []).append(path)
    changed: dict[int, dict[int, Video]] = {}
    new: list[tuple[str, str, int]] = []
    seen: Counter[str] = Counter()
    for path, name, size in found:
        seen[path] += 1
        if seen[path] > 1:  # named twice
            continue
        place = planned.get(path)
        if place is None and moved.get((name, size)):
            place = planned[moved[name, size].pop()]
        if place is None:
            new.append((path, name, size))
            continue
        number, k = place
        old = plan.units[number].videos[k]
        if (old.path != path or old.bytes != size) and size != GONE:
            changed.setdefault(number, {})[k] = Video(path, name, old.video_id, size)
    units = [
        Unit(number, tuple(videos.get(k, v) for k, v in enumerate(plan.units[number].videos)))
        for number, videos in changed.items()
    ]
    return units + _group(new, plan, unit_bytes)


def _group(new: list[tuple[str, str, int]], plan: Plan, unit_bytes: int) -> list[Unit]:
    """New videos in units of about ``unit_bytes``, numbered on from the plan's."""
    taken = {v.video_id for unit in plan.units.values() for v in unit.videos}
    number = max(plan.units, default=-1) + 1
    most = min(unit_bytes, sum(max(size, 0) for _, _, size in new) // LEAST_UNITS)
    groups: list[list[Video]] = []
    filled = 0
    for path, name, size in new:
        base = chosen = video_id(name)
        count = 1
        while chosen in taken:  # folders of one name with files of one name
            count += 1
            chosen = f"{base}-{count}"
        taken.add(chosen)
        if not groups or filled + max(size, 0) > most or len(groups[-1]) == UNIT_VIDEOS:
            groups.append([])
            filled = 0
        groups[-1].append(Video(path, name, chosen, size))
        filled += max(size, 0)
    return [Unit(number + k, tuple(videos)) for k, videos in enumerate(groups)]


def _generation(settings: dict[str, Any], units: list[Unit]) -> bytes:
    lines = [
        json.dumps({"number": u.number, "videos": [[v.path, v.name, v.video_id, v.bytes] for v in u.videos]})
        for u in units
    ]
    head = f'{{"version": {VERSION}, "settings": {json.dumps(settings, sort_keys=True)},\n"units": [\n'
    return (head + ",\n".join(lines) + "\n]}\n").encode()


def _same_settings(store: Store, planned: dict[str, Any], asked: dict[str, Any], within: str = "") -> None:
    for name in sorted({*planned, *asked}):
        was, now = planned.get(name), asked.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            _same_settings(store, was, now, f"{name}.")
        elif was != now:
            remedy = "change them with select" if within == "thresholds." else "go on with the same settings"
            raise PrepareError(
                f"{store} was begun with {within}{name} {was}, not {now}: {remedy}, name another folder, or start anew "
                "with --overwrite"
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its row will say what is wrong with it
        return GONE


def _find_remote(url: str) -> list[tuple[str, str, int]]:
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(root):
        return [(url, "/".join(root.rstrip("/").split("/")[-2:]), GONE)]
    if fs.isfile(root):
        return [(url, "/".join(root.split("/")[-2:]), fs.size(root))]
    root = root.rstrip("/")
    found = []
    for path, info in fs.find(root, detail=True).items():
        relative = path.removeprefix(root).lstrip("/")
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if Path(path).suffix.lower() in SUFFIXES and not hidden:
            found.append((fs.unstrip_protocol(path), f"{root.rpartition('/')[2]}/{relative}", info["size"]))
    return found or [(url, root.rpartition("/")[2], GONE)]
