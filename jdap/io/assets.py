"""Files that ship with the package: sample shards and weights, written ``shipped:NAME`` in configs."""

from __future__ import annotations

from pathlib import Path

PREFIX = "shipped:"
FOLDER = Path(__file__).parents[1] / "assets"


def resolve(path: str) -> str:
    """``shipped:shards/train`` → the folder inside the package; any other path or URL as it is.

    Raises FileNotFoundError for a name that does not ship, listing those that do.
    """
    if not path.startswith(PREFIX):
        return path
    target = FOLDER / path.removeprefix(PREFIX)
    if not target.exists():
        there = ", ".join(sorted(p.name for p in FOLDER.glob("*"))) or "nothing"
        raise FileNotFoundError(f"{path}: does not ship with jdap; in {FOLDER} there is: {there}")
    return str(target)
