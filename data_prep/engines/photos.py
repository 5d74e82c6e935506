"""Photos of people as items of a plan: a person is an item, and what its pictures are decides whether it changed.

A unit holds as many people as fill a shard of about ``unit_bytes``; workers of any engine make them, and a run that was
interrupted goes on (:mod:`data_prep.engines.run`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.choices import ALL, EMBEDDING, FOLDER, PEOPLE_LIST, SAME_PERSON, UNIT_BYTES
from data_prep.engines.hire import Engine
from data_prep.engines.inputs import GONE, InputFile
from data_prep.engines.plan import make_plan
from data_prep.engines.prepare import HERE, identity
from data_prep.engines.records import ClipRow
from data_prep.engines.run import RunOutcome, finish, look, open_store
from data_prep.engines.unit import WorkOrder
from data_prep.machine.retry import RETRIES
from data_prep.machine.software import changes, software
from data_prep.machine.watchdog import LIMIT_S
from data_prep.photos.embedded import list_people
from data_prep.photos.find import PeopleError, PhotoPerson, find_people, pictures_of, same_files, stamp_of_pictures
from data_prep.photos.prepare import make_people
from data_prep.photos.settings import PhotoSettings
from data_prep.store import is_url

#: Bytes of a pixel in a shard, about: JPEG, depth, skin and confidence.
PHOTO_PIXEL_BYTES = 0.7


def prepare_photos(
    inputs: Sequence[str | Path],
    out: str | Path,
    settings: PhotoSettings,
    engine: Engine = HERE,
    *,
    by: str = FOLDER,
    split: str = ALL,
    within: float = SAME_PERSON,
    unit_bytes: int = UNIT_BYTES,
    retries: int = RETRIES,
    overwrite: bool = False,
    retry: bool = False,
    limit_s: float = LIMIT_S,
    scratch_root: Path | None = None,
    tell: Callable[[ClipRow], Any] = lambda row: None,
    note: Callable[[str], Any] = lambda line: None,
) -> RunOutcome:
    """Prepare the people of ``inputs`` into a folder of shards, as far as this is not done.

    ``by`` says who is whom (:func:`data_prep.photos.find.find_people`; or faces ``within`` a distance of embeddings,
    :func:`data_prep.photos.embedded.list_people`), ``split`` which of them are meant. The rest is as
    :func:`data_prep.engines.prepare.prepare` has it, and so are the errors; besides
    :class:`data_prep.photos.find.PeopleError`, and :class:`jdap.faces.embedding.IdentityError` without the extra.
    """
    if by == EMBEDDING and split != ALL:
        raise PeopleError(
            f"--people {EMBEDDING} --split {split}: compared in each folder anew, somebody could come into two splits; "
            f"compare all faces once (without --split), look at {PEOPLE_LIST}, and give it as input for each split"
        )
    if remote := next((str(place) for place in inputs if is_url(place)), None):
        raise PeopleError(f"{remote}: photos are read from local paths: mount it, or copy it here")
    if by == EMBEDDING:
        inputs, by = _listed(inputs, out, within, settings.faces, engine, retries), FOLDER
    everybody = [(person, _pictures(person)) for person in find_people(inputs, by)]
    twice = same_files((person, files or []) for person, files in everybody)
    settings = dataclasses.replace(settings, twice=twice)
    mine = [(person, files) for person, files in everybody if split in (ALL, person.split)]
    if not mine:
        raise PeopleError(f"none of {len(everybody)} people is in the split {split}")
    told = {name: value for name, value in identity(settings).items() if name != "twice"} | {"split": split}
    with open_store(out, retries, scratch_root) as (store, folder):
        look(store, overwrite, engine)
        now = software()
        plan = make_plan(store, _items(mine, settings.size, twice), told, unit_bytes, now)
        if changed := changes(plan.software, now):
            note(f"{out} was begun with other versions: {'; '.join(changed)}. What is made now may differ a little")
        limit_s = 0.0 if engine.alone else limit_s
        work = WorkOrder(make_people, settings, plan.settings, str(out), folder, retries, store.owner, limit_s, now)
        return finish(store, plan, work, engine, retry, tell, what="person")


def _listed(
    inputs: Sequence[str | Path], out: str | Path, within: float, faces: str, engine: Engine, retries: int
) -> list[Path]:
    """The inputs with a list of who is whom in place of folders, which is made in ``out``."""
    if not within > 0:
        raise PeopleError(f"--same-person must be above 0, got {within:g}")
    with open_store(out, retries, None) as (store, _):
        if store.path is None:
            raise PeopleError(
                f"{out}: with --people {EMBEDDING} --out must be a local folder, where {PEOPLE_LIST} lies"
            )
        look(store, False, engine)
        if engine.world > 1:
            remedy = f"run --people {EMBEDDING} in one, and give all ranks its {PEOPLE_LIST} as input"
            raise PeopleError(f"faces are compared by one process, this is one of {engine.world} ranks: {remedy}")
        return list_people(inputs, store.path, within, faces)


def _pictures(person: PhotoPerson) -> list[Path] | None:
    """The pictures; None where they cannot be found, which the person's row will say."""
    try:
        return pictures_of(person.path)
    except (OSError, PeopleError):
        return None


def _items(
    people: Sequence[tuple[PhotoPerson, list[Path] | None]], size: int, twice: Mapping[str, str]
) -> list[InputFile]:
    """The people as items: their bytes are those of their samples, about; their stamp is that of all their pictures.

    Whose pictures are all gone is gone: a disk that is not there must not cost what was made of it.
    """
    items = []
    for person, files in people:
        if not files or not any(map(os.path.exists, files)):
            items.append(InputFile(person.path, person.name, GONE))
        else:
            size_bytes = round(len(files) * size**2 * PHOTO_PIXEL_BYTES)
            items.append(InputFile(person.path, person.name, size_bytes, stamp_of_pictures(files, twice)))
    return items
