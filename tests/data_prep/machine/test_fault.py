"""Whose fault "Input/output error" is: FFmpeg says it of damaged contents, too, not only of a silent storage."""

import errno
from pathlib import Path

from data_prep.machine.faults import not_the_videos


def caused(error: OSError) -> ValueError:
    told = ValueError("not a readable video")
    told.__cause__ = error
    return told


def test_a_file_that_can_be_read_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "holed.mkv"
    file.write_bytes(bytes(1000))
    error = OSError(errno.EIO, "Input/output error")
    assert not_the_videos(caused(error), file) is None
    assert not_the_videos(caused(error)) is error  # nobody knows the file


def test_a_file_that_cannot_be_read_is_the_storages(tmp_path: Path) -> None:
    error = OSError(errno.EIO, "Input/output error")
    assert not_the_videos(caused(error), tmp_path / "gone.mkv") is error


def test_a_full_disk_is_never_the_videos(tmp_path: Path) -> None:
    file = tmp_path / "whole.mkv"
    file.write_bytes(bytes(1000))
    error = OSError(errno.ENOSPC, "No space left on device")
    assert not_the_videos(caused(error), file) is error
