"""A face finder, what fits heads, and a photo of a face to fit them to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jdap.faces.landmarker import Landmarker
from jdap.photos.read import Photo, read_photo
from jdap.pose.heads import Heads


@pytest.fixture(scope="module")
def landmarker(assets: Path) -> Iterator[Landmarker]:
    with Landmarker() as found:
        yield found


@pytest.fixture(scope="module")
def heads(landmarker: Landmarker) -> Heads:
    return Heads(landmarker)


@pytest.fixture(scope="module")
def photo(assets: Path) -> Photo:
    found = read_photo(assets / "portraits" / "astronaut.png")
    assert (found.width, found.height, found.focal_px) == (512, 512, None)
    return found
