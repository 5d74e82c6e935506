"""Files that ship with the package: sample shards and weights, written ``shipped:NAME`` in configs."""

from __future__ import annotations

from pathlib import Path

PREFIX = "shipped:"
FOLDER = Path(__file__).parents[1] / "assets"
#: What the repository holds and a wheel does not: setup.cfg leaves them out, for their size.
CHECKOUT_ONLY = ("shards", "talking")


def resolve(path: str) -> str:
    """``shipped:shards/train`` → the folder inside the package; any other path or URL as it is.

    Sample shards lie in a checkout of the repository alone. Raises FileNotFoundError for them where the package was
    installed without, with the remedy, and for a name that does not ship, listing those that do.
    """
    if not path.startswith(PREFIX):
        return path
    target = FOLDER / path.removeprefix(PREFIX)
    if not target.exists():
        if target.relative_to(FOLDER).parts[:1] in [(name,) for name in CHECKOUT_ONLY]:
            raise FileNotFoundError(
                f"{path}: the sample shards are in the repository, not in the installed package: work from a checkout "
                "(`pip install -e .` in it), or make your own with `python -m data_prep studio`"
            )
        there = ", ".join(sorted(p.name for p in FOLDER.glob("*"))) or "nothing"
        raise FileNotFoundError(f"{path}: does not ship with jdap; in {FOLDER} there is: {there}")
    return str(target)
