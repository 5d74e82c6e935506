"""What a folder of shards holds, read from the samples' records: nothing is decoded."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jdap.shards.reader import read_tar
from jdap.shards.schema import Record, SchemaError
from jdap.shards.urls import resolve_shards

#: The member that is a sample's record.
RECORD = "json"


def shards_summary(spec: str) -> dict[str, Any]:
    """Samples, frames, people, sides, frame rates, depth sources and scores of the shards that ``spec`` names.

    Raises :class:`jdap.shards.schema.SchemaError` naming a shard that cannot be read.
    """
    urls = resolve_shards(spec)
    people: set[str] = set()
    clips: set[str] = set()
    counts = {name: Counter[Any]() for name in ("sizes_px", "fps", "depth_sources", "languages", "schema_versions")}
    scores: dict[str, list[float]] = {}
    latents: list[dict[str, object]] = []
    samples, frames, seconds = 0, 0, 0.0
    for record in (record for url in urls for record in records(url)):
        samples, frames = samples + 1, frames + record.frames
        seconds += record.frames / record.fps if record.fps else 0.0
        people.add(record.person_id)
        clips.add(record.clip_id)
        told = (record.size_px, record.fps, record.depth_source, record.speech.get("language"), record.schema_version)
        for counter, value in zip(counts.values(), told, strict=True):
            counter.update([] if value is None else [value])
        for name, values in record.scores.items():
            scores.setdefault(name, []).extend(values)
        if record.latents and record.latents not in latents:
            latents.append(record.latents)
    return {
        "kind": "latents" if latents else "pictures",
        "shards": len(urls),
        "bytes": sum(Path(url).stat().st_size for url in urls if Path(url).is_file()),
        "samples": samples,
        "frames": frames,
        "people": len(people),
        "clips": len(clips),
        "video_seconds": round(seconds, 2),
        **{name: {str(value): n for value, n in sorted(counter.items())} for name, counter in counts.items()},
        "scores": {name: _spread(values) for name, values in sorted(scores.items()) if values},
        "latents": latents,
    }


def records(url: str) -> Iterator[Record]:
    """The records of a shard; of a local one nothing else is read. Raises SchemaError that names the shard."""
    try:
        for data in _local(Path(url)) if Path(url).is_file() else _streamed(url):
            yield Record.from_json(json.loads(data))
    except (OSError, ValueError, tarfile.TarError) as error:
        raise SchemaError(f"{url}: {error}") from error


def _local(path: Path) -> Iterator[bytes]:
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            name = info.name.rpartition("/")[2]
            if info.isfile() and name.partition(".")[2] == RECORD:
                content = tar.extractfile(info)
                assert content is not None
                yield content.read()


def _streamed(url: str) -> Iterator[bytes]:
    for _, members in read_tar(url):
        if RECORD in members:
            yield members[RECORD]


def _spread(values: list[float]) -> dict[str, float]:
    known = sorted(value for value in values if value == value)
    if not known:
        return {}
    return {"least": known[0], "median": known[len(known) // 2], "most": known[-1]}
