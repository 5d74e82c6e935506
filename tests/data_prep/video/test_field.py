"""The files from the field that went wrong (``faults/`` of the assets), each with what is right of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from videos import write

from data_prep.__main__ import main
from data_prep.video.audio import read_audio
from data_prep.video.video import FrameReader, open_video
from jdap.faces.landmarker import Landmarker, face_box
from jdap.media.sound import open_sound

pytestmark = pytest.mark.slow

#: The patches of ``hdr_hlg.mp4``, sRGB, as a display of 1000 cd/m² with white at 203 shows them.
PATCHES = [
    [220, 175, 148],
    [191, 137, 78],
    [134, 88, 46],
    [233, 47, 26],
    [87, 250, 59],
    [44, 19, 209],
    [129] * 3,
    [20] * 3,
]


@pytest.fixture(scope="module")
def faults(assets: Path) -> Path:
    folder = assets / "faults"
    if not folder.is_dir():
        pytest.skip("needs the folder faults/ of the development assets")
    return folder


def frames_of(path: Path) -> list[np.ndarray]:
    video = open_video(path)
    return list(FrameReader(video).read(0, video.frames))


def test_a_cut_stream_with_negative_and_missing_stamps(faults: Path) -> None:
    video = open_video(faults / "cut_neg.mkv")
    assert (video.frames, len(video.times_s)) == (98, 98)
    assert video.fps == pytest.approx(25)
    # A frame shows its time in milliseconds, a bit every 17 pixels; at each full second there is a click.
    frames = frames_of(video.path)
    shown_ms = [sum(int(frame[120, 17 * bit + 8].mean() > 128) << bit for bit in range(16)) for frame in frames]
    assert shown_ms == [2080 + 40 * k for k in range(98)]
    sound = read_audio(video.path, video.start_s, 98 / 25)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound) > 0.2)
    clicks = loud[np.diff(loud, prepend=-16000) > 8000] / 16000
    assert clicks == pytest.approx([0.92, 1.92, 2.92], abs=0.005)  # 3, 4 and 5 s


@pytest.mark.parametrize(
    ("name", "size", "frames"), [("cover_tagger.mp4", (400, 400), 30), ("coverfirst.mkv", (320, 240), 150)]
)
def test_the_film_beside_a_cover(faults: Path, name: str, size: tuple[int, int], frames: int) -> None:
    video = open_video(faults / name)
    assert ((video.width, video.height), video.frames) == (size, frames)
    assert len(frames_of(video.path)) == frames


def test_the_default_sound_track(faults: Path) -> None:
    path = faults / "twotracks.mp4"
    heard = read_audio(path, 0.0, 5.0)
    with av.open(str(path)) as container:
        wanted = [f.to_ndarray().mean(0) for f in container.decode(container.streams.audio[1])]
    assert heard is not None
    level = np.sqrt(np.square(np.concatenate(wanted)).mean())
    assert np.sqrt(np.square(heard).mean()) == pytest.approx(level, rel=0.1)
    spoken = np.concatenate(list(open_sound(path).blocks()))
    assert np.abs(spoken[:80000] - heard).max() < 1e-3


def test_eight_channels_in_an_order_of_quicktimes(faults: Path) -> None:
    sound = read_audio(faults / "w8_16.mov", 0.0, 2.0)
    assert sound is not None
    with av.open(str(faults / "w8_16.mov")) as container:
        packets = b"".join(bytes(packet) for packet in container.demux(audio=0))
    channels = np.frombuffer(packets, "<i2").reshape(-1, 8) / 32768
    assert np.abs(channels - channels[:, :1]).max() < 1e-3  # eight times the same
    assert np.abs(sound[200:-200] - channels[200 : len(sound) - 200, 0]).max() < 0.01


def test_hlg_as_phones_record_it(faults: Path) -> None:
    seen = frames_of(faults / "hdr_hlg.mp4")[0].astype(int)
    middles = seen[np.ix_([90, 270], [80, 240, 400, 560])].reshape(8, 3)
    assert np.abs(middles - PATCHES).max() <= 8


def test_speech_in_the_centre_is_as_loud_as_a_player_makes_it(faults: Path) -> None:
    sound = np.concatenate(list(open_sound(faults / "center.ac3").blocks()))
    with av.open(str(faults / "center.ac3")) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    centre = np.concatenate(blocks, 1)[2]  # FL FR FC
    loud = 20 * np.log10(np.sqrt(np.square(sound).mean()) / np.sqrt(np.square(centre).mean()))
    assert loud == pytest.approx(-3.0, abs=0.3)  # 0.71 in both loudspeakers


@pytest.fixture(scope="module")
def rows(faults: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One run over all of them, and over a film on its side and one of a face that is half under dark hair."""
    folder, out = tmp_path_factory.mktemp("field") / "in", tmp_path_factory.mktemp("results")
    folder.mkdir()
    names = ("cut_neg.mkv", "cover_tagger.mp4", "coverfirst.mkv", "w8_16.mov", "leaves_frame.mp4", "hdr_hlg.mp4")
    for name in names:
        shutil.copy(faults / name, folder / name)
    frames = frames_of(faults.parent / "videos" / "motion" / "d0.mp4")[:20]
    write(folder / "lying.mp4", [np.ascontiguousarray(np.rot90(frame)) for frame in frames])
    with Landmarker() as landmarker:
        points = landmarker.detect(frames[10])[0].landmarks_px_N3
    middle, (_, top, right, bottom) = int(points[1, 0]), face_box(points).astype(int)
    noise = np.random.default_rng(0).integers(10, 40, (bottom - top, right - middle, 3), np.uint8)
    for frame in (frames := [frame.copy() for frame in frames]):
        frame[top:bottom, middle:right] = noise
    write(folder / "hair.mp4", frames)
    assert main(["prepare", str(folder), "--out", str(out), "--size", "64", "--workers", "0"]) == 0
    lines = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return {Path(row["source"]).name: row for row in map(json.loads, lines)}


def test_a_face_that_leaves_the_picture_is_held(rows: dict[str, dict]) -> None:
    row = rows["leaves_frame.mp4"]
    assert row["status"] == "held"
    assert row["reason"].startswith("outside ")


def test_a_face_that_lies_on_its_side_is_held(rows: dict[str, dict]) -> None:
    assert rows["lying.mp4"]["status"] == "held"
    assert rows["lying.mp4"]["reason"].startswith("roll_deg ")


def test_a_face_that_is_half_hidden_is_held(rows: dict[str, dict]) -> None:
    assert rows["hair.mp4"]["status"] in ("held", "rejected")
    assert rows["hair.mp4"]["reason"].startswith(("occluded ", "no face"))


def test_a_run_over_all_of_them_ends_well(rows: dict[str, dict]) -> None:
    assert len(rows) == 8
    for name, row in rows.items():
        assert "details" not in row, name
        assert row["status"] in ("kept", "held", "rejected") or name == "w8_16.mov"
    assert rows["w8_16.mov"]["reason"].startswith("there is no video track")
