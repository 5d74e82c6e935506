"""Reading that begins amid a video."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from videos import write

from data_prep.video import video as video_module
from data_prep.video.video import FrameReader, open_video, whole_picture


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "leaps"),
    [
        ("a.mp4", {"codec_options": {"g": "20", "bf": "3"}}, True),
        ("open.mkv", {"codec_options": {"g": "20", "bf": "2", "x264-params": "open-gop=1"}}, True),
        ("a.webm", {"codec": "libvpx-vp9", "codec_options": {"g": "20", "deadline": "realtime"}}, True),
        ("a.ts", {"codec_options": {"g": "20", "bf": "2"}}, False),  # it leaps too far: from the start
        ("a.mpg", {"codec": "mpeg2video", "codec_options": {"g": "12", "bf": "2"}}, True),
        ("a.avi", {"codec": "mpeg4", "codec_options": {"g": "20"}}, True),
        ("one.mp4", {"codec_options": {"g": "1000", "sc_threshold": "0"}}, False),  # nothing to leap to: from the start
    ],
)
def test_reading_may_begin_amid_a_video(tmp_path: Path, name: str, options: dict, leaps: bool) -> None:
    """And what is read then is what reading from the start gives, to the bit."""
    steps = np.arange(100)[:, None, None, None]
    v, u = np.mgrid[:48, :64]
    shown = list(((u + v)[None, :, :, None] * [1, 2, 3] + 7 * steps) % 256)
    video = open_video(write(tmp_path / name, [frame.astype(np.uint8) for frame in shown], **options))
    video = dataclasses.replace(video, decoder="pyav")
    whole = list(FrameReader(video).read(0, 100))
    for first in (1, 40, 57, 99):
        found = list(FrameReader(video, first).read(first, 100))
        assert len(found) == 100 - first
        assert all((a == b).all() for a, b in zip(found, whole[first:], strict=True))
    begun, decoded = [], video_module.decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_module, "decode", lambda c, t: (begun.append(f) or f for f in decoded(c, t)))
        next(FrameReader(video, 99).read(99, 100))
    assert (len(begun) < 70) == leaps


def test_a_whole_picture_is_one_of_the_video(tmp_path: Path) -> None:
    shown = [np.full((48, 64, 3), 2 * k, np.uint8) for k in range(100)]
    video = open_video(write(tmp_path / "a.mp4", shown, codec_options={"g": "20", "bf": "3", "sc_threshold": "0"}))
    picture = whole_picture(video, 57)
    assert picture is not None
    assert abs(float(picture.mean()) - 2 * 40) < 2
    assert whole_picture(dataclasses.replace(video, stamps_N=None), 57) is None
