"""Videos that are written, decoded back by PyAV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from jdap.media.video import DepthFolderWriter, DepthVideoWriter, UnwritableVideo, VideoWriter

RATE = 16000


def pictures(path: Path, layout: str) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, pixels) of each frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield float(frame.time), frame.to_ndarray(format=layout)


def heard(path: Path) -> tuple[float, np.ndarray]:
    """When the first sample sounds, and all of them; a player's view, by time stamps."""
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(audio=0))
    for before, after in pairwise(frames):
        assert abs(before.time + before.samples / RATE - after.time) < 1e-4, "a gap in the sound"
    return float(frames[0].time), np.concatenate([f.to_ndarray()[0] for f in frames])


def ramp(height: int, width: int) -> np.ndarray:
    """A smooth colour picture (H, W, 3) uint8."""
    v, u = np.mgrid[:height, :width] / max(height, width)
    return np.rint(np.stack([220 * u, 220 * v, 220 * (1 - u)], -1) + 16).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("block", [640, 5000])
def test_flash_and_click_stay_together_from_the_start_to_the_second_minute(tmp_path: Path, block: int) -> None:
    path, flashes, frames = tmp_path / "a.mp4", (0, 37, 1500, 1524), 1525
    sound = np.zeros(frames * 640, np.float32)
    for k in flashes:
        sound[k * 640 : k * 640 + 32] = 0.9 * np.sin(np.arange(32))
    with VideoWriter(path, 25) as video:
        done = 0
        for k in range(frames):
            video.frame(np.full((32, 32, 3), 255 if k in flashes else 16, np.uint8))
            while done + block <= (k + 1) * 640:
                video.sound(sound[done : done + block])
                done += block
        video.sound(sound[done:])
    seen = [time for time, grey in pictures(path, "gray") if grey.mean() > 130]
    start_s, audio = heard(path)
    loud = np.flatnonzero(np.abs(audio) > 0.3) / RATE + start_s
    clicks = loud[np.diff(loud, prepend=-1) > 0.1]
    assert seen == pytest.approx([k / 25 for k in flashes], abs=1e-4)
    assert clicks == pytest.approx(seen, abs=0.01)
    # and that is what the test would notice
    assert clicks != pytest.approx(np.array(seen) + 0.04, abs=0.01)


def test_what_is_in_a_file(tmp_path: Path) -> None:
    path, picture = tmp_path / "a.mp4", ramp(48, 64)
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(20000) / RATE).astype(np.float32)
    with VideoWriter(path, 25, crf=10) as video:
        for _ in range(31):
            video.frame(picture)
        video.sound(sound)
    with av.open(str(path)) as container:
        seen: Any = container.streams.video[0]
        sounds: Any = container.streams.audio[0]
        assert len(container.streams) == 2
        assert (seen.codec_context.name, seen.pix_fmt, seen.width, seen.height) == ("h264", "yuv420p", 64, 48)
        assert (seen.frames, seen.average_rate, seen.start_time) == (31, 25, 0)
        assert (sounds.codec_context.name, sounds.rate, sounds.layout.name) == ("aac", RATE, "mono")
        assert float(seen.duration * seen.time_base) == pytest.approx(31 / 25, abs=1e-3)
        assert float(sounds.duration * sounds.time_base) == pytest.approx(20000 / RATE, abs=1e-3)
    decoded = list(pictures(path, "rgb24"))
    assert [time for time, _ in decoded] == pytest.approx([k / 25 for k in range(31)], abs=1e-4)
    assert np.abs(decoded[30][1].astype(int) - picture).mean() < 2.5
    start_s, audio = heard(path)
    assert abs(start_s) < 1e-4
    # The tone itself, not only something loud: away from the ends it is what went in.
    middle = slice(4000, 16000)
    assert np.corrcoef(audio[middle], sound[middle])[0, 1] > 0.99
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # the index comes first


def test_silent_files_have_no_sound_track(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 30, sound=False) as video:
        video.frame(ramp(32, 32))
        with pytest.raises(UnwritableVideo, match="without a sound track"):
            video.sound(np.zeros(10, np.float32))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [s.type for s in container.streams] == ["video"]
        assert container.streams.video[0].average_rate == 30


def test_odd_sizes_get_a_copy_of_the_last_row_and_column(tmp_path: Path) -> None:
    picture = ramp(33, 47)
    with VideoWriter(tmp_path / "a.mp4", sound=False, crf=5) as video:
        video.frame(picture)
    ((_, decoded),) = pictures(tmp_path / "a.mp4", "rgb24")
    assert decoded.shape == (34, 48, 3)
    assert np.abs(decoded[:33, :47].astype(int) - picture).mean() < 2.5
    assert np.abs(decoded[33].astype(int) - decoded[32]).max() < 12


def test_quality_costs_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    for crf in (10, 35):
        with VideoWriter(tmp_path / f"{crf}.mp4", sound=False, crf=crf) as video:
            for picture in noise:
                video.frame(picture)
    assert (tmp_path / "10.mp4").stat().st_size > 3 * (tmp_path / "35.mp4").stat().st_size
    with pytest.raises(UnwritableVideo, match=r"within 0 … 51, got 60"):
        VideoWriter(tmp_path / "60.mp4", crf=60)


def test_depth_comes_back_to_the_bit(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).integers(0, 65536, (7, 33, 31), dtype=np.uint16)
    depth[0, 0, :2] = 0, 65535
    with DepthVideoWriter(tmp_path / "d.mkv", 25) as video, DepthFolderWriter(tmp_path / "d") as folder:
        for picture in depth:
            video.frame(picture)
            folder.frame(picture)
    decoded = list(pictures(tmp_path / "d.mkv", "gray16le"))
    assert [time for time, _ in decoded] == pytest.approx([k / 25 for k in range(7)], abs=1e-3)
    np.testing.assert_array_equal(np.stack([picture for _, picture in decoded]), depth)
    files = sorted((tmp_path / "d").iterdir())
    assert [f.name for f in files] == [f"{k:06d}.png" for k in range(7)]
    np.testing.assert_array_equal(np.stack([np.asarray(Image.open(f)) for f in files]), depth)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.mp4": lambda path: VideoWriter(path, sound=False),
    "a.mkv": DepthVideoWriter,
    "a": DepthFolderWriter,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_half_written(tmp_path: Path, name: str, error: type[BaseException]) -> None:
    picture = ramp(32, 32) if name == "a.mp4" else np.zeros((32, 32), np.uint16)

    def write(frames: int, fail: bool) -> None:
        with WRITERS[name](tmp_path / name) as writer:
            for _ in range(frames):
                writer.frame(picture)
            if fail:
                assert [p.name for p in tmp_path.iterdir() if p.name != name] == [f"{name}.part"]
                raise error

    def there() -> list[tuple[str, bytes]]:
        return [(str(p.relative_to(tmp_path)), p.read_bytes()) for p in sorted(tmp_path.rglob("*")) if p.is_file()]

    with pytest.raises(error):
        write(3, fail=True)
    assert list(tmp_path.iterdir()) == []
    write(3, fail=False)
    before = there()
    with pytest.raises(error):
        write(60, fail=True)
    assert there() == before
    write(5, fail=False)
    assert there() != before


def test_a_disk_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with (
        pytest.raises(UnwritableVideo, match=r"a\.mp4: .*No space left"),
        WRITERS["a.mp4"](tmp_path / "a.mp4") as video,
    ):
        video.frame(ramp(32, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_frames_of_another_kind_are_refused(tmp_path: Path, name: str) -> None:
    wrong = np.zeros((32, 32), np.uint16) if name == "a.mp4" else ramp(32, 32)
    with pytest.raises(UnwritableVideo, match="frames are"), WRITERS[name](tmp_path / name) as writer:
        writer.frame(wrong)
    assert list(tmp_path.iterdir()) == []


def test_misuse_is_told(tmp_path: Path) -> None:
    def write(*sizes: int, sound: bool = False) -> None:
        with VideoWriter(tmp_path / "a.mp4") as video:
            if sound:
                video.sound(np.zeros(10, np.float32))
            for size in sizes:
                video.frame(ramp(size, size))

    with pytest.raises(UnwritableVideo, match=r"frame 1 is 34 x 34.* 32 x 32"):
        write(32, 34)
    with pytest.raises(UnwritableVideo, match="without frames"):
        write()
    with pytest.raises(UnwritableVideo, match="first frame"):
        write(32, sound=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableVideo, match=r"file/a\.mp4"):
        VideoWriter(tmp_path / "file" / "a.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_missing_encoder_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = av.Codec

    def without_x264(name: str, mode: Any) -> av.Codec:
        return codec("no-such-codec" if name == "libx264" else name, mode)  # PyAV's own error

    monkeypatch.setattr(av, "Codec", without_x264)
    with pytest.raises(UnwritableVideo, match="no encoder libx264"):
        VideoWriter(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
