"""What people have in their folders: every input gets a row with the right kind of reason, and nothing is half written.

All inputs are made here, tiny; one run of ``prepare`` takes them all, and the rows are looked at one by one.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from videos import turn, write

from data_prep.__main__ import main
from data_prep.folders.verify import verify
from data_prep.head.files import load_face_model
from data_prep.head.model import head_to_camera
from jdap.geometry import vertex_normals
from jdap.shape.rasterise import interpolate, rasterise
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample

PX, COUNT = 96, 16
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
Maker = Callable[[Path], object]

#: Faces of the drawings are small, and their sharpness and motion are not what is tested here.
LOW = ["--min", "face_px=20"]
HOUSE = Path(__file__).resolve().parents[3]
NO_FACE = "no face"
#: Every picture by itself, with the stamp that it is given.
INTRA = {"codec": "ffv1", "pix_fmt": "bgr0"}
BAD_FILE = "not a readable video"


@pytest.fixture(scope="module")
def faces(assets: Path) -> list[np.ndarray]:
    """COUNT frames (PX, PX, 3) of a drawn head that turns a little."""
    model = load_face_model().model
    head = model.subset(model.part("face", "head_neck", "sclera"))
    yaw = 0.25 * torch.sin(torch.linspace(0, 6, COUNT))
    vertices = head_to_camera(
        head.mean_V3[None], torch.stack([0 * yaw, yaw, 0 * yaw], 1), torch.tensor([[0.0, 0.0, 800.0]])
    )
    camera = torch.tensor([[2.6 * PX, PX / 2, PX / 2]]).expand(COUNT, -1)
    colour, out = torch.tensor([0.85, 0.65, 0.55]), []
    for posed in vertices.split(1):
        seen = rasterise(posed, head.faces_T3, camera[:1], PX, PX)
        normals = torch.nn.functional.normalize(
            interpolate(seen, head.faces_T3, vertex_normals(posed, head.faces_T3)), dim=-1
        )
        light = torch.where(seen.mask[0, ..., None], (0.2 + 0.8 * -normals[0, ..., 2:]).clamp(0, 1) * colour, 0.4)
        out.append((light * 255).byte().numpy())
    return out


def grey(count: int = 4, height: int = 32, width: int = 32, seed: int = 0) -> list[np.ndarray]:
    """Frames of moving noise, in which no face is."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return [np.roll(noise, k, 1) for k in range(count)]


def tone(seconds: float, channels: int = 1) -> np.ndarray:
    return np.tile(0.3 * np.sin(np.arange(round(seconds * 16000)) * 0.1), (channels, 1)).astype(np.float32)


def truncated(path: Path, share: float, frames: list[np.ndarray], suffix: str = ".mkv") -> None:
    whole = write(path.with_name("whole" + suffix), frames)
    data = whole.read_bytes()
    whole.unlink()
    path.write_bytes(data[: int(len(data) * share)])


def corrupt(path: Path, frames: list[np.ndarray]) -> None:
    write(path, frames, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 600] = b"\xff" * len(data[middle : middle + 600])
    path.write_bytes(data)


def damage_sound(path: Path) -> None:
    """One packet of the sound is no AAC any more."""
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(audio=0) if p.size][4]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)


def long_header(path: Path, frames: list[np.ndarray]) -> None:
    """An mp4 whose headers say that it lasts 27 hours."""
    write(path, frames)
    data = bytearray(path.read_bytes())
    at = data.index(b"mvhd") + 4 + 4 + 8
    scale = struct.unpack(">I", data[at : at + 4])[0]
    data[at + 4 : at + 8] = struct.pack(">I", min(scale * 100_000, 2**32 - 1))
    path.write_bytes(data)


def gif(path: Path, frames: list[np.ndarray]) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=40)


def makers(faces: list[np.ndarray]) -> dict[str, tuple[Maker, str, str]]:
    """File name → (what makes it, status, what its reason says: a part, or nothing for none)."""
    alpha = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in grey()]
    two = [np.concatenate([frame, frame[:, ::-1]], 1) for frame in faces]
    colourless = [np.repeat(f.mean(2, keepdims=True), 3, 2).astype(np.uint8) for f in faces]
    nan = tone(0.8)
    nan[:, 4000:5000] = np.nan
    black = [np.zeros((64, 64, 3), np.uint8)] * COUNT
    turned = [np.ascontiguousarray(np.rot90(frame)) for frame in faces]
    ok = "kept"
    return {
        # -- no video at all
        "zero.mp4": (lambda p: p.write_bytes(b""), "failed", "the file is empty"),
        "text.mp4": (lambda p: p.write_text("this is no video\n" * 50), "failed", BAD_FILE),
        "noise.mkv": (lambda p: p.write_bytes(bytes(range(256)) * 40), "failed", BAD_FILE),
        "html.webm": (lambda p: p.write_text("<!DOCTYPE html><title>403</title>"), "failed", BAD_FILE),
        "zip.avi": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(500)), "failed", BAD_FILE),
        "one byte.mp4": (lambda p: p.write_bytes(b"\0"), "failed", BAD_FILE),
        "header only.mp4": (lambda p: truncated(p, 0.02, grey(), ".mp4"), "failed", BAD_FILE),
        "index lost.mp4": (lambda p: truncated(p, 0.6, grey(), ".mp4"), "failed", BAD_FILE),
        "picture.mp4": (lambda p: Image.fromarray(faces[0]).save(p, "PNG"), "rejected", "short"),
        "audio only.mp4": (lambda p: write(p, [], sound=tone(0.5)), "failed", "no video track"),
        "audio only.wav.mov": (lambda p: write(p, [], sound=tone(0.2), container="mov"), "failed", "no video track"),
        "list.mp4": (
            lambda p: p.write_text("ffconcat version 1.0\nfile frozen.mp4\n"),
            "failed",
            "a list of other files",
        ),
        "playlist.mp4": (
            lambda p: p.write_text("#EXTM3U\n#EXTINF:1,\nfrozen.mp4\n"),
            "failed",
            "a list of other files",
        ),
        # -- damaged, or odd inside
        "truncated.mkv": (lambda p: truncated(p, 0.5, faces), "rejected", "short"),
        "frozen.mp4": (lambda p: write(p, faces[:1] * COUNT), "held", "repeated 0."),
        "corrupt middle.mp4": (lambda p: corrupt(p, faces), "failed", "decoding breaks off"),
        "wrong extension.avi": (lambda p: write(p, faces, container="mp4"), ok, "no audio track"),
        "long header.mp4": (lambda p: long_header(p, grey()), "rejected", NO_FACE),
        "gif.mp4": (lambda p: gif(p, grey()), "rejected", NO_FACE),
        "raw.mpg": (lambda p: write(p, grey(), codec="mpeg1video"), "rejected", NO_FACE),
        # -- how many frames, of which size
        "one frame.mp4": (lambda p: write(p, faces[:1]), "rejected", "short"),
        "two frames.mp4": (lambda p: write(p, faces[:2]), "rejected", "short"),
        "1x1.mkv": (lambda p: write(p, grey(3, 1, 1), codec="ffv1", pix_fmt="bgr0"), "rejected", NO_FACE),
        "17x33.mkv": (lambda p: write(p, grey(4, 33, 17), codec="ffv1", pix_fmt="bgr0"), "rejected", NO_FACE),
        "2x400.mkv": (lambda p: write(p, grey(3, 400, 2), codec="ffv1", pix_fmt="bgr0"), "rejected", NO_FACE),
        "4k.mov": (
            lambda p: write(p, [np.zeros((2160, 3840, 3), np.uint8)], codec="png", pix_fmt="rgb24"),
            "rejected",
            NO_FACE,
        ),
        "portrait.mp4": (lambda p: write(p, grey(4, 80, 40)), "rejected", NO_FACE),
        # -- rotation
        "turned 90.mp4": (lambda p: turn(write(p, turned), 1), ok, "no audio track"),
        "turned 180.mp4": (lambda p: turn(write(p, [f[::-1, ::-1] for f in faces]), 2), ok, "no audio track"),
        "turned 270.mp4": (
            lambda p: turn(write(p, [np.rot90(f, -1) for f in faces]), 3),
            ok,
            "no audio track",
        ),
        "mirrored.mp4": (lambda p: turn(write(p, [f[:, ::-1] for f in faces]), mirrored=True), ok, "no audio track"),
        "slanted.mp4": (lambda p: turn(write(p, grey()), 0.3), "failed", "its display matrix does more"),
        # -- time
        "variable rate.mp4": (
            lambda p: write(p, faces, np.cumsum(np.tile([0.02, 0.06], COUNT // 2)).tolist()),
            ok,
            "no audio track",
        ),
        "1 fps.mp4": (lambda p: write(p, grey(3), rate=1), "rejected", NO_FACE),
        "1000 fps.mp4": (lambda p: write(p, grey(60), rate=1000), "rejected", NO_FACE),
        "starts before zero.mkv": (
            lambda p: write(p, grey(8), [k / 25 - 0.2 for k in range(8)]),
            "rejected",
            NO_FACE,
        ),
        "starts late.mp4": (lambda p: write(p, faces, [k / 25 + 3600 for k in range(COUNT)]), ok, "no audio track"),
        "8 fps.mp4": (lambda p: write(p, faces, rate=8), "held", "source_fps 8"),
        "equal stamps.mkv": (
            lambda p: write(p, grey(20), [(k - (k in (5, 9, 15))) / 25 for k in range(20)], **INTRA),
            "rejected",
            NO_FACE,
        ),
        "wild stamp.mkv": (
            lambda p: write(p, grey(20), [k / 25 + 360_000 * (k == 19) for k in range(20)], **INTRA),
            "rejected",
            NO_FACE,
        ),
        # -- colour
        "10 bit.mkv": (lambda p: write(p, faces, codec="ffv1", pix_fmt="yuv420p10le"), ok, "no audio track"),
        "grey.mkv": (lambda p: write(p, colourless, codec="ffv1", pix_fmt="gray"), ok, "no audio track"),
        "alpha.mov": (lambda p: write(p, alpha, codec="png", pix_fmt="rgba"), "rejected", NO_FACE),
        "interlaced.mpg": (
            lambda p: write(p, grey(), codec="mpeg2video", codec_options={"flags": "+ilme+ildct"}),
            "rejected",
            NO_FACE,
        ),
        # -- sound
        "long sound.mp4": (lambda p: write(p, faces, sound=tone(2.0)), ok, ""),
        "short sound.mp4": (lambda p: write(p, faces, sound=tone(0.2)), ok, ""),
        "no samples.mp4": (lambda p: write(p, faces, sound=tone(0.0)), ok, "no audio track"),
        "nan sound.mkv": (lambda p: write(p, faces, sound=nan, audio_codec="pcm_f32le"), ok, ""),
        "8 channels.mkv": (lambda p: write(p, faces, sound=tone(0.8, 8), audio_codec="pcm_f32le"), ok, ""),
        "192 kHz.mkv": (
            lambda p: write(p, faces, sound=tone(2.0), sound_rate=192000, audio_codec="pcm_f32le"),
            ok,
            "",
        ),
        "damaged sound.mp4": (lambda p: damage_sound(write(p, faces, sound=tone(0.8))), "held", "audio_lost 0."),
        "sound out of phase.mkv": (
            lambda p: write(p, faces, sound=tone(0.8, 2) * [[1], [-1]], audio_codec="pcm_f32le"),
            "held",
            "audio_cancelled 1 is over 0.5",
        ),
        # -- what is seen
        "black.mp4": (lambda p: write(p, black), "rejected", NO_FACE),
        "no face.mp4": (lambda p: write(p, grey()), "rejected", NO_FACE),
        "two faces.mp4": (lambda p: write(p, two), ok, "no audio track"),
        # -- names
        "zoë 東京 🎬.mp4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        "new\nline.mp4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        "-rf.mp4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        "[red] %s {x} $HOME `id`.mp4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        "n" * 240 + ".mp4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        os.fsdecode(b"lat\xe9.mp4"): (lambda p: write(p, grey(4)), "rejected", NO_FACE),
        "UPPER.MP4": (lambda p: write(p, grey(4)), "rejected", NO_FACE),
    }


@pytest.fixture(scope="module")
def folder(faces: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "in"
    root.mkdir()
    for name, (make, _, _) in makers(faces).items():
        make(root / name)
    # Things that are not files, or not files of their own.
    (root / "directory.mp4").mkdir()
    (root / "empty").mkdir()
    (root / "broken link.mp4").symlink_to(root / "nowhere.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "through a link.mp4", grey(4))
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    os.link(root / "no face.mp4", root / "hard link.mp4")
    os.mkfifo(root / "pipe.mp4")
    (root / ".hidden.mp4").write_bytes(b"")
    (root / "notes.txt").write_text("no video, and not named like one")
    (root / "unreadable.mp4").write_bytes((root / "no face.mp4").read_bytes())
    (root / "unreadable.mp4").chmod(0)
    return root


@pytest.fixture(scope="module")
def run(folder: Path) -> tuple[Path, int]:
    """One run over the folder and over some paths by name: the results, and the exit status."""
    out = folder.parent / "out"
    named = [
        folder / name for name in ("broken link.mp4", "loop.mp4", "pipe.mp4", "directory.mp4", "empty", "none.mp4")
    ]
    status = main(["prepare", str(folder), *map(str, named), "--out", str(out), "--size", "32", "--unit-mb", "1", *LOW])
    return out, status


@pytest.fixture(scope="module")
def rows(run: tuple[Path, int]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in map(json.loads, (run[0] / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
        found.setdefault(Path(row["source"]).name, []).append(row)
    return found


EXPECTED = {name: (status, says) for name, (_, status, says) in makers([]).items()}
SPECIAL = {
    "broken link.mp4": ("failed", "no such file (a link that leads nowhere)"),
    "loop.mp4": ("failed", "no such file (a link that leads nowhere)"),
    "pipe.mp4": ("failed", "a pipe or a device"),
    "directory.mp4": ("failed", "the folder holds no video file"),
    "empty": ("failed", "the folder holds no video file"),
    "none.mp4": ("failed", "no such file"),
    "hard link.mp4": ("rejected", NO_FACE),
    "through a link.mp4": ("rejected", NO_FACE),
    "unreadable.mp4": ("rejected", NO_FACE) if ROOT else ("failed", "not a readable video (Permission denied)"),
}


@pytest.mark.parametrize("name", [*EXPECTED, *SPECIAL], ids=lambda name: name[:24].encode("unicode_escape").decode())
@pytest.mark.slow
def test_an_input_has_its_row_and_reason(rows: dict[str, list[dict]], name: str) -> None:
    status, says = (EXPECTED | SPECIAL)[name]
    assert len(rows[name]) == (2 if name == "two faces.mp4" else 1)
    for row in rows[name]:
        assert row["status"] == status
        assert says in row["reason"]
        assert (row["reason"] == "") == (status == "kept" and not says)
        assert "\n" not in row["reason"]
        assert "details" not in row  # what is a bug of ours brings its traceback


@pytest.mark.slow
def test_nothing_else_has_a_row_and_the_exit_status_is_0(run: tuple[Path, int], rows: dict[str, list[dict]]) -> None:
    assert len(EXPECTED) + len(SPECIAL) >= 40
    assert set(rows) == {*EXPECTED, *SPECIAL}
    assert run[1] == 0


@pytest.mark.slow
def test_shards_are_whole_and_nothing_half_written_is_left(run: tuple[Path, int], folder: Path) -> None:
    assert verify(run[0]) == []
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "out"]
    assert not [path for path in run[0].rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
    assert (folder / "zero.mp4").stat().st_size == 0


@pytest.fixture(scope="module")
def samples(run: tuple[Path, int]) -> dict[str, Sample]:
    found = [sample for shard in sorted(run[0].rglob("*.tar")) for sample in read_samples(shard)]
    return {Path(sample.record.source).name: sample for sample in found}


@pytest.mark.slow
def test_faces_stand_upright_however_the_file_is_turned(samples: dict[str, Sample]) -> None:
    upright = samples["frozen.mp4"]
    for name in ("turned 90.mp4", "turned 180.mp4", "turned 270.mp4", "mirrored.mp4"):
        turned = samples[name]
        both = upright.skin_FHW[0] & turned.skin_FHW[0]
        assert both.sum() > 0.9 * upright.skin_FHW[0].sum()
        assert np.abs(np.diff(np.linalg.norm(turned.arrays["rotation"], axis=1))).max() < 0.3
        assert np.linalg.norm(turned.arrays["rotation"][0]) < 0.6
        apart = turned.rgb_FHW3[0].astype(int)[both] - upright.rgb_FHW3[0][both]
        assert np.abs(apart).mean() < 12


@pytest.mark.slow
def test_sound_is_as_long_as_the_picture_and_finite(samples: dict[str, Sample]) -> None:
    for name, sample in samples.items():
        if "sound" in name or "channels" in name or "kHz" in name:
            assert sample.audio is not None, name
            assert len(sample.audio) == sample.record.frames * 640, name
            assert np.isfinite(sample.audio).all(), name
            assert np.abs(sample.audio).max() <= 1
        else:
            assert sample.audio is None, name
    heard = {name: np.sqrt(np.square(s.audio).mean()) for name, s in samples.items() if s.audio is not None}
    assert heard["short sound.mp4"] < 0.8 * heard["long sound.mp4"]
    assert heard["8 channels.mkv"] == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    nan = samples["nan sound.mkv"].audio
    assert nan is not None
    assert np.abs(nan[4100:4900]).max() == 0  # silence where there is no number
    assert np.abs(nan[:3900]).max() > 0.25


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_one_line(faces: list[np.ndarray], tmp_path: Path) -> None:
    """The system's limit of a file's size stands for the disk: no file may be larger than 8 kB."""
    video = write(tmp_path / "a.mp4", faces)
    command = ["prepare", str(video), "--out", str(tmp_path / "out"), "--size", "64", "--workers", "0", *LOW]
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
    code += f"from data_prep.__main__ import main; sys.exit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, cwd=HOUSE)
    assert done.returncode == 2, done.stderr
    assert "error: File too large" in done.stderr
    assert "make room, then run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "out"]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".tar", ".part")]


def test_output_inside_the_input_is_not_read_again(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    command = ["prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "0"]
    for _ in range(2):
        assert main(command) == 0
        assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("place", ["zero.mp4", "zero.mp4/out", "/proc/nowhere/out"])
def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, place: str, capsys) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / place), "--workers", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["zero.mp4"]
