"""Files that the project needs and does not ship: local copies, or pinned downloads into the user's cache.

:func:`fetch` looks in ``JDAP_ASSETS``, then in the cache (``$XDG_CACHE_HOME/jdap`` or ``~/.cache/jdap``), then
downloads. A download gets its name in the cache only when it was verified, and the cache's folders are named by their
pins: a file that is there is whole and is the right one. Local copies are the user's own and are taken as they are.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from data_prep import morphable_ict as ict

ENVIRONMENT = "JDAP_ASSETS"
ATTEMPTS = 3
TIMEOUT_S = 30.0
#: Seconds before the second attempt; doubled for each further one.
WAIT_S = 1.0
_BLOCK = 1 << 20
#: The OBJ files of ICT-FaceKit are 2.6 MB each, its index 0.2 MB. A member over this is not one of them.
_MAX_MEMBER_BYTES = 16 << 20


class AssetError(RuntimeError):
    """An asset that could be had neither locally nor by download; the message says what to do."""


@dataclass(frozen=True)
class Asset:
    """Where a file comes from.

    * ``local``: its places in a folder laid out like the development assets, the preferred one first
    * ``url``: what is downloaded
    * ``sha256``: of the file, or of its contents where ``make`` turns the download into the file
    * ``make(download, target, sha256)`` writes ``target`` from the download, or raises AssetError
    """

    local: tuple[str, ...]
    url: str
    sha256: str
    make: Callable[[Path, Path, str], None]


def _verified(download: Path, target: Path, sha256: str) -> None:
    with download.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise AssetError(f"its SHA-256 is {found}, not the pinned {sha256}")
    download.rename(target)


def _pack_ict(archive: Path, target: Path, sha256: str) -> None:
    """Pack the OBJ files of a GitHub archive of ICT-FaceKit.

    GitHub makes archives when asked for and has changed their bytes before, so what is pinned is the content: the hash
    of the packed arrays (:func:`data_prep.morphable_ict.content_sha256`), which conversion reproduces bit for bit.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary)
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    # Only plain files straight inside FaceXModel, written under their last name: no link, no "..".
                    path = PurePosixPath(member.name)
                    wanted = path.suffix in (".obj", ".json") and path.parent.name == ict.OBJ_FOLDER
                    if not (wanted and member.isreg() and member.size <= _MAX_MEMBER_BYTES):
                        continue
                    source = tar.extractfile(member)
                    if source is not None:
                        with source, (folder / path.name).open("wb") as file:
                            shutil.copyfileobj(source, file)
            packed = ict.pack_obj_folder(folder)
        except (tarfile.TarError, EOFError, zlib.error, ict.ModelFileError) as error:
            reason = str(error).replace(f"{folder}/", "")
            raise AssetError(f"the archive is damaged or of another kind: {reason}") from error
        found = ict.content_sha256(packed)
        if found != sha256:
            raise AssetError(f"the SHA-256 of its packed arrays is {found}, not the pinned {sha256}")
        made = folder / "packed.npz"
        np.savez_compressed(made, **packed)  # type: ignore[arg-type]  # numpy's stub takes allow_pickle for a member
        _flush(made)
        made.rename(target)


ASSETS: dict[str, Asset] = {
    "ict_facekit": Asset(
        (f"ict_facekit/{ict.PACKED_NAME}", f"ict_facekit/{ict.OBJ_FOLDER}"),
        "https://codeload.github.com/ICT-VGL/ICT-FaceKit/tar.gz/da5f95a607f5e6b37755b38d3385d7f2853732e5",
        "d808ce9262297187b1972469237ae31d6d83e043ac9f68c9efdb4012e42e1175",
        _pack_ict,
    ),
    "face_landmarker": Asset(
        ("mediapipe/face_landmarker.task",),
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        _verified,
    ),
    "canonical_face": Asset(
        ("mediapipe/canonical_face_model.obj",),
        "https://raw.githubusercontent.com/google-ai-edge/mediapipe/a908d668c730da128dfa8d9f6bd25d519d006692"
        "/mediapipe/modules/face_geometry/data/canonical_face_model.obj",
        "8bac80443397e113f41a8b565ea72c59390bc031d9defab289dba7bc0c54e618",
        _verified,
    ),
}


def fetch(name: str) -> Path:
    """The local path of an asset of :data:`ASSETS`: ``ict_facekit``, ``face_landmarker`` or ``canonical_face``.

    ``ict_facekit`` is the packed file, or the OBJ folder where ``JDAP_ASSETS`` has only that. Raises KeyError for
    another name, and :class:`AssetError`, one line with the remedy, where an asset cannot be had.
    """
    asset = ASSETS[name]
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
        _download(asset.url, Path(part), name)
        asset.make(Path(part), target, asset.sha256)
    except AssetError as error:
        raise AssetError(
            f"{name} cannot be had from {asset.url}: {error}. "
            f"Try again, or set {ENVIRONMENT} to a folder that holds {' or '.join(asset.local)}"
        ) from error
    finally:
        Path(part).unlink(missing_ok=True)
    return target


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/jdap``, or ``~/.cache/jdap``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jdap"


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
    _flush(part)


def _flush(path: Path) -> None:
    """Have the disk hold the file before it is renamed."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
