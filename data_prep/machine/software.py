"""With what something is made: versions of the packages that decide it, our own code, and files that users give."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Packages whose version may change what comes of a video.
STAMPED_PACKAGES = ("jdap", "torch", "numpy", "scipy", "pillow", "mediapipe", "scenedetect", "decord", "av", "zlib-ng")
_HOUSES = ("data_prep", "jdap")


def version_of(package: str) -> str:
    """A package's version, or ``unknown``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def software() -> dict[str, str]:
    """Package → version, and ``code``: a hash of our own source."""
    return {name: version_of(name) for name in STAMPED_PACKAGES} | {"code": _code()}


def changes(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs, one "av 13.0, now 14.0" for each package."""
    names = sorted({*was, *now})
    return [f"{n} {was.get(n, 'none')}, now {now.get(n, 'none')}" for n in names if was.get(n) != now.get(n)]


def digest(path: str | Path) -> str:
    """A file by its contents: ``sha256:…``."""
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@functools.cache
def _code() -> str:
    root, found = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(path for house in _HOUSES for path in (root / house).rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()[:12]
