"""Untrained networks of 32 pixels, stored as a weights folder; and Ctrl-C."""

import signal
from pathlib import Path

import pytest
from networks import small_pipeline
from talker import talker


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline for pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("small") / "weights"
    small_pipeline(32, 32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def talking_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that talks, for pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("talking") / "weights"
    talker().save_pretrained(folder)
    return folder


@pytest.fixture
def hears_sigint():
    """Jobs in the background have Ctrl-C ignored, and Lightning has once it heard one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
