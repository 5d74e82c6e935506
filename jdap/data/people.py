"""Training on some of the people that shards hold: how depth improves with their number is asked so."""

from __future__ import annotations

import hashlib

from jdap.data.curriculum import Source
from jdap.shards.summary import records
from jdap.shards.urls import ShardError


def chosen_people(urls: list[str], people: int | list[str]) -> list[str]:
    """The ``person_id`` of those in the shards ``urls`` who are trained on, sorted; every record is read once.

    A number chooses by SHA-256 of the names: the same people whatever the order of the shards, and fewer are always
    among more. Names choose those people.

    Raises :class:`jdap.shards.urls.ShardError` where the shards hold fewer people, do not hold one that is named, hold
    latents (whose mean depth, once written, is of all people), or cannot be read.
    """
    there: set[str] = set()
    for url in urls:
        for record in records(url):
            if record.latents:
                raise ShardError(
                    f"{url}: holds latents, and people are chosen of pictures; name shards of pictures, or cache the "
                    "latents of these people alone"
                )
            there.add(record.person_id)
    if isinstance(people, int):
        if people > len(there):
            raise ShardError(f"people {people}: {urls[0]} and what is named with it hold {len(there)}; ask for fewer")
        return sorted(sorted(there, key=_rank)[:people])
    unknown = sorted(set(people) - there)
    if unknown:
        raise ShardError(f"people: {urls[0]} and what is named with it hold nobody named {unknown[0]!r}")
    return sorted(set(people))


def theirs(source: Source) -> frozenset[str] | None:
    """The people whose samples alone are read of a source, None for everyone's; a number was chosen from before."""
    if isinstance(source.people, int):
        raise ValueError(f"people {source.people} must have become names by now, of chosen_people")
    return None if source.people is None else frozenset(source.people)


def _rank(person: str) -> str:
    return hashlib.sha256(person.encode()).hexdigest()
