"""A pipeline of small networks."""

import pytest
from networks import small_pipeline

from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture
def pipeline() -> PortraitPipeline:
    """A pipeline of small networks with random weights, for pictures of 32 pixels."""
    return small_pipeline()


@pytest.fixture
def small_networks(monkeypatch):
    """Preset tiny with fewer channels, for tests of the loop."""
    monkeypatch.setattr("jdap.models.image.build.TINY_WIDTHS", (32, 64))
