"""Files are there whole or not at all."""

import os

import pytest

from jdap.files import write_whole


def test_write_whole_replaces_or_leaves_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"one")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
