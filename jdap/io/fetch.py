"""Files that the project needs and does not ship: local copies, or pinned downloads into the user's cache.

:func:`fetch` looks in ``JDAP_ASSETS``, then in the cache (``$XDG_CACHE_HOME/jdap`` or ``~/.cache/jdap``), then
downloads. A download gets its name in the cache only when it was verified, and the cache's folders are named by their
pins: a file that is there is whole and is the right one. Local copies are the user's own and are taken as they are.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

ENVIRONMENT = "JDAP_ASSETS"
ATTEMPTS = 3
TIMEOUT_S = 30.0
#: Seconds before the second attempt; doubled for each further one.
WAIT_S = 1.0
_BLOCK = 1 << 20


class AssetError(RuntimeError):
    """An asset that could be had neither locally nor by download; the message says what to do."""


def verified(download: Path, target: Path, sha256: str) -> None:
    """Give a download its name if it has the pinned SHA-256; raises AssetError otherwise."""
    with download.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise AssetError(f"its SHA-256 is {found}, not the pinned {sha256}")
    download.rename(target)


@dataclass(frozen=True)
class Asset:
    """Where a file comes from.

    * ``name``: for messages
    * ``local``: its places in a folder laid out like the development assets, the preferred one first
    * ``url``: what is downloaded
    * ``sha256``: of the file, or of its contents where ``make`` turns the download into the file
    * ``make(download, target, sha256)`` writes ``target`` from the download, or raises AssetError
    """

    name: str
    local: tuple[str, ...]
    url: str
    sha256: str
    make: Callable[[Path, Path, str], None] = verified


def fetch(asset: Asset) -> Path:
    """The local path of an asset; raises :class:`AssetError`, one line with the remedy, where it cannot be had."""
    root = os.environ.get(ENVIRONMENT)
    if root:
        if not Path(root).is_dir():
            raise AssetError(f"{ENVIRONMENT}={root} is no folder; correct it or unset it")
        for place in asset.local:
            if (Path(root) / place).exists():
                return Path(root) / place
    target = cache_folder() / asset.sha256[:16] / PurePosixPath(asset.local[0]).name
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several workers may fetch at once: each has its own file, and the last rename wins with the same content.
        descriptor, part = tempfile.mkstemp(suffix=".part", dir=target.parent)
    except OSError as error:
        raise AssetError(f"{target.parent} cannot be written ({error.strerror}); set XDG_CACHE_HOME") from error
    os.close(descriptor)
    try:
        _download(asset.url, Path(part), asset.name)
        asset.make(Path(part), target, asset.sha256)
    except AssetError as error:
        raise AssetError(
            f"{asset.name} cannot be had from {asset.url}: {error}. "
            f"Try again, or set {ENVIRONMENT} to a folder that holds {' or '.join(asset.local)}"
        ) from error
    finally:
        Path(part).unlink(missing_ok=True)
    return target


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/jdap``, or ``~/.cache/jdap``. Raises :class:`AssetError` where there is no home folder."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "jdap"
    try:
        return Path.home() / ".cache" / "jdap"
    except RuntimeError as error:  # no HOME, and a user whom the system does not know
        raise AssetError("there is no home folder to keep downloads in; set HOME or XDG_CACHE_HOME") from error


def _download(url: str, part: Path, label: str) -> None:
    """Download to ``part``, whole and flushed; tries again what may pass, and raises AssetError otherwise."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _download_once(url, part, label)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            passing = error.code >= 500 or error.code in (408, 429)
        except (OSError, http.client.HTTPException) as error:
            # URLError wraps what the socket said.
            reason, passing = str(getattr(error, "reason", error)) or type(error).__name__, True
        if not passing or attempt == ATTEMPTS:
            raise AssetError(reason)
        time.sleep(WAIT_S * 2 ** (attempt - 1))


def _download_once(url: str, part: Path, label: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "jdap"})
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT_S) as response,
        part.open("wb") as file,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        length = response.headers.get("Content-Length")
        task = progress.add_task(f"Downloading {label}", total=int(length) if length else None)
        while block := response.read(_BLOCK):
            file.write(block)
            progress.advance(task, len(block))
        if length and file.tell() != int(length):
            raise http.client.IncompleteRead(b"", int(length) - file.tell())
    flush(part)


def flush(path: Path) -> None:
    """Have the disk hold the file before it is renamed."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
