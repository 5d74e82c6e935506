"""Where shards are found: folders, brace patterns, globs and fsspec URLs alike."""

from __future__ import annotations

import glob
import logging
from pathlib import Path

import fsspec
from braceexpand import braceexpand

from jdap.io.assets import resolve
from jdap.io.remote import remote_errors
from jdap.shards.schema import SchemaError

SHARDS_REMEDY = (
    "make some with `make shards` or `python -m data_prep prepare`, or name a folder, brace pattern or URL of some"
)
_log = logging.getLogger(__name__)


class ShardError(SchemaError):
    """Shards that cannot be found or read; the message names them and the remedy."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error anew with the worker's traceback as its message, whose last line it was.
        if message.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            message = message.strip().splitlines()[-1].partition(": ")[2]
        super().__init__(message)


def resolve_shards(spec: str | list[str]) -> list[str]:
    """The shards that ``spec`` names, as paths or URLs that fsspec opens, each once.

    ``spec`` is a folder (its ``*.tar``, sorted), a file, a brace pattern (``part-{000..127}.tar``), a glob, an fsspec
    URL of any of these (``s3://…``, ``memory://…``), ``shipped:shards/train``, or a list of such. In a local folder
    where shards have sidecars, one without is left by an interrupted run: it is skipped with a warning.

    Raises :class:`ShardError` where nothing is found, or a named local file is not there.
    """
    found: dict[str, None] = {}
    for one in [spec] if isinstance(spec, str) else spec:
        try:
            with remote_errors(one):
                urls = [url for pattern in braceexpand(resolve(one)) for url in _expand(pattern)]
        except (OSError, ImportError, ValueError) as error:  # ValueError: an unknown protocol, unbalanced braces
            raise ShardError(f"shards {one!r} cannot be listed: {error}; {SHARDS_REMEDY}") from error
        if not urls:
            raise ShardError(f"no shards (*.tar) at {one!r}: {SHARDS_REMEDY}")
        found |= dict.fromkeys(urls)
    if not found:
        raise ShardError(f"no shards were named: {SHARDS_REMEDY}")
    return list(found)


def _expand(pattern: str) -> list[str]:
    """A folder or glob as the tars in it; anything else as it is."""
    if "://" not in pattern:
        path = Path(pattern).expanduser()
        if path.is_dir():
            return _complete(sorted(path.glob("*.tar")))
        if any(c in pattern for c in "*?["):
            return sorted(glob.glob(str(path)))
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        return [str(path)]
    system, inside = fsspec.core.url_to_fs(pattern)
    if any(c in inside for c in "*?["):
        return sorted(system.unstrip_protocol(name) for name in system.glob(inside))
    if inside.endswith(".tar"):  # to ask a store for each of thousands would take minutes: opening them tells
        return [pattern]
    names = system.ls(inside, detail=False) if system.isdir(inside) else []
    return sorted(system.unstrip_protocol(name) for name in names if name.endswith(".tar"))


def _complete(tars: list[Path]) -> list[str]:
    whole = [tar for tar in tars if tar.with_suffix(".json").exists()]
    if whole and len(whole) < len(tars):
        first = next(tar for tar in tars if tar not in whole)
        _log.warning("%d shards without a sidecar are skipped as incomplete, %s first", len(tars) - len(whole), first)
    return [str(tar) for tar in whole or tars]
