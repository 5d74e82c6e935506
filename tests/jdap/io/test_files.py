"""Files are there whole or not at all."""

import os

import pytest

from jdap.io.files import replace_folder, write_whole


def test_write_whole_replaces_or_leaves_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"one")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path):
    for name, file in (("folder", "old"), ("folder.part", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    replace_folder(tmp_path / "folder.part", tmp_path / "folder")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["folder", "folder/new"]
