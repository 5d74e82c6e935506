"""The plan: which videos make up which unit of work, decided once and kept in the output folder.

A unit is a list of videos of which one shard is made, so what a shard holds does not depend on who makes it. The plan
lies in ``plan/000000.json`` …: generations, each written once and never changed. The first holds the units of the
inputs of the first run; each later one what a later run found: new videos (in new units), and units that are made again
because a video has changed. For each number the last generation's unit counts.

* A video is the same while its path, its size in bytes and its stamp (modification time or ETag) are the same; or its
  name and its size, where the old path is gone (a data set that moved: copies have other times).
* What is gone from the source stays in the plan: what was made of it stays, and if nothing was yet, its row is open.
* Inputs of earlier runs that are not named this time stay, too.

Nothing is opened to plan, so a damaged file cannot end a run before it has begun.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.choices import UNIT_BYTES
from data_prep.engines.inputs import GONE, InputFile, is_there
from data_prep.store import Store

PLAN_FOLDER = "plan"
PLAN_VERSION = 2
#: Videos in a unit at most, however small; and units at least, if there are as many videos, so that workers have work.
UNIT_VIDEOS, LEAST_UNITS = 500, 8


class PrepareError(ValueError):
    """A mistake in the command's arguments, told in one line."""


@dataclass(frozen=True)
class PlannedVideo:
    """An input: ``path`` or URL, the ``name`` that its id is made of, ``video_id``, its ``bytes``, its ``stamp``
    (modification time or ETag), and the stamp that it was planned with (``edition``): another if it has moved since."""

    path: str
    name: str
    video_id: str
    bytes: int
    stamp: str = ""
    edition: str = ""


@dataclass(frozen=True)
class Unit:
    """The videos of one shard; ``number`` names the shard."""

    number: int
    videos: tuple[PlannedVideo, ...]

    @property
    def name(self) -> str:
        """The number as it stands in file names."""
        return f"{self.number:06d}"

    def sha256(self, settings: dict[str, Any]) -> str:
        """Of all that decides the shard's bytes: settings, and ids, names, sizes and editions of the videos."""
        videos = [[v.video_id, v.name, v.bytes, v.edition] for v in self.videos]
        return hashlib.sha256(json.dumps([PLAN_VERSION, settings, videos], sort_keys=True).encode()).hexdigest()


@dataclass
class Plan:
    """``units`` by number, what they are made with (``settings``, plain JSON), how many generations there are, and with
    which ``software`` (package → version) the first was begun."""

    settings: dict[str, Any]
    units: dict[int, Unit] = field(default_factory=dict)
    generations: int = 0
    software: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.units[number] for number in sorted(self.units))


def load_plan(store: Store) -> Plan | None:
    """The plan of a folder, or None where there is none. Raises :class:`PrepareError` for one that cannot be read."""
    plan: Plan | None = None
    for later in _generations(store):
        plan = plan or Plan(later.settings, software=later.software)
        plan.units |= later.units
        plan.generations = later.generations
    return plan


def unit_as_planned(store: Store, number: int, digest: str) -> Unit | None:
    """The unit of this number as it was planned when its hash was ``digest``; None where it never was."""
    for plan in _generations(store):
        if number in plan.units and plan.units[number].sha256(plan.settings) == digest:
            return plan.units[number]
    return None


def make_plan(
    store: Store,
    found: Sequence[InputFile],
    settings: dict[str, Any],
    unit_bytes: int = UNIT_BYTES,
    software: dict[str, str] | None = None,
) -> Plan:
    """The folder's plan, begun or extended so that it covers the videos ``found``.

    Of several processes that do this at once each ends up with the same plan. Raises :class:`PrepareError` where the
    plan was made with other settings.
    """
    while True:
        plan = load_plan(store) or Plan(settings, software=software or {})
        _same_settings(store, plan.settings, settings)
        units = _missing(plan, found, unit_bytes)
        if not units and plan.generations:
            return plan
        if store.create(f"{PLAN_FOLDER}/{plan.generations:06d}.json", _generation(plan, units)):
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


def video_id(name: str) -> str:
    """An id that is safe in keys and file names: the file's stem and a hash of ``folder/name.ext``."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).stem).strip("-")[:48] or "video"
    return f"{stem}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _generations(store: Store) -> Iterator[Plan]:
    """What is in each file of a plan, in order."""
    names = [name for name in store.names(PLAN_FOLDER) if name.endswith(".json")]
    for name, data in zip(names, store.read_all(names), strict=True):
        try:
            found = json.loads(data)
            if found["version"] != PLAN_VERSION:
                raise ValueError(f"version {found['version']}, this is {PLAN_VERSION}")
            plan = Plan(found["settings"], generations=int(Path(name).stem) + 1, software=found["software"])
            for unit in found["units"]:
                videos = tuple(_checked(PlannedVideo(*video)) for video in unit["videos"])
                plan.units[int(unit["number"])] = Unit(int(unit["number"]), videos)
        except (ValueError, KeyError, TypeError) as error:
            raise PrepareError(
                f"{store}/{name}: the plan cannot be read ({error}): start anew with --overwrite"
            ) from error
        yield plan


def _checked(video: PlannedVideo) -> PlannedVideo:
    """A video as a plan has it; its id becomes part of paths. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9-]+", video.video_id):
        raise ValueError(f"{video.video_id!r} is no id of a video")
    return video


def _missing(plan: Plan, found: Sequence[InputFile], unit_bytes: int) -> list[Unit]:
    """Units to add to a plan, new or in place of those of the same number."""
    planned = {v.path: (unit.number, k) for unit in plan.units.values() for k, v in enumerate(unit.videos)}
    here = {one.path for one in found}
    moved: dict[tuple[str, int], list[str]] = {}
    for path, (number, k) in planned.items():
        video = plan.units[number].videos[k]
        if path not in here and not is_there(path):
            moved.setdefault((video.name, video.bytes), []).append(path)
    changed: dict[int, dict[int, PlannedVideo]] = {}
    new: list[InputFile] = []
    seen: Counter[str] = Counter()
    for one in found:
        path, name, size, stamp, _ = one
        seen[path] += 1
        if seen[path] > 1:  # named twice
            continue
        place = planned.get(path)
        if place is None and moved.get((name, size)):
            place = planned[moved[name, size].pop()]
        if place is None:
            new.append(one)
            continue
        number, k = place
        old = plan.units[number].videos[k]
        if (old.path, old.bytes, old.stamp) != (path, size, stamp) and size != GONE:
            edition = old.edition if old.path != path and old.bytes == size else stamp
            changed.setdefault(number, {})[k] = PlannedVideo(path, name, old.video_id, size, stamp, edition)
    units = [
        Unit(number, tuple(videos.get(k, v) for k, v in enumerate(plan.units[number].videos)))
        for number, videos in changed.items()
    ]
    return units + _group(new, plan, unit_bytes)


def _group(new: list[InputFile], plan: Plan, unit_bytes: int) -> list[Unit]:
    """New videos in units of about ``unit_bytes``, numbered on from the plan's."""
    taken = {v.video_id for unit in plan.units.values() for v in unit.videos}
    number = max(plan.units, default=-1) + 1
    most = min(unit_bytes, sum(max(one.bytes, 0) for one in new) // LEAST_UNITS)
    groups: list[list[PlannedVideo]] = []
    filled = 0
    for path, name, size, stamp, item in new:
        base = chosen = item or video_id(name)
        count = 1
        while chosen in taken:  # folders of one name with files of one name
            count += 1
            chosen = f"{base}-{count}"
        taken.add(chosen)
        if not groups or filled + max(size, 0) > most or len(groups[-1]) == UNIT_VIDEOS:
            groups.append([])
            filled = 0
        groups[-1].append(PlannedVideo(path, name, chosen, size, stamp, stamp))
        filled += max(size, 0)
    return [Unit(number + k, tuple(videos)) for k, videos in enumerate(groups)]


def _generation(plan: Plan, units: list[Unit]) -> bytes:
    lines = [
        json.dumps({"number": u.number, "videos": [list(dataclasses.astuple(v)) for v in u.videos]}) for u in units
    ]
    told = f'"settings": {json.dumps(plan.settings, sort_keys=True)}, "software": {json.dumps(plan.software)}'
    head = f'{{"version": {PLAN_VERSION}, {told},\n"units": [\n'
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
