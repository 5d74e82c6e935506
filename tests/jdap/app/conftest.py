"""The models that ship, loaded once; they need the face finder's file, which is an asset."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jdap.app.depth import Known, know
from jdap.app.models import Models
from jdap.app.photo import Seen, see
from jdap.io.assets import SHIPPED_FOLDER

PEOPLE = sorted((SHIPPED_FOLDER / "app").glob("*.jpg"))


@pytest.fixture(scope="session")
def models(assets: Path) -> Iterator[Models]:
    """The models of ``jdap app`` as it is started without options."""
    models = Models.load("shipped:image-tiny", "shipped:talk-tiny", "cpu")
    yield models
    models.close()


@pytest.fixture(scope="session")
def seen(models: Models) -> Seen:
    """The first of the drawn people that ship."""
    return see(models, PEOPLE[0])


@pytest.fixture(scope="session")
def known(models: Models, seen: Seen) -> Known:
    """The same with depth."""
    return know(models, seen)
