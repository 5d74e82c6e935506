"""Where named files are: a path, what ships with the package (``shipped:NAME``), or a repository of the hub."""

from __future__ import annotations

import re
from pathlib import Path

PREFIX = "shipped:"
SHIPPED_FOLDER = Path(__file__).parents[1] / "assets"
#: What the repository holds and a wheel does not: setup.cfg leaves them out, for their size.
CHECKOUT_ONLY = ("shards", "talking", "talk-tiny")
#: OWNER/NAME, with @REVISION to pin it.
_REPOSITORY = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")


class WeightsError(ValueError):
    """Weights that cannot be used; the message is one line, names the folder or file and says what to do."""


class NotInstalledError(FileNotFoundError):
    """What ships with the repository and was not installed with the package; the message is one line."""


def resolve(path: str) -> str:
    """``shipped:shards/train`` → the folder inside the package; any other path or URL as it is.

    :data:`CHECKOUT_ONLY` lies in a checkout of the repository alone. Raises :class:`NotInstalledError` for it where the
    package was installed without, with the remedy, and FileNotFoundError for a name that does not ship, listing those
    that do.
    """
    if not path.startswith(PREFIX):
        return path
    target = SHIPPED_FOLDER / path.removeprefix(PREFIX)
    if not target.exists():
        if target.relative_to(SHIPPED_FOLDER).parts[:1] in [(name,) for name in CHECKOUT_ONLY]:
            raise NotInstalledError(
                f"{path}: is in the repository, not in the installed package: work from a checkout (`pip install -e .` "
                "in it), or make your own (shards: `python -m data_prep studio`; weights that talk: `jdap train-video`)"
            )
        there = ", ".join(sorted(p.name for p in SHIPPED_FOLDER.glob("*"))) or "nothing"
        raise FileNotFoundError(f"{path}: does not ship with jdap; in {SHIPPED_FOLDER} there is: {there}")
    return str(target)


def find_folder(name: str | Path, remedy: str, revision: str | None = None) -> Path:
    """The local folder of weights: a folder's path, ``shipped:NAME``, or ``OWNER/NAME[@REVISION]`` of the hub.

    ``revision`` is another way to write the latter. Of a repository only JSON and safetensors are fetched, into the
    hub's own cache. Raises FileNotFoundError for a name that does not ship, and :class:`WeightsError` for what is
    neither here nor there; ``remedy`` says what to do.
    """
    folder = Path(resolve(str(name)))
    if folder.is_dir():
        return folder
    repository = _REPOSITORY.fullmatch(str(name))
    if repository is None:
        raise WeightsError(f"{name}: no such weights folder; {remedy}")
    return _fetched(str(name), repository["id"], revision or repository["revision"])


def _fetched(name: str, repository: str, revision: str | None) -> Path:
    # here, because reading shards or help needs no hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # "*" matches across slashes here
        return Path(snapshot_download(repository, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{name}: no such folder here, and the hub does not give it: {type(error).__name__}: {reason}"
        ) from error
