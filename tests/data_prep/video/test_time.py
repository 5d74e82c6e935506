"""Time stamps that are wrong: every frame stays with its sound, or the row says why not.

Frames carry their number as brightness, in steps that survive coding, and are known by it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_prep.video.audio import lost_ticks, read_audio
from data_prep.video.timeline import lay_ticks, repair
from data_prep.video.video import FrameReader, UnreadableVideo, open_video
from jdap.media.sound import SoundFaults
from jdap.units import FPS

STEP_MS = 40
Stamps = list[int]


def number_of(frame: np.ndarray) -> int:
    """The number that is drawn in a frame: two digits of base 20, left and right."""
    width = frame.shape[1]
    halves = frame[8:-8, 8 : width // 2 - 8], frame[8:-8, width // 2 + 8 : -8]
    high, low = (round((float(half.mean()) - 20) / 11) for half in halves)
    return 20 * high + low


def draw(number: int) -> np.ndarray:
    frame = np.empty((48, 96, 3), np.uint8)
    frame[:, :48], frame[:, 48:] = 20 + 11 * (number // 20), 20 + 11 * (number % 20)
    return frame


def write(path: Path, stamps_ms: Stamps, codec: str = "mjpeg", **options: str) -> Path:
    """Frames 0, 1, … in the order they are shown, with these stamps whatever they are; Matroska keeps them."""
    count = len(stamps_ms)
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream(codec, rate=25, options={} if codec == "mjpeg" else {"bf": "0", "g": "12"})
        stream.width, stream.height = 96, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        packets = []
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(draw(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode()
        base = Fraction(1, 1000)
        for k, packet in enumerate(packets):
            packet.time_base = base
            packet.pts = stamps_ms[k]
            packet.dts = min(k * STEP_MS, *stamps_ms[k:]) if min(stamps_ms) >= 0 else stamps_ms[k]
            out.mux(packet)
    return path


def shown(path: Path) -> list[int]:
    video = open_video(path)
    return [number_of(frame) for frame in FrameReader(video).read(0, video.frames)]


def steady(count: int) -> Stamps:
    return [k * STEP_MS for k in range(count)]


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_equal_stamps_shift_nothing(tmp_path: Path, codec: str) -> None:
    stamps = steady(300)
    for k in (50, 120, 121, 220):
        stamps[k] = stamps[k - 1]
    path = write(tmp_path / "a.mkv", stamps, codec)
    assert shown(path) == list(range(300))
    assert open_video(path).fps == pytest.approx(25)


@pytest.mark.parametrize(
    "stamp",
    [
        lambda k: (k + 1 if k in (50, 120, 220) else k) * STEP_MS,
        lambda k: (102 if k in (100, 101, 102) else k) * STEP_MS,
        lambda k: (k + 1 if k % 10 == 4 else k) * STEP_MS,
        lambda k: k * STEP_MS + (360_000_000 if k == 77 else 0),
        lambda k: k * STEP_MS + (360_000_000 if k == 299 else 0),
    ],
    ids=["three pairs", "three in a row", "one in ten", "a wild one", "a wild last one"],
)
def test_frames_that_are_coded_in_another_order(tmp_path: Path, stamp: Callable[[int], int]) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "2", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        packets = []
        for k in range(300):
            frame = av.VideoFrame.from_ndarray(draw(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            number = round(packet.pts * packet.time_base * 25)
            packet.dts = round(packet.dts * packet.time_base * 1000)
            packet.time_base, packet.pts = Fraction(1, 1000), stamp(number)
            out.mux(packet)
    assert shown(tmp_path / "a.mkv") == list(range(300))


def test_frames_in_a_stamp_too_many_are_left_out(tmp_path: Path) -> None:
    """Equal stamps and no time for the second frame: it was coded twice, and the rest is where it was."""
    stamps = [k * STEP_MS for k in range(100) for _ in range(2 if k % 10 == 3 else 1)]
    numbers = shown(write(tmp_path / "a.mkv", stamps))
    first = [stamps.index(k * STEP_MS) for k in range(100)]
    assert numbers == first


@pytest.mark.parametrize("at", [0, 1, 40, 98, 99])
def test_one_wild_stamp_is_no_hundred_hours(tmp_path: Path, at: int) -> None:
    stamps = steady(100)
    stamps[at] += 100 * 3600 * 1000
    video = open_video(write(tmp_path / "a.mkv", stamps))
    numbers = [number_of(frame) for frame in FrameReader(video).read(0, video.frames)]
    assert numbers == list(range(100))
    assert np.abs(video.ticks_s - np.arange(100) / 25).max() < 0.02


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_negative_stamps_are_stamps(tmp_path: Path, codec: str) -> None:
    stamps = [ms - 600 for ms in steady(60)]
    path = write(tmp_path / "a.mkv", stamps, codec, avoid_negative_ts="disabled")
    video = open_video(path)
    assert [number_of(frame) for frame in FrameReader(video).read(0, video.frames)] == list(range(60))
    assert video.start_s == pytest.approx(-0.6, abs=1e-6)


def test_stamps_that_contradict_one_another_are_told() -> None:
    with pytest.raises(UnreadableVideo, match=r"\d+ of 100 time stamps"):
        repair(np.concatenate([np.arange(50), np.arange(50)]) / 25 + np.repeat([0, 0.001], 50), 25.0)


def test_without_any_stamp_the_rate_decides() -> None:
    assert repair(np.full(5, np.nan), 10.0) == pytest.approx(np.arange(5) / 10)
    half = np.array([np.nan, np.nan, np.nan, 1.0, np.nan])
    assert repair(half, 10.0) == pytest.approx(np.array([0.7, 0.8, 0.9, 1.0, 1.1]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 1, 3, 4], [0, 1, 2, 3, 4]),  # the second of two, and there is time after it
        ([0, 1, 3, 3, 4], [0, 1, 2, 3, 4]),  # the first of two, and there is time before it
        ([0, 1, 1, 2, 3], [0, 1, None, 2, 3]),  # one too many
        ([0, None, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([None, None, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 2, None, None], [0, 1, 2, 3, 4]),
        ([0, None, 1, 2, 3], [0, None, 1, 2, 3]),
        ([0, 1, 9000, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, -9000, 3, 4], [0, 1, 2, 3, 4]),
    ],
)
def test_stamps_are_judged_by_their_neighbours(given: list, expected: list) -> None:
    more = list(range(5, 40))
    times = np.array([np.nan if t is None else t for t in [*given, *more]], np.float64) / 25
    wanted = np.array([np.nan if t is None else t for t in [*expected, *more]], np.float64) / 25
    np.testing.assert_allclose(repair(times, 25.0), wanted, atol=1e-9)


def test_a_long_pause_stops_the_clock(tmp_path: Path) -> None:
    """Thirty seconds without a picture: the clock goes on with the next frame, on its own time."""
    stamps = [*steady(40), *(ms + 31_600 for ms in steady(40))]
    video = open_video(write(tmp_path / "a.mkv", stamps))
    assert (video.frames, video.starts) == (80, (0, 40))
    assert [number_of(frame) for frame in FrameReader(video).read(0, 80)] == list(range(80))
    assert video.ticks_s[[39, 40]] == pytest.approx([1.56, 31.6])
    assert video.source_fps(0, 80) == pytest.approx(25, abs=0.2)


@pytest.mark.parametrize("sound_jumps", [True, False])
def test_a_jump_of_an_hour_keeps_sound_or_says_that_there_is_none(tmp_path: Path, sound_jumps: bool) -> None:
    """Pictures jump by an hour, with their sound or without it; a click is heard with pictures 20 and 60."""
    path, hour = tmp_path / "a.mkv", 3_600_000
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("mjpeg", rate=25), out.add_stream("pcm_s16le", rate=16000, layout="mono")
        video.width, video.height, video.pix_fmt = 96, 48, "yuvj420p"
        for k in range(80):
            later = hour if k >= 40 else 0
            picture = av.VideoFrame.from_ndarray(draw(k), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            click = np.zeros((1, 640), np.int16)
            click[0, :40] = 20000 if k in (20, 60) else 0
            sound = av.AudioFrame.from_ndarray(click, "s16", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, k * 640, Fraction(1, 16000)
            for packets, jump in ((video.encode(picture), later), (audio.encode(sound), later * sound_jumps)):
                for packet in packets:
                    packet.time_base, packet.pts = Fraction(1, 1000), k * STEP_MS + jump
                    packet.dts = packet.pts
                    out.mux(packet)
    film = open_video(path)
    assert (film.frames, film.starts) == (80, (0, 40))
    for start, heard in ((0, True), (40, sound_jumps)):
        faults = SoundFaults()
        sound_S = read_audio(path, float(film.ticks_s[start]), 1.6, faults)
        assert sound_S is not None
        clicks = np.flatnonzero(np.abs(sound_S) > 0.3)
        assert (clicks[:1] / 16000).tolist() == (pytest.approx([0.8], abs=0.001) if heard else [])
        assert lost_ticks(faults, 40, FPS).mean() == (0 if heard else 1)


def test_a_short_pause_shows_the_last_frame(tmp_path: Path) -> None:
    stamps = [*steady(40), *(ms + 3600 for ms in steady(40))]
    numbers = shown(write(tmp_path / "a.mkv", stamps))
    assert numbers == [*range(40), *[39] * 25, *[40] * 25, *range(40, 80)]


@pytest.mark.parametrize(
    ("fps", "kept"), [(5, False), (8, False), (15, False), (20, True), (23.976, True), (29.97, True), (50, True)]
)
def test_low_and_odd_rates_are_within_half_a_frame(tmp_path: Path, fps: float, kept: bool) -> None:
    count = round(4 * fps)
    stamps = [round(k * 1000 / fps) for k in range(count)]
    video = open_video(write(tmp_path / "a.mkv", stamps))
    numbers = [number_of(frame) for frame in FrameReader(video).read(0, video.frames)]
    apart = np.array([stamps[n] / 1000 for n in numbers]) - video.ticks_s
    assert np.abs(apart[video.ticks_s <= stamps[-1] / 1000]).max() <= 0.5 / fps + 0.001  # the last one stays its time
    assert video.source_fps(0, video.frames) == pytest.approx(fps, rel=0.05)
    repeated = np.mean(np.diff(numbers, prepend=-1) == 0)
    assert (video.source_fps(0, video.frames) >= 18 and repeated <= 0.25) == kept  # as quality.SCORES has them


@pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.75])
@pytest.mark.parametrize("bframes", ["0", "2"])
def test_a_stream_that_begins_anywhere_is_in_time(tmp_path: Path, share: float, bframes: str) -> None:
    """Packets before the first key frame are of no use: the video begins with the first frame that can be decoded."""
    with av.open(str(tmp_path / "whole.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": bframes, "g": "30", "keyint_min": "30"})
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        for k in range(100):
            frame = av.VideoFrame.from_ndarray(draw(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with av.open(str(tmp_path / "whole.mkv")) as inside, av.open(str(tmp_path / "cut.ts"), "w") as out:
        source = inside.streams.video[0]
        target = out.add_stream_from_template(source)
        packets = [packet for packet in inside.demux(source) if packet.size]
        for packet in packets[round(share * len(packets)) :]:
            packet.stream = target
            out.mux(packet)
    video = open_video(tmp_path / "cut.ts")
    numbers = np.array([number_of(frame) for frame in FrameReader(video).read(0, video.frames)])
    with av.open(str(tmp_path / "cut.ts")) as container:  # what the file says of the frames themselves
        times = {number_of(f.to_ndarray(format="rgb24")): f.time for f in container.decode(video=0)}
    apart = np.array([times[int(n)] for n in numbers]) - video.ticks_s
    assert np.abs(apart).max() <= 0.5 / 25 + 1e-3
    assert numbers[-1] == 99


def test_ticks_of_a_single_frame() -> None:
    ticks = lay_ticks(np.array([3.0]), FPS)
    assert (ticks.source_K.tolist(), ticks.times_K.tolist(), ticks.starts) == ([0], [3.0], (0,))


@pytest.mark.slow
def test_memory_does_not_hold_the_packets(tmp_path: Path, peak_of: Callable[[str], int]) -> None:
    """126 MB of packets are looked through in a quarter of that."""
    path, side = tmp_path / "large.mov", 512
    with av.open(str(path), "w") as out:
        stream = out.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, "rgb24"
        for k in range(160):
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
    assert path.stat().st_size > 120e6
    grown = peak_of(
        "from pathlib import Path\nfrom data_prep.video.video import FrameReader, open_video\n"
        f"start()\nvideo = open_video(Path({str(path)!r}))\n"
        "assert video.frames == 160\nfor _ in FrameReader(video).read(0, 160): pass"
    )
    assert grown < 40
