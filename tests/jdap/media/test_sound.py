"""Any sound, in time: files of many kinds are written here with clicks at known times, and must be heard there."""

import socket
import tracemalloc
import wave
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from jdap.media.sound import BLOCK, SoundError, SoundFaults, open_sound

RATE = 16000
CLICKS_S = (0.3, 1.7)


def drawn(rate: int, channels: int, clicks_s: tuple[float, ...] = CLICKS_S, seconds: float = 2.0) -> np.ndarray:
    """(channels, N) float32: silence, and 5 ms of 1 kHz at 0.8 from each time on."""
    sound = np.zeros((channels, round(seconds * rate)), np.float32)
    for click_s in clicks_s:
        at, length = round(click_s * rate), rate // 200
        sound[:, at : at + length] = 0.8 * np.sin(np.arange(length) * 2 * np.pi * 1000 / rate)
    return sound


def draw(container: av.container.OutputContainer, frames: int) -> None:
    """Black pictures at 25 fps."""
    video = container.add_stream("libx264", rate=25)
    video.width = video.height = 64
    video.pix_fmt = "yuv420p"
    for k in range(frames):
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = k, Fraction(1, 25)
        container.mux(video.encode(frame))
    container.mux(video.encode())


def write(path: Path, codec: str, rate: int = 44100, layout: str = "stereo", starts_s: float = 0.0, **options) -> Path:
    """The clicks, coded by PyAV, with time stamps from ``starts_s`` on; with pictures where the suffix is a video's."""
    form = {".m4a": "ipod"}.get(path.suffix)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        if path.suffix in (".mp4", ".mkv", ".mov"):
            draw(container, frames=50)
        sound = drawn(rate, stream.layout.nb_channels)
        convert = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for at in range(0, sound.shape[1], 1024):
            packed = np.ascontiguousarray(sound[:, at : at + 1024].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = at + round(starts_s * rate)
            for part in convert.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode())
    return path


def read(path: Path) -> np.ndarray:
    return np.concatenate(list(open_sound(path).blocks()))


def onsets_s(sound: np.ndarray) -> list[float]:
    """When it gets loud after 50 ms of quiet."""
    loud = np.flatnonzero(np.abs(sound) > 0.1)
    first = np.diff(loud, prepend=-RATE) > 0.05 * RATE
    return [float(x) / RATE for x in loud[first]]


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("a.wav", "pcm_s16le", {}),
        ("telephone.wav", "pcm_u8", {"rate": 8000, "layout": "mono"}),
        ("studio.wav", "pcm_f32le", {"rate": 48000}),
        ("deep.wav", "pcm_s24le", {"rate": 96000}),
        ("double.wav", "pcm_f64le", {"rate": 48000, "layout": "5.1"}),
        ("seven.wav", "pcm_s16le", {"rate": 48000, "layout": "7.1"}),  # planar, it crashes PyAV
        ("a.mp3", "libmp3lame", {}),
        ("slow.mp3", "libmp3lame", {"rate": 16000, "layout": "mono"}),
        ("a.m4a", "aac", {}),
        ("slow.m4a", "aac", {"rate": 16000, "layout": "mono"}),
        ("seven.m4a", "aac", {"rate": 48000, "layout": "7.1"}),
        ("lossless.m4a", "alac", {}),
        ("a.flac", "flac", {"rate": 48000}),
        ("a.ogg", "libopus", {"rate": 48000}),
        ("v.ogg", "vorbis", {"strict": "-2"}),
        ("a.mp4", "aac", {}),
        ("a.mkv", "libmp3lame", {}),
        ("a.mov", "pcm_s16le", {}),
    ],
)
def test_a_click_is_heard_when_it_was_written_whatever_the_coder(tmp_path, name, codec, form):
    path = write(tmp_path / name, codec, **form)
    opened = open_sound(path)
    sound = np.concatenate(list(opened.blocks()))
    assert sound.dtype == np.float32
    assert onsets_s(sound) == pytest.approx(CLICKS_S, abs=0.002)
    assert np.abs(sound).max() == pytest.approx(0.8, abs=0.1)  # coders at their usual rate
    assert len(sound) == pytest.approx(2 * RATE, abs=0.05 * RATE)  # coders fill their last frame
    assert opened.duration_s == pytest.approx(2.0, abs=0.05)
    assert opened.faults.notes() == []


def test_blocks_are_a_second_and_each_reading_begins_again(tmp_path):
    opened = open_sound(write(tmp_path / "a.m4a", "aac"))
    first = list(opened.blocks())
    assert [len(block) for block in first[:-1]] == [BLOCK] * 2
    assert len(first[-1]) < BLOCK
    again = list(opened.blocks())
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_channels_are_averaged_and_one_that_is_silent_halves_the_other(tmp_path):
    sound = drawn(48000, 2)
    sound[1] = 0
    wavfile.write(tmp_path / "left.wav", 48000, sound.T)
    assert np.abs(read(tmp_path / "left.wav")).max() == pytest.approx(0.4, abs=0.01)


def test_a_tone_keeps_its_shape_through_the_change_of_rate(tmp_path):
    times_s = np.arange(44100) / 44100
    wavfile.write(tmp_path / "tone.wav", 44100, (0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    heard = read(tmp_path / "tone.wav")
    assert len(heard) == RATE
    assert np.abs(heard - expected)[100:-100].max() < 2e-3


def test_numbers_that_are_none_and_those_over_full_scale_are_put_right_and_counted(tmp_path):
    sound = drawn(48000, 2).T.copy()
    sound[100, 0] = np.nan
    sound[200:210] = np.inf
    sound[300:305, 1] = -3e38
    wavfile.write(tmp_path / "bad.wav", 48000, sound)
    opened = open_sound(tmp_path / "bad.wav")
    assert opened.faults == SoundFaults()  # nothing has been read
    heard = np.concatenate(list(opened.blocks()))
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1
    assert onsets_s(heard)[-2:] == pytest.approx(CLICKS_S, abs=0.002)
    assert opened.faults.notes() == [
        "21 of 192000 samples are no numbers: silence instead",
        "5 of 192000 samples are over full scale: clipped",
    ]
    # A number that is none would otherwise silence all that the filter adds it to; here its neighbours sound on.
    expected = drawn(48000, 2).T.copy()
    expected[300:305, 1] = -1
    wavfile.write(tmp_path / "good.wav", 48000, expected)
    assert np.allclose(read(tmp_path / "good.wav"), heard, atol=1e-6)


def test_silence_is_sound(tmp_path):
    wavfile.write(tmp_path / "silent.wav", 8000, np.zeros(8000, np.int16))
    heard = read(tmp_path / "silent.wav")
    assert heard.shape == (RATE,)
    assert not heard.any()


def test_a_track_that_begins_after_the_pictures_is_preceded_by_silence(tmp_path):
    heard = read(write(tmp_path / "a.mkv", "pcm_s16le", starts_s=0.5))
    assert onsets_s(heard) == pytest.approx((0.8, 2.2), abs=0.002)
    assert len(heard) == pytest.approx(2.5 * RATE, abs=2)
    hours_late = read(write(tmp_path / "b.mkv", "pcm_s16le", starts_s=7200.0))  # of another clock
    assert onsets_s(hours_late) == pytest.approx(CLICKS_S, abs=0.002)


@pytest.mark.parametrize(
    ("starts_s", "heard_s"),
    [
        (3.5, (0.31, 1.71, 3.8, 5.2)),  # 1.5 s without sound
        (1.4, (0.31, 1.71, 3.1)),  # the same time twice: what came first counts
        (0.0, (0.31, 1.71, 2.326, 3.726)),  # the clock begins again
        (1000.0, (0.31, 1.71, 2.326, 3.726)),  # another clock
    ],
)
def test_time_stamps_of_sound_in_pieces_are_heeded(tmp_path, starts_s, heard_s):
    """Two transport streams one after the other. They do not say how much MP2 puts in front: 10 ms, in the first."""
    one = write(tmp_path / "one.ts", "mp2", rate=48000).read_bytes()
    two = write(tmp_path / "two.ts", "mp2", rate=48000, starts_s=starts_s).read_bytes()
    (tmp_path / "both.ts").write_bytes(one + two)
    assert onsets_s(read(tmp_path / "both.ts")) == pytest.approx(heard_s, abs=0.002)


def test_a_packet_that_is_damaged_is_silence_of_its_length_and_told(tmp_path):
    path = write(tmp_path / "a.mp4", "aac")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in packets[8:10]:
        data[at : at + size] = b"\xff" * size
    path.write_bytes(bytes(data))
    opened = open_sound(path)
    heard = np.concatenate(list(opened.blocks()))
    assert opened.faults.notes() == [f"2 of {len(packets)} packets are damaged: silence instead"]
    assert onsets_s(heard) == pytest.approx(CLICKS_S, abs=0.002)


def test_a_file_that_was_cut_off_says_so(tmp_path):
    path = write(tmp_path / "a.mp3", "libmp3lame")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened = open_sound(path)
    heard = np.concatenate(list(opened.blocks()))
    assert 0.8 * RATE < len(heard) < 1.2 * RATE
    assert opened.faults.notes() == ["it ends 1.0 s sooner than the file says"]


def telephone(path: Path, minutes: int) -> None:
    """A tone at 8 kHz and 8 bits: half a megabyte a minute."""
    second = (128 + 100 * np.sin(np.arange(8000) * 0.3)).astype(np.uint8).tobytes()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        for _ in range(minutes):
            out.writeframes(second * 60)


@pytest.mark.slow
def test_an_hour_is_read_and_no_block_is_kept(tmp_path):
    telephone(tmp_path / "hour.wav", 60)
    opened = open_sound(tmp_path / "hour.wav")
    assert opened.duration_s == 3600
    samples, alive = 0, []
    for block in opened.blocks():
        samples += len(block)
        alive = [one for one in (*alive, weakref.ref(block)) if one() is not None]
        assert len(alive) <= 2
    assert samples == 3600 * RATE


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    held = []
    for minutes in (1, 3):
        telephone(tmp_path / "long.wav", minutes)
        opened = open_sound(tmp_path / "long.wav")
        tracemalloc.start()
        try:
            assert sum(len(block) for block in opened.blocks()) == minutes * 60 * RATE
            held.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert held[1] < 2**19  # bytes; three minutes are 11 million
    assert held[1] < 1.2 * held[0]


@pytest.mark.parametrize("channels", [1, 8, 24])
def test_any_number_of_channels_of_no_known_layout(tmp_path, channels):
    wavfile.write(tmp_path / "many.wav", 48000, drawn(48000, channels).T)
    assert onsets_s(read(tmp_path / "many.wav")) == pytest.approx(CLICKS_S, abs=0.002)


def test_names_are_names(tmp_path):
    for name in ("http:a.wav", "a %03d ü.wav", "concat:a|b.wav", "pipe:0"):
        wavfile.write(tmp_path / name, 16000, np.zeros(16000, np.int16))
        assert len(read(tmp_path / name)) == RATE
    wavfile.write(tmp_path / "text.txt", 16000, np.zeros(16000, np.int16))  # what is in it counts
    assert len(read(tmp_path / "text.txt")) == RATE


def test_tags_in_an_old_encoding_are_no_error(tmp_path):
    path = write(tmp_path / "a.wav", "pcm_s16le", rate=16000)
    info = b"LIST" + (16).to_bytes(4, "little") + b"INFOINAM" + (4).to_bytes(4, "little") + b"\xff\xfe\xfa\x00"
    data = path.read_bytes()
    size = (len(data) + len(info) - 8).to_bytes(4, "little")
    path.write_bytes(data[:4] + size + data[8:12] + info + data[12:])
    assert onsets_s(read(path)) == pytest.approx(CLICKS_S, abs=0.002)


def mute_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        draw(container, frames=1)


def no_samples(path: Path) -> None:
    wavfile.write(path, 16000, np.zeros(0, np.int16))


def half_m4a(path: Path) -> None:
    write(path, "aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(50000))


TEXT = b"This is what she says: good morning to you all.\n" * 2000


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("missing.wav", lambda path: None, "no such file; check the path"),
        ("folder.wav", Path.mkdir, "a folder; give a sound file or a video"),
        ("empty.wav", Path.touch, "the file is empty; copy or download it again"),
        ("text.wav", lambda path: path.write_bytes(TEXT), "no sound that can be read"),
        ("text.txt", lambda path: path.write_bytes(TEXT), "no audio track; give a sound file or a video with sound"),
        ("text.mp3", lambda path: path.write_bytes(TEXT), "damaged, or no sound: none of it can be decoded"),
        ("long.mp3", lambda path: path.write_bytes(TEXT * 5), "damaged, or no sound"),
        ("random.wav", random_bytes, "no sound that can be read"),
        ("mute.mp4", mute_video, "no audio track; give a sound file or a video with sound"),
        ("none.wav", no_samples, "its sound is zero samples long; record or export it again"),
        ("cut.m4a", half_m4a, "copy it again or convert it to WAV"),
    ],
)
def test_what_is_no_sound_is_one_line(tmp_path, name, make, says):
    make(tmp_path / name)
    with pytest.raises(SoundError, match=says) as caught:
        open_sound(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}: ")
    assert "\n" not in message


def test_a_file_that_is_gone_or_spoilt_since_it_was_opened_is_one_line_too(tmp_path):
    opened = open_sound(write(tmp_path / "a.m4a", "aac"))
    (tmp_path / "a.m4a").write_bytes(TEXT)
    with pytest.raises(SoundError, match="damaged"):
        next(opened.blocks())
    (tmp_path / "a.m4a").unlink()
    with pytest.raises(SoundError, match="No such file"):
        next(opened.blocks())


def test_a_playlist_fetches_nothing(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(SoundError):
            open_sound(tmp_path / "a.m3u8")
        with pytest.raises(TimeoutError):
            server.accept()
