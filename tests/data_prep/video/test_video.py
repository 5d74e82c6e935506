"""Frames carry their number as brightness, so every test can say which frame it was given."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_prep.video.probe import decode
from data_prep.video.video import FrameReader, UnreadableVideo, find_videos, open_video, resample
from jdap.units import FPS

STEP = 6  # of 255 between neighbouring frames: survives coding


def numbered(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(count, H, W, 3) uint8: frame k is grey of 20 + STEP k, with a bright top left corner."""
    frames = np.empty((count, height, width, 3), np.uint8)
    for k in range(count):
        frames[k] = 20 + STEP * k
    frames[:, :16, :16] = 250
    return frames


def write(
    path: Path, frames: np.ndarray, times: list[Fraction], codec: str = "libx264", aspect: Fraction = Fraction(1)
):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 600) if codec == "libx264" else Fraction(1, 25)
        stream.codec_context.sample_aspect_ratio = aspect
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = stream.codec_context.time_base
            picture.pts = int(time / picture.time_base)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def steady(count: int, fps: int) -> list[Fraction]:
    return [Fraction(k, fps) for k in range(count)]


def read_numbers(path: Path) -> list[int]:
    video = open_video(path)
    frames = FrameReader(video).read(0, video.frames)
    return [round((float(frame[24:, 24:].mean()) - 20) / STEP) for frame in frames]


def test_25_fps_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", numbered(30), steady(30, 25))
    video = open_video(tmp_path / "a.mp4")
    assert (video.width, video.height, video.frames, video.decoder) == (64, 48, 30, "decord")
    assert video.fps == pytest.approx(25)
    assert read_numbers(tmp_path / "a.mp4") == list(range(30))


def test_other_rates_show_the_nearest_frame(tmp_path: Path) -> None:
    write(tmp_path / "fast.mp4", numbered(30), steady(30, 30))
    assert read_numbers(tmp_path / "fast.mp4") == [round(k * 30 / 25 - 0.01) for k in range(25)]
    write(tmp_path / "slow.mp4", numbered(10), steady(10, 10))
    assert read_numbers(tmp_path / "slow.mp4") == [min(9, round(k * 10 / 25 - 0.01)) for k in range(25)]


def test_uneven_time_stamps_are_honoured(tmp_path: Path) -> None:
    # Frame 3 stays for 0.4 s, and the clip begins late on the file's clock.
    times = [Fraction(1, 5) + Fraction(k if k < 4 else k + 9, 25) for k in range(10)]
    write(tmp_path / "uneven.mp4", numbered(10), times)
    numbers = read_numbers(tmp_path / "uneven.mp4")
    assert numbers[:4] == [0, 1, 2, 3]
    assert numbers[13:] == [4, 5, 6, 7, 8, 9]
    assert numbers[4:13] == [3] * 5 + [4] * 4


def test_resample_keeps_ties_early_and_the_length() -> None:
    assert resample(np.array([0.0]), FPS).tolist() == [0]
    assert resample(np.arange(4) * 0.02, FPS).tolist() == [0, 2]
    # 0.04 and 0.12 lie in the middle between two frames.
    assert resample(np.arange(3) * 0.08, FPS).tolist() == [0, 0, 1, 1, 2, 2]
    times = 5 + np.arange(750) / 29.97
    taken = resample(times, FPS)
    assert len(taken) == round(750 / 29.97 * 25)
    assert np.abs(times[taken] - 5 - np.arange(len(taken)) / 25).max() <= 0.5 / 29.97 + 1e-5


def test_mpeg_program_streams_keep_their_first_frames(tmp_path: Path) -> None:
    """decord starts such files at their second group of pictures; the sound would be half a second late."""
    write(tmp_path / "a.mpg", numbered(30), steady(30, 25), "mpeg1video")
    numbers = read_numbers(tmp_path / "a.mpg")
    # The multiplexer leaves a gap in the time stamps further on, so one frame may come twice.
    assert numbers[:15] == list(range(15))
    assert sorted(set(numbers)) == list(range(30))


def test_rotation_and_pixel_aspect_are_honoured(tmp_path: Path) -> None:
    write(tmp_path / "plain.mp4", numbered(5, 64, 96), steady(5, 25))
    data = bytearray((tmp_path / "plain.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    for decoder in ("decord", "pyav"):
        video = open_video(tmp_path / "turned.mp4")
        assert (video.width, video.height) == (64, 96)
        video = type(video)(**{**vars(video), "decoder": decoder})
        frame = next(FrameReader(video).read(0, 1))
        assert frame[:16, -16:].mean() > 200, decoder  # the corner went clockwise, from top left to top right
        assert frame[:16, :16].mean() < 60, decoder

    write(tmp_path / "wide.mp4", numbered(5), steady(5, 25), aspect=Fraction(3, 2))
    video = open_video(tmp_path / "wide.mp4")
    assert (video.width, video.height) == (96, 48)
    assert next(FrameReader(video).read(0, 1)).shape == (48, 96, 3)


def test_a_reader_skips_but_does_not_go_back(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", numbered(20), steady(20, 25))
    reader = FrameReader(open_video(tmp_path / "a.mp4"))
    (frame,) = reader.read(12, 13)
    assert round((float(frame[24:, 24:].mean()) - 20) / STEP) == 12
    with pytest.raises(ValueError, match="only goes forward"):
        next(reader.read(3, 4))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("text.mp4", b"this is no video\n" * 50, "not a readable video"),
        ("empty.mp4", b"", "the file is empty"),
        ("noise.mpg", bytes(range(256)) * 400, "not a readable video|no video track|no frames"),
    ],
)
def test_what_is_no_video_is_told_in_one_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo, match=message) as caught:
        open_video(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_path_sound_only_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="no such file"):
        open_video(tmp_path / "missing.mp4")
    with pytest.raises(UnreadableVideo, match="holds no video"):
        open_video(tmp_path)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableVideo, match="no video track"):
        open_video(tmp_path / "sound.mp4")


def test_a_video_that_is_cut_short_gives_what_there_is(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", numbered(40, 128, 128), steady(40, 25))
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    video = open_video(tmp_path / "cut.mkv")
    assert 0 < video.frames < 40
    assert len(list(FrameReader(video).read(0, video.frames))) == video.frames


def test_undecodable_frames_are_stood_for_and_a_broken_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.mp4", numbered(20), steady(20, 25))
    video = open_video(tmp_path / "a.mp4")
    video = type(video)(**{**vars(video), "decoder": "pyav"})

    def numbers(missing: set[int]) -> list[int]:
        def some(container: av.container.InputContainer, track: int):
            return (frame for k, frame in enumerate(decode(container, track)) if k not in missing)

        monkeypatch.setattr("data_prep.video.video.decode", some)
        try:
            frames = list(FrameReader(video).read(0, 20))
        finally:
            monkeypatch.undo()
        return [round((float(frame[24:, 24:].mean()) - 20) / STEP) for frame in frames]

    whole = list(range(20))
    assert numbers(set()) == whole
    assert numbers({7, 8}) == [*range(7), 6, 6, *range(9, 20)]
    assert numbers({0, 1}) == [2, 2, *range(2, 20)]
    assert numbers({18, 19}) == [*range(18), 17, 17]
    with pytest.raises(UnreadableVideo, match="frame 12 of 20"):
        numbers(set(range(12, 20)))


def test_folders_are_searched_and_everything_else_stands_for_itself(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("b/x.mp4", "a/x.MPG", "a/notes.txt", ".hidden/x.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "none").mkdir()
    single = folder / "b" / "x.mp4"
    found = find_videos([folder, single, tmp_path / "none", tmp_path / "gone.mp4"])
    assert [name for _, name in found] == [
        "set/a/x.MPG",
        "set/b/x.mp4",
        "b/x.mp4",
        f"{tmp_path.name}/none",
        f"{tmp_path.name}/gone.mp4",
    ]
    assert [path for path, _ in found][:2] == [folder / "a" / "x.MPG", single]


def test_long_videos_are_left_to_the_decoder_that_reads_no_further_than_asked(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write(path, numbered(10), steady(10, 25))
    assert open_video(path).decoder == "decord"
    monkeypatch.setattr("data_prep.video.video.DECORD_BYTES", 10 * 64 * 48 * 3 - 1)
    video = open_video(path)
    assert video.decoder == "pyav"
    assert len(list(FrameReader(video).read(0, video.frames))) == video.frames
