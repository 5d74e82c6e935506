"""Frames of a video that was just written, and files that are none."""

from pathlib import Path

import numpy as np
import pytest

from jdap.media.frames import FramesError, read_frames, read_grey
from jdap.media.video import DepthVideoWriter, VideoWriter


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 12.5, sound=False) as video:
        for k in range(4):
            video.frame(np.full((32, 48, 3), 60 * k, np.uint8))
    found = list(read_frames(tmp_path / "a.mp4"))
    assert [rate for _, rate in found] == [12.5] * 4
    assert all(rgb.shape == (32, 48, 3) for rgb, _ in found)
    np.testing.assert_allclose([rgb.mean() for rgb, _ in found], [0, 60, 120, 180], atol=3)


def test_grey_of_sixteen_bits_comes_back_to_the_bit(tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 65536, (3, 24, 32), dtype=np.uint16)
    with DepthVideoWriter(tmp_path / "d.mkv", 25.0) as video:
        for picture in given:
            video.frame(picture)
    np.testing.assert_array_equal(np.stack([grey for grey, _ in read_grey(tmp_path / "d.mkv")]), given)


@pytest.mark.parametrize("content", [b"", b"not a video" * 30, b"ffconcat version 1.0\nfile /etc/passwd\n"])
def test_what_is_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(FramesError, match=r"a\.mp4") as raised:
        list(read_frames(path))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FramesError, match="nowhere"):
        list(read_frames(tmp_path / "nowhere.mp4"))
