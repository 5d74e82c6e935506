"""``jdap talk`` from the command line on, with real (untrained) networks; its files decoded back."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from command_line import jdap
from PIL import Image
from scipy.io import wavfile
from talker import SIZE

from jdap.depth import from_uint16
from jdap.faces.crop import crop_frame
from jdap.pipelines.talking import TalkingPipeline

RATE = 16000


def draw(path: Path, width: int = 64, height: int = 64, seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def speak(path: Path, seconds: float, clicks: tuple[float, ...] = ()) -> Path:
    """A quiet tone with clicks, 16-bit WAV of 16 kHz."""
    sound = 0.05 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)
    for at_s in clicks:
        sound[round(at_s * RATE) :][:32] = 0.9 * np.sin(np.arange(32))
    wavfile.write(path, RATE, (sound * 32767).astype(np.int16))
    return path


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A portrait, a folder for what is made, and one for the rest."""
    (tmp_path / "given").mkdir()
    return draw(tmp_path / "given" / "me.png"), tmp_path / "out", tmp_path / "given"


def frames_of(path: Path, layout: str) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=layout) for frame in container.decode(video=0)])


def sound_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(audio=0))
    assert frames[0].time == 0
    return np.concatenate([f.to_ndarray()[0] for f in frames])


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_files_hold_what_the_pipeline_draws_and_the_sound_in_time(
    talking_weights: Path, given: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    portrait, out, folder = given
    clicks = (0.0, 0.36)
    speech = speak(folder / "speech.wav", 0.45, clicks)
    how = ["--weights", talking_weights, "--no-crop", "--device", "cpu", "--steps", 2, "--audio-guidance", 2]
    assert jdap("talk", portrait, speech, "-o", out / "talk.mp4", *how, "--seed", 3, "--crf", 5) == 0
    assert names(out) == ["talk.depth.mkv", "talk.json", "talk.mp4", "talk.preview.mp4"]

    pipeline = TalkingPipeline.from_pretrained(talking_weights)
    rgb = torch.from_numpy(crop_frame(np.asarray(Image.open(portrait)), np.array([0.0, 0.0, 64.0]), SIZE).copy())
    sound = wavfile.read(speech)[1].astype(np.float32) / 32768
    windows = list(pipeline.talk(rgb.permute(2, 0, 1)[None] / 127.5 - 1, sound, steps=2, audio_guidance=2.0, seed=3))
    made, depth = (torch.cat(x) for x in zip(*windows, strict=True))
    expected = ((made.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round()

    pictures, preview = (frames_of(out / name, "rgb24") for name in ("talk.mp4", "talk.preview.mp4"))
    assert pictures.shape == (12, SIZE, SIZE, 3)  # ceil(0.45 · 25)
    assert preview.shape == (12, SIZE, 2 * SIZE, 3)
    # Colours come in squares of two pixels: frames are told apart by their brightness.
    grey, wanted = (x.astype(float).mean(-1).reshape(12, -1) for x in (pictures, expected))
    nearest = np.abs(grey[:, None] - wanted[None]).mean(-1).argmin(1)
    assert nearest.tolist() == list(range(12))
    assert np.abs(preview[:, :, :SIZE].astype(int) - pictures).mean() < 4
    encoded = frames_of(out / "talk.depth.mkv", "gray16le")
    assert np.abs(from_uint16(encoded) - depth[:, 0].numpy()).max() < 1e-3

    for name in ("talk.mp4", "talk.preview.mp4"):
        heard = sound_of(out / name)
        loud = np.flatnonzero(np.abs(heard) > 0.3) / RATE
        assert loud[np.diff(loud, prepend=-1) > 0.1] == pytest.approx(clicks, abs=0.01)
    data = json.loads((out / "talk.json").read_text())
    assert (data["frames"], data["fps"], data["seconds"]) == (12, 25.0, 0.48)
    assert data["made_by"]["steps"] == 2
    assert data["made_by"]["audio_guidance"] == 2
    assert data["made_by"]["seed"] == 3
    assert data["made_by"]["start"] == "null"
    assert data["files"] == {"video": "talk.mp4", "depth": "talk.depth.mkv", "preview": "talk.preview.mp4"}
    assert data["window_px"]["size"] == 64
    assert "12 frames in" in capsys.readouterr().out


def test_several_seeds_and_depth_as_pictures(talking_weights: Path, given: tuple[Path, Path, Path]) -> None:
    portrait, out, folder = given
    how = ["--weights", talking_weights, "--no-crop", "--steps", 1, "--no-preview", "--max-seconds", 0.1]
    how += ["--crf", 0]  # without loss: a last bit that the processor rounds otherwise stays one
    speech = speak(folder / "speech.wav", 1)
    assert jdap("talk", portrait, speech, "-o", out / "a.mp4", *how, "--depth-format", "png", "--seeds", 2) == 0
    assert names(out) == sorted(f"a-seed{k}{end}" for k in (0, 1) for end in (".mp4", ".json", ".depth"))
    assert names(out / "a-seed0.depth") == ["000000.png", "000001.png", "000002.png"]
    first, second = (np.asarray(Image.open(out / f"a-seed{k}.depth" / "000002.png")) for k in (0, 1))
    assert first.dtype == np.uint16
    assert not np.array_equal(first, second)
    assert jdap("talk", portrait, speech, "-o", out / "b.mp4", *how, "--depth-format", "none", "--seed", 1) == 0
    assert {"b.mp4", "b.json"} == {n for n in names(out) if n.startswith("b")}
    zero, one, again = (frames_of(out / name, "gray").astype(int) for name in ("a-seed0.mp4", "a-seed1.mp4", "b.mp4"))
    assert np.abs(again - one).max() <= 1 < np.abs(zero - one).max()


@pytest.mark.slow
def test_sound_of_any_kind(talking_weights: Path, given: tuple[Path, Path, Path], capfd: Any) -> None:
    portrait, out, folder = given
    stereo = np.stack([np.full(48000 // 10, 0.2), np.zeros(48000 // 10)], 1).astype(np.float32)
    wavfile.write(folder / "stereo48k.wav", 48000, stereo)
    wavfile.write(folder / "phone.wav", 8000, np.zeros(800, np.int16))
    broken = stereo.copy()
    broken[100:110] = np.nan
    wavfile.write(folder / "nan.wav", 48000, broken)
    how = ["--weights", talking_weights, "--no-crop", "--few-step", "--no-preview", "--depth-format", "none"]
    for name, notes in (("stereo48k", 0), ("phone", 0), ("nan", 1)):
        assert jdap("talk", portrait, folder / f"{name}.wav", "-o", out / f"{name}.mp4", *how) == 0
        data = json.loads((out / f"{name}.json").read_text())
        assert data["frames"] == 3
        assert data["made_by"]["steps"] == 4
        assert len(data["notes"]) == notes
    assert "are no numbers: silence instead" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("gone.wav", None, "no such file"),
        ("empty.wav", b"", "the file is empty"),
        ("text.wav", b"I am no sound at all, but a text file of some length.", "no sound that can be read"),
    ],
)
def test_no_sound_is_one_line_and_nothing_is_written(
    talking_weights: Path,
    given: tuple[Path, Path, Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    data: bytes | None,
    says: str,
) -> None:
    portrait, out, folder = given
    if data is not None:
        (folder / name).write_bytes(data)
    assert jdap("talk", portrait, folder / name, "-o", out / "a.mp4", "--weights", talking_weights, "--no-crop") == 2
    error = capsys.readouterr().err
    assert says in error
    assert name in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--few-step", "--steps", "3", "--audio-guidance", "2"], "leave out --steps, --audio-guidance"),
        (["-o", "talk.avi"], "written as MP4; name it NAME.mp4"),
        (["--several", "all"], "one person talks"),
        (["--steps", "2000"], "--steps: steps must be within"),
        (["--noise-sharing", "2"], "--noise-sharing must be within 0 … 1"),
        (["--guidance", "nan"], "must be numbers"),
        (["--crf", "99"], "must be within 0 … 51"),
        (["--weights", "IMAGE"], "'PortraitPipeline', expected 'TalkingPipeline', as `make train-video` writes it"),
        (["--weights", "nowhere"], "train one with `make train-video`"),
        (["--box", "1,1,4"], "must be 16 pixels or more"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    args: list[str],
    says: str,
    talking_weights: Path,
    small_weights: Path,
    given: tuple[Path, Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    portrait, out, folder = given
    words = [str(small_weights) if word == "IMAGE" else word for word in args]
    words += [] if "-o" in args else ["-o", str(out / "a.mp4")]
    words += [] if "--weights" in args else ["--weights", str(talking_weights)]
    words += [] if {"--several", "--box"} & {*args} else ["--no-crop"]
    assert jdap("talk", portrait, speak(folder / "a.wav", 0.1), *words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert not out.exists() or names(out) == []


def test_without_weights_that_ship_the_remedy_is_told(
    given: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    portrait, out, folder = given
    monkeypatch.setattr("jdap.io.assets.SHIPPED_FOLDER", folder)
    assert jdap("talk", portrait, speak(folder / "a.wav", 0.1), "-o", out / "a.mp4", "--no-crop") == 2
    assert "weights that talk: `jdap train-video`" in capsys.readouterr().err


def interrupted(number: int, out: Path, *words: object) -> tuple[int, list[str]]:
    """The status of a talk that a signal ends once pictures have been written, and the names that were there then."""
    seen: list[str] = []

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any((out / "a.depth.part").glob("000005.png")):
            time.sleep(0.05)
        seen.extend(names(out))
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        ended = jdap("talk", *words, "-o", out / "a.mp4", "--depth-format", "png")
    except SystemExit as stop:
        ended = stop.code  # type: ignore[assignment]
    thread.join()
    assert signal.getsignal(number) == before
    return ended, seen


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing_half_written(
    talking_weights: Path, given: tuple[Path, Path, Path], number: int, status: int, hears_sigint: None
) -> None:
    portrait, out, folder = given
    speech = speak(folder / "long.wav", 120)
    how = ["--weights", talking_weights, "--no-crop", "--steps", 1]
    ended, seen = interrupted(number, out, portrait, speech, *how)
    assert ended == status
    assert seen == ["a.depth.part", "a.mp4.part", "a.preview.mp4.part"]
    assert names(out) == []


def test_a_moved_photo_that_is_interrupted_leaves_what_was_there(
    assets: Path, small_weights: Path, given: tuple[Path, Path, Path]
) -> None:
    _, out, folder = given
    out.mkdir(exist_ok=True)
    (out / "a.mp4").write_bytes(b"of before")
    speech, portrait = speak(folder / "long.wav", 120), assets / "portraits" / "astronaut.png"
    how = ["--by", "warp", "--box", "80,10,300", "--weights", small_weights]
    ended, seen = interrupted(signal.SIGTERM, out, portrait, speech, *how)
    assert ended == 143
    assert seen == ["a.depth.part", "a.mp4", "a.mp4.part", "a.preview.mp4.part"]
    assert names(out) == ["a.mp4"]
    assert (out / "a.mp4").read_bytes() == b"of before"


def test_a_real_portrait_says_real_speech(talking_weights: Path, assets: Path, tmp_path: Path) -> None:
    portrait, speech = assets / "portraits" / "astronaut.png", assets / "audio" / "english_radio.wav"
    how = ["--weights", talking_weights, "--few-step", "--max-seconds", 0.5]
    assert jdap("talk", portrait, speech, "-o", tmp_path / "talk.mp4", *how) == 0
    data = json.loads((tmp_path / "talk.json").read_text())
    assert data["faces_found"] == 1
    assert data["frames"] == 13
    assert len(frames_of(tmp_path / "talk.mp4", "gray")) == 13


def test_a_photo_is_moved_at_its_own_size_with_depth_beside(assets: Path, given: tuple[Path, Path, Path]) -> None:
    _, out, folder = given
    speech, portrait = speak(folder / "speech.wav", 0.3), assets / "portraits" / "astronaut.png"
    how = ["--by", "warp", "--box", "80,10,300", "--motion", 0, "--seed", 2]
    assert jdap("talk", portrait, speech, "-o", out / "talk.mp4", *how) == 0
    assert names(out) == ["talk.depth.mkv", "talk.json", "talk.mp4", "talk.preview.mp4"]
    pictures, depth = frames_of(out / "talk.mp4", "rgb24"), frames_of(out / "talk.depth.mkv", "gray16le")
    assert pictures.shape == (8, 300, 300, 3)  # ceil(0.3 · 25)
    assert depth.shape == (8, 300, 300)
    own = crop_frame(np.asarray(Image.open(portrait).convert("RGB")), np.array([80.0, 10.0, 300.0]), 300)
    off = np.abs(pictures[0].astype(float) - own)
    assert off[:40].mean() < 4  # above the mouth all is the photo, but for x264
    # The face is nearer than what is behind it.
    near = from_uint16(depth[0])
    assert near[120:180, 120:180].mean() < near[:20, :20].mean() - 0.5
    data = json.loads((out / "talk.json").read_text())
    assert (data["frames"], data["fps"], data["made_by"]["by"], data["made_by"]["seed"]) == (8, 25.0, "warp", 2)
    assert data["made_by"]["weights"] == "shipped:image-tiny"


def test_videos_of_several_seeds_are_those_of_single_ones(
    assets: Path, small_weights: Path, given: tuple[Path, Path, Path]
) -> None:
    _, out, folder = given
    speech, portrait = speak(folder / "speech.wav", 0.04), assets / "portraits" / "astronaut.png"
    how = ["--by", "warp", "--box", "80,10,300", "--weights", small_weights, "--no-preview"]
    assert jdap("talk", portrait, speech, "-o", out / "a.mp4", *how, "--seeds", 2) == 0
    assert jdap("talk", portrait, speech, "-o", out / "b.mp4", *how, "--seed", 1) == 0
    together, alone = (frames_of(out / f"{name}.depth.mkv", "gray16le") for name in ("a-seed1", "b"))
    assert np.array_equal(together, alone)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--by", "warp", "--steps", 4], "--steps: only with --by model"),
        (["--by", "warp", "--few-step"], "--few-step: only with --by model"),
        (["--lips", 2, "--motion", 0], "--lips, --motion: only with --by warp"),
        (["--turns", "nod.mp4"], "--turns: only with --by warp"),
        (["--by", "warp", "--turns", "nod.mp4", "--motion", 2], "with --turns it does not: leave it out"),
    ],
)
def test_options_of_the_other_way_are_refused(
    options: list[Any], named: str, given: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    portrait, out, folder = given
    assert jdap("talk", portrait, speak(folder / "s.wav", 0.2), "-o", out / "talk.mp4", *options) == 2
    assert named in capsys.readouterr().err
    assert not out.exists()


def test_a_photo_without_a_face_cannot_be_moved(
    assets: Path, given: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    portrait, out, folder = given
    how = ["--by", "warp", "--no-crop"]
    assert jdap("talk", portrait, speak(folder / "s.wav", 0.2), "-o", out / "talk.mp4", *how) == 2
    assert "no face" in capsys.readouterr().err
    assert not out.exists()
