"""Channels of any layout as one: as loud as a player makes them, and said where they cancel."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from talker import talker

from jdap.__main__ import main
from jdap.media import channels
from jdap.media.sound import SoundError, open_sound

RATE = 16000


def tone(amplitude: float = 0.5, seconds: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(np.arange(round(seconds * RATE)) * 0.2)).astype(np.float32)


def write(path: Path, sound: np.ndarray, layout: str) -> Path:
    """(channels, N) as 16-bit WAV."""
    with av.open(str(path), "w") as out:
        encode(out, sound, layout)
    return path


def encode(out: av.container.OutputContainer, sound: np.ndarray, layout: str) -> None:
    stream = out.add_stream("pcm_s16le", rate=RATE, layout=layout)
    packed = np.rint(np.ascontiguousarray(sound.T).reshape(1, -1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(packed, "s16", layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    out.mux(stream.encode(frame))
    out.mux(stream.encode())


def level(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound).mean()))


#: layout → channel that sounds → how loud a player's two loudspeakers make it, in their mean.
PLAYERS = [
    ("mono", 0, 1.0),
    ("stereo", 0, 0.5),
    ("3.0", 2, 0.7071),
    ("quad", 2, 0.35355),
    ("5.0", 2, 0.7071),
    ("5.1", 0, 0.5),
    ("5.1", 2, 0.7071),
    ("5.1", 3, 0.0),
    ("5.1", 4, 0.35355),
    ("5.1(side)", 2, 0.7071),
    ("7.1", 2, 0.7071),
    ("7.1", 7, 0.35355),
]


@pytest.mark.parametrize(("layout", "channel", "share"), PLAYERS)
def test_a_channel_is_as_loud_as_a_player_makes_it(tmp_path: Path, layout: str, channel: int, share: float) -> None:
    sound = np.zeros((av.AudioLayout(layout).nb_channels, RATE), np.float32)
    sound[channel] = tone()
    opened = open_sound(write(tmp_path / "a.wav", sound, layout))
    heard = np.concatenate(list(opened.blocks()))
    assert level(heard) == pytest.approx(share * level(tone()), abs=2e-3)
    assert opened.faults.notes() == []


@pytest.mark.parametrize("layout", ["stereo", "5.1", "7.1"])
def test_the_same_in_all_channels_is_no_louder_than_in_one(tmp_path: Path, layout: str) -> None:
    sound = np.tile(tone(0.9), (av.AudioLayout(layout).nb_channels, 1))
    opened = open_sound(write(tmp_path / "a.wav", sound, layout))
    heard = np.concatenate(list(opened.blocks()))
    assert level(heard) == pytest.approx(level(tone(0.9)), rel=0.01)
    assert opened.faults.clipped == 0


def test_channels_out_of_phase_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([tone(), -tone()]), "stereo")
    opened = open_sound(path)
    assert level(np.concatenate(list(opened.blocks()))) < 1e-3
    assert opened.faults.notes() == ["100% is silence: the channels cancel, turn one round"]


def test_a_part_out_of_phase_is_said_by_its_share(tmp_path: Path) -> None:
    sound = np.stack([tone(seconds=2.0), tone(seconds=2.0)])
    sound[1, RATE:] *= -1
    opened = open_sound(write(tmp_path / "a.wav", sound, "stereo"))
    list(opened.blocks())
    (note,) = opened.faults.notes()
    assert 45 <= int(note.partition("%")[0]) <= 55


def test_silence_and_wide_stereo_do_not_cancel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sound in (np.zeros((2, RATE), np.float32), 0.2 * rng.standard_normal((2, RATE)).astype(np.float32)):
        opened = open_sound(write(tmp_path / "a.wav", sound, "stereo"))
        list(opened.blocks())
        assert opened.faults.cancelled == 0


def test_talk_says_that_channels_cancel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talker().save_pretrained(tmp_path / "weights")
    rng = np.random.default_rng(0)
    av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), np.uint8), format="rgb24").to_image().save(
        tmp_path / "me.png"
    )
    sound = write(tmp_path / "a.wav", np.stack([tone(seconds=0.4), -tone(seconds=0.4)]), "stereo")
    arguments = ["talk", tmp_path / "me.png", sound, "-o", tmp_path / "a.mp4", "--weights", tmp_path / "weights"]
    assert main([str(a) for a in [*arguments, "--no-crop", "--device", "cpu", "--steps", "1"]]) == 0
    assert "100% is silence: the channels cancel" in capsys.readouterr().out


def test_unknown_channels_are_averaged() -> None:
    assert channels.shares(["USR1", "USR2"]) == pytest.approx([0.5, 0.5])
    assert channels.shares(["FL", "FR", "USR3"]) == pytest.approx([1 / 3] * 3)
    assert channels.shares(["LFE"]) == pytest.approx([1.0])
    assert channels.shares(["LFE", "LFE2"]) == pytest.approx([0.5, 0.5])


#: Channel labels of QuickTime's: left, right, centre, low, and others in an order that FFmpeg has no name for.
LABELS = {"FL": 1, "FR": 2, "FC": 3, "LFE": 4, "BL": 5, "BR": 6, "SL": 10, "SR": 11}


def quicktime(path: Path, sound: np.ndarray, names: list[str]) -> Path:
    """A QuickTime film with a 'chan' atom that describes each channel."""
    count = len(sound)
    layout = {2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}[count]
    with av.open(str(path), "w", format="mov") as out:
        encode(out, sound, layout)
    data = path.read_bytes()
    at = data.index(b"chan") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    described = b"".join(LABELS[name].to_bytes(4, "big") + bytes(16) for name in names)
    atom = b"chan" + bytes(4) + bytes(8) + count.to_bytes(4, "big") + described
    atom = (len(atom) + 4).to_bytes(4, "big") + atom
    grown = len(atom) - size
    data = bytearray(data[:at] + atom + data[at + size :])
    # Every atom around it grows; the samples lie before the index, so that nothing else moves.
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"sowt"):
        place = data.rindex(name, 0, at) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + grown).to_bytes(4, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "names", [["FL", "FR", "FC", "LFE", "SL", "SR", "BL", "BR"], ["FR", "FL", "FC", "SL", "SR", "LFE"], ["FR", "FL"]]
)
def test_an_order_of_quicktimes_is_read_by_its_names(tmp_path: Path, names: list[str]) -> None:
    """In a process of its own: PyAV's way ends it."""
    sound = np.zeros((len(names), RATE), np.float32)
    centre = names.index("FC") if "FC" in names else 0
    sound[centre] = tone()
    path = quicktime(tmp_path / "a.mov", sound, names)
    code = (
        "import sys, gc, numpy as np\nfrom jdap.media.sound import open_sound\n"
        "for _ in range(20):\n"
        "    sound = open_sound(sys.argv[1])\n    heard = np.concatenate(list(sound.blocks()))\n    gc.collect()\n"
        "print(np.sqrt(np.square(heard).mean()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    share = 0.7071 if "FC" in names else 0.5
    assert float(done.stdout) == pytest.approx(share * level(tone()), abs=3e-3)


def test_a_list_of_other_files_is_no_sound(tmp_path: Path) -> None:
    write(tmp_path / "inside.wav", tone()[None], "mono")
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile inside.wav\n")
    with pytest.raises(SoundError, match=r"list\.wav: .*list of other files"):
        open_sound(tmp_path / "list.wav")
