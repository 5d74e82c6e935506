"""Sound is placed by time stamps: clicks are drawn at known times and must come out there."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from data_prep.video.audio import lost_ticks, read_audio
from data_prep.video.error import UnreadableVideo
from jdap.media.sound import SoundFaults

RATE = 44100


def write(path: Path, clicks_s: list[float], seconds: float, starts_s: float = 0.0, codec: str = "pcm_s16le") -> None:
    """Pictures from 0 s and stereo sound from ``starts_s``: a 5 ms burst, on the left only, at each time."""
    sound = np.zeros((2, round((seconds - starts_s) * RATE)), np.float32)
    for click in clicks_s:
        at = round((click - starts_s) * RATE)
        sound[0, at : at + RATE // 200] = 0.8 * np.sin(np.arange(RATE // 200) * 2 * np.pi * 1000 / RATE)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream(codec, rate=RATE, layout="stereo")
        for k in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        resampler = av.AudioResampler(format=audio.format, layout="stereo", rate=RATE)
        for at in range(0, sound.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + 1024]), "fltp", "stereo")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = at + round(starts_s * RATE)
            for part in resampler.resample(frame):
                container.mux(audio.encode(part))
        container.mux(audio.encode())


def onset_s(sound: np.ndarray, after_s: float = 0.0) -> float:
    loud = np.abs(sound) > 0.1
    loud[: round(after_s * 16000)] = False
    return float(np.argmax(loud)) / 16000


def test_clicks_are_where_they_were(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", [0.3, 1.7], 2.0)
    sound = read_audio(tmp_path / "a.mkv", 0.0, 2.0)
    assert sound is not None
    assert sound.shape == (32000,)
    assert sound.dtype == np.float32
    assert onset_s(sound) == pytest.approx(0.3, abs=0.002)
    assert onset_s(sound, 1.0) == pytest.approx(1.7, abs=0.002)
    # Left alone at 0.8 is 0.4 in the mean of two channels.
    assert np.abs(sound).max() == pytest.approx(0.4, abs=0.05)


def test_a_track_that_starts_late_is_preceded_by_silence(tmp_path: Path) -> None:
    write(tmp_path / "late.mkv", [0.9], 2.0, starts_s=0.5)
    sound = read_audio(tmp_path / "late.mkv", 0.0, 2.0)
    assert sound is not None
    assert not sound[: 16000 // 2 - 160].any()
    assert onset_s(sound) == pytest.approx(0.9, abs=0.002)


def test_reading_starts_anywhere_and_pads_the_end(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", [0.3, 4.6], 5.0)
    part = read_audio(tmp_path / "a.mkv", 4.0, 2.0)
    assert part is not None
    assert part.shape == (32000,)
    assert onset_s(part) == pytest.approx(0.6, abs=0.002)
    assert not part[16000 + 400 :].any()  # the file ends at 5 s
    before = read_audio(tmp_path / "a.mkv", -0.2, 1.0)
    assert before is not None
    assert onset_s(before) == pytest.approx(0.5, abs=0.002)


def test_compressed_sound_is_in_time(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [0.5], 1.5, codec="aac")
    sound = read_audio(tmp_path / "a.mp4", 0.0, 1.5)
    assert sound is not None
    assert onset_s(sound) == pytest.approx(0.5, abs=0.02)


def test_reading_starts_amid_the_packets_of_a_program_stream(assets: Path) -> None:
    """Where a seek leads, the first packet is the rest of one: it cannot be decoded, and need not be."""
    path = assets / "videos" / "grid" / "bbaf2n.mpg"
    whole, part = read_audio(path, 0.0, 3.0), read_audio(path, 1.7, 1.0)
    assert whole is not None
    assert part is not None
    assert np.corrcoef(part, whole[round(1.7 * 16000) :][:16000])[0, 1] > 0.995  # in time to a part of a sample
    assert np.corrcoef(part[2:], whole[round(1.7 * 16000) :][:15998])[0, 1] < 0.98


def test_no_track_is_none_and_rubbish_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert read_audio(tmp_path / "mute.mp4", 0.0, 1.0) is None
    (tmp_path / "text.mp4").write_text("no sound")
    with pytest.raises(UnreadableVideo, match="audio track"):
        read_audio(tmp_path / "text.mp4", 0.0, 1.0)


def test_many_channels_and_numbers_that_are_none_are_read(tmp_path: Path) -> None:
    """Eight planar channels crash PyAV's own way to an array; NaN would silence what the filter adds it to."""
    sound = np.zeros((RATE, 8), np.float32)
    sound[RATE // 2 : RATE // 2 + 200] = 0.5
    sound[0] = np.nan
    wavfile.write(tmp_path / "eight.wav", RATE, sound)
    heard = read_audio(tmp_path / "eight.wav", 0.0, 1.0)
    assert heard is not None
    assert np.isfinite(heard).all()
    assert onset_s(heard) == pytest.approx(0.5, abs=0.002)


def test_a_damaged_packet_costs_its_packet(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [0.1, 0.5, 1.2], 1.5, codec="aac")
    with av.open(str(tmp_path / "a.mp4")) as container:
        packet = [p for p in container.demux(audio=0) if p.size][10]
        at_s = float(packet.pts * packet.time_base)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    faults = SoundFaults()
    sound = read_audio(tmp_path / "a.mp4", 0.0, 1.5, faults)
    assert sound is not None
    assert [onset_s(sound, after) for after in (0.0, 0.4, 1.0)] == pytest.approx([0.1, 0.5, 1.2], abs=0.02)
    assert faults.lost == 1
    lost = lost_ticks(faults, 38, 25.0)
    assert lost.sum() in (1, 2)
    assert lost[int(at_s * 25)] == 1
    later = SoundFaults()
    assert read_audio(tmp_path / "a.mp4", 0.8, 0.7, later) is not None
    assert lost_ticks(later, 17, 25.0).sum() == 0


def test_a_file_that_breaks_off_is_silent_from_there(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", [0.3, 1.7], 2.0, codec="aac")
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 6 // 10])
    sound = read_audio(tmp_path / "a.mkv", 0.0, 2.0)
    assert sound is not None
    assert onset_s(sound) == pytest.approx(0.3, abs=0.02)
    assert not sound[-16000 // 2 :].any()


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        kind = type(streams[0].disposition)
        streams[0].disposition, streams[1].disposition = kind(0), kind.default | kind.comment
        streams[2].disposition = kind.default
        for k, stream in enumerate(streams):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), (k + 1) * 3000, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(stream.encode(frame))
    sound = read_audio(tmp_path / "a.mkv", 0.0, 1.0)
    assert sound is not None
    assert sound[4000:12000].mean() == pytest.approx(9000 / 32768, abs=1e-3)


def test_a_time_at_which_the_track_has_nothing_is_lost(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", [0.3], 1.0)
    for start_s, lost in ((0.5, 0.0), (3.0, 1.0), (100.0, 1.0), (-5.0, 1.0)):
        faults = SoundFaults()
        sound = read_audio(tmp_path / "a.mkv", start_s, 1.0, faults)
        assert sound is not None
        assert lost_ticks(faults, 25, 25.0).mean() == lost, start_s
