"""Which file is read, and which of its tracks: covers, lists of other files, too large pictures, folders, names."""

from __future__ import annotations

import os
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import write

from data_prep.video import video as video_module
from data_prep.video.audio import read_audio
from data_prep.video.video import FrameReader, UnreadableVideo, find_videos, open_video
from jdap.media.containers import MAX_PIXELS


def grey(level: int, count: int = 5, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.full((height, width, 3), level, np.uint8)] * count


def tracks(path: Path, films: list[tuple[str, int, int, int]]) -> Path:
    """Video tracks (coder, grey, frames, disposition) one after the other."""
    with av.open(str(path), "w") as out:
        streams = []
        for codec, _, _, flags in films:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = type(stream.disposition)(flags)
            streams.append(stream)
        for stream, (_, level, count, _) in zip(streams, films, strict=True):
            for k in range(count):
                frame = av.VideoFrame.from_ndarray(grey(level)[0], format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return path


DEFAULT, COVER = 1, 1024


@pytest.mark.parametrize(
    ("films", "frames"),
    [
        ([("mjpeg", 30, 1, DEFAULT), ("libx264", 200, 12, 0)], 12),  # a cover that says nothing
        ([("libx264", 200, 12, 0), ("mjpeg", 30, 1, DEFAULT)], 12),
        ([("mjpeg", 30, 20, 0), ("libx264", 200, 12, DEFAULT)], 12),
        ([("libx264", 200, 12, DEFAULT), ("libx264", 30, 20, DEFAULT)], 12),
        ([("libx264", 200, 12, 0), ("libx264", 30, 20, 0)], 12),
    ],
)
def test_the_film_is_read_and_not_the_cover(tmp_path: Path, films: list, frames: int) -> None:
    video = open_video(tracks(tmp_path / "a.mkv", films))
    assert video.frames == frames
    assert next(FrameReader(video).read(0, 1)).mean() == pytest.approx(200, abs=5)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile 'inside.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninside.mp4\n#EXT-X-ENDLIST\n",
        "<?xml version='1.0'?><MPD><Period/></MPD>",
        "\n\nffconcat version 1.0\nfile inside.mp4\n",
    ],
)
def test_a_list_of_other_files_is_not_followed(tmp_path: Path, text: str) -> None:
    write(tmp_path / "inside.mp4", grey(100), sound=np.zeros((1, 3200), np.float32))
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(UnreadableVideo, match=r"list\.mp4: .*list of other files"):
        open_video(tmp_path / "list.mp4")
    with pytest.raises(UnreadableVideo, match="a list of other files"):
        read_audio(tmp_path / "list.mp4", 0.0, 1.0)


@pytest.mark.slow
def test_a_picture_of_16000_squared_is_told_before_it_is_decoded(tmp_path: Path, peak_of) -> None:
    """One bit a pixel, 32 kB as a file, 32 MB or more when decoded."""
    side, squeeze = 16000, zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(side // 8 + 1)) for _ in range(side)) + squeeze.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path = tmp_path / "large.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for k in range(3):
            packet = av.Packet(png)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, k, k, Fraction(1, 25)
            out.mux(packet)
    with pytest.raises(UnreadableVideo, match=rf"large\.mov: .* over {MAX_PIXELS} pixels"):
        open_video(path)
    grown = peak_of(
        "from pathlib import Path\nfrom data_prep.video.video import UnreadableVideo, open_video\nstart()\n"
        f"try: open_video(Path({str(path)!r}))\nexcept UnreadableVideo: pass"
    )
    assert grown < 30


@pytest.mark.parametrize(("aspect", "says"), [(Fraction(60), "60 times as wide"), (Fraction(1, 9), "0.111 times")])
def test_pixels_of_no_likely_shape_are_told(tmp_path: Path, aspect: Fraction, says: str) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        frame = av.VideoFrame.from_ndarray(grey(9, height=96)[0], format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(UnreadableVideo, match=f"pixels .*{says}"):
        open_video(tmp_path / "a.mp4")


def test_names_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lat\xe9.mp4"))
    write(path, grey(100), sound=np.zeros((1, 3200), np.float32))
    assert find_videos([tmp_path])[0][0] == path
    video = open_video(path)
    assert len(list(FrameReader(video).read(0, video.frames))) == 5
    assert read_audio(path, 0.0, 0.2) is not None


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    for name in ("set/own/a.mp4", "elsewhere/deep/b.mp4", "elsewhere/.hidden/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "set"
    (root / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / "again").symlink_to(root / "own", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(root, target_is_directory=True)
    assert [name for _, name in find_videos([root])] == ["set/link/deep/b.mp4", "set/own/a.mp4"]


def test_a_folder_that_must_not_be_read_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set" / "locked").mkdir(parents=True)
    (tmp_path / "set" / "a.mp4").touch()
    scandir = os.scandir

    def refusing(place: str | os.PathLike[str] | int):  # root may read everything
        if "locked" in os.fspath(place):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "listdir", lambda place: [entry.name for entry in refusing(place)])
    found = find_videos([tmp_path / "set"])
    assert [name for _, name in found] == ["set/a.mp4", "set/locked"]
    with pytest.raises(UnreadableVideo, match=r"locked: .*\(Permission denied\)"):
        open_video(found[1][0])
    assert [name for _, name in find_videos([tmp_path / "set" / "locked"])] == ["set/locked"]


def test_frames_that_are_not_shown_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "fast.mp4", grey(100, 50), rate=100)
    video = open_video(path)
    video = type(video)(**{**vars(video), "decoder": "pyav"})
    converted = []
    real = video_module.to_srgb
    monkeypatch.setattr(video_module, "to_srgb", lambda frame: converted.append(frame.pts) or real(frame))
    assert len(list(FrameReader(video).read(0, video.frames))) == len(converted) == 12
