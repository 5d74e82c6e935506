"""What an earlier run has made of a unit's items, taken out of its record and shards before these are written anew.

A unit is made again as a whole: because one of its items has changed, or ``--retry failed`` asks for it. What fails
then by no fault of its own (its source is gone, the machine fails) must not cost what there was of it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.clips.quality import HELD, KEPT
from data_prep.engines.plan import PlannedVideo, Unit, unit_as_planned
from data_prep.engines.records import ClipRow, is_of, read_record
from data_prep.machine.faults import is_open
from data_prep.store import Store
from jdap.shards.reader import read_tar
from jdap.shards.sample import StoredSample
from jdap.shards.schema import Record
from jdap.shards.writer import ShardWriter


def take_earlier(store: Store, unit: Unit, found: Sequence[list[ClipRow]], folder: Path) -> list[ClipRow]:
    """The rows of a unit's record of those items of which they say more than what was ``found`` now, item by item,
    which is open; as far as the item is still the same edition. Their samples are copied to ``folder/CLIP_ID/*.tar``.

    None where there is no record, or one of its shards is gone or damaged.
    """
    done = read_record(store, unit)
    before = unit_as_planned(store, unit.number, done.sha256) if done else None
    if done is None or before is None:
        return []
    same, taken = {_edition(video) for video in before.videos}, list[ClipRow]()
    for video, now in zip(unit.videos, found, strict=True):
        rows = [row for row in done.rows if is_of(row, video.video_id)]
        if any(map(is_open, now)) and _edition(video) in same and _known_frames(rows) > _known_frames(now):
            taken += rows
    return taken if _copied(store, [shard["shard"] for shard in done.shards], taken, folder) else []


def _edition(video: PlannedVideo) -> tuple[str, int, str]:
    return video.video_id, video.bytes, video.edition


def _known_frames(rows: Iterable[ClipRow]) -> int:
    """Of how many frames (or pictures) rows have the last word."""
    return sum(row["frames"] for row in rows if not is_open(row))


def _copied(store: Store, shards: list[str], rows: list[ClipRow], folder: Path) -> bool:
    """Copy the samples of these rows out of the shards; whether all are there."""
    lacking = Counter({row["clip_id"]: row["frames"] for row in rows if row["status"] in (KEPT, HELD)})
    try:
        for shard in shards if lacking else ():
            with store.local(shard) as path:
                for clip_id, samples in itertools.groupby(read_tar(path), lambda sample: sample[0].rpartition("-")[0]):
                    if clip_id not in lacking:
                        continue
                    with ShardWriter(folder / clip_id, "clip", resume=True) as writer:
                        for key, members in samples:
                            record = Record.from_json(json.loads(members["json"]))
                            writer.write(StoredSample(key, record, members))
                            lacking[clip_id] -= record.frames
    except (FileNotFoundError, ValueError, KeyError):  # a shard that is gone or damaged
        return False
    return not any(lacking.values())
