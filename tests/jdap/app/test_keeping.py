"""Visitors' files go: after a while, and when the page closes."""

import os
import time
from pathlib import Path

import pytest

from jdap.app.keeping import GRADIO_FOLDER, Passing


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_everything_is_gone_at_the_end_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRADIO_FOLDER, "before")

    def interrupted() -> None:
        with Passing.open() as passing:
            assert os.environ[GRADIO_FOLDER] == str(passing.folder)
            (passing.new() / "depth.png").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
    assert os.environ[GRADIO_FOLDER] == "before"


def test_old_files_are_swept_and_what_the_page_shows_stays() -> None:
    with Passing.open(kept_s=100) as passing:
        own = passing.folder / "hash" / "example.jpg"
        own.parent.mkdir()
        own.write_bytes(b"x")
        passing.stay()
        made, upload = passing.new() / "depth.png", passing.folder / "other" / "me.jpg"
        upload.parent.mkdir()
        for path in (made, upload):
            path.write_bytes(b"x")
        passing.sweep(time.time() + 50)
        assert made.exists()
        assert upload.exists()
        passing.sweep(time.time() + 200)
        passing.sweep(time.time() + 400)  # a folder that was just emptied is young
        assert sorted(passing.folder.rglob("*")) == [own.parent, own]


def test_the_sweeper_works_by_itself() -> None:
    with Passing.open(kept_s=0.1, swept_s=0.05) as passing:
        (passing.new() / "depth.png").write_bytes(b"x")
        until = time.monotonic() + 10
        while list(passing.folder.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not list(passing.folder.iterdir())
