"""``jdap depth``, ``relight``, ``edit`` and ``export`` on every kind of picture there is: each does what is right, or
says in one line what is wrong, which names the file."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.__main__ import main
from jdap.photos.made import Made

SIZE = 96
COMMANDS = {"depth": Made.DEPTH, "relight": Made.RELIT, "edit": Made.EDIT, "export": Made.MESH}


def head(size: int = SIZE) -> Image.Image:
    """Smooth colours of skin."""
    coarse = np.random.default_rng(0).uniform(0.6, 1, (6, 6, 3)) * (225, 170, 140)
    return Image.fromarray(coarse.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)


def run(command: str, photo: Path, folder: Path, *more: object, weights: Path, crop: str = "--no-crop") -> int:
    """The command on one photo, which writes below a folder."""
    words: list[object] = [command, photo, "--weights", weights, "--device", "cpu", *more, *([crop] if crop else [])]
    if command == "export":
        words += ["-o", folder / "photo.glb", "--size", 24]
    else:
        words += ["--out", folder]
    if command == "relight" and "--light" not in more:
        words += ["--light", "30,20"]
    if command == "edit":
        words += ["--mask", folder.parent / "mask.png", "--steps", 2]
    return main([str(word) for word in words])


def message(command: str, folder: Path, status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that failed: in a row, or in one line on stderr."""
    error = capsys.readouterr().err.strip()
    if command == "export" or status == 2:
        assert len(error.splitlines()) == 1
        return error
    (row,) = map(json.loads, (folder / COMMANDS[command].rows).read_text().splitlines())
    assert row["status"] == "failed"
    assert len(row["message"].splitlines()) == 1
    return f"{row['source']}: {row['message']}"


def made(command: str, folder: Path) -> tuple[int, int] | None:
    """Width and height of the picture that a command writes; None of a mesh."""
    if command == "export":
        return None
    with Image.open(folder / COMMANDS[command].of("photo", "png")) as image:
        return image.size


def transparent() -> Image.Image:
    picture = head().convert("RGBA")
    picture.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))))
    return picture


def palette() -> Image.Image:
    return head().quantize(16)


def deep() -> Image.Image:
    return Image.fromarray(np.asarray(head().convert("L")).astype(np.uint16) * 257)


def of_mode(mode: str) -> Callable[[], Image.Image]:
    return lambda: head().convert(mode)


#: What a picture may be: name of the file, and the picture.
READ: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "grey": ("photo.png", of_mode("L")),
    "grey with alpha": ("photo.png", of_mode("LA")),
    "alpha": ("photo.png", transparent),
    "palette": ("photo.gif", palette),
    "CMYK": ("photo.jpg", of_mode("CMYK")),
    "16 bits": ("photo.png", deep),
    "1 bit": ("photo.png", of_mode("1")),
    "tiny": ("photo.png", lambda: head(20)),
    "huge": ("photo.jpg", lambda: head(1400)),
    "black": ("photo.png", lambda: Image.new("RGB", (SIZE, SIZE))),
    "white": ("photo.png", lambda: Image.new("RGB", (SIZE, SIZE), "white")),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", READ)
def test_any_kind_of_picture_is_read(command: str, kind: str, small_weights: Path, tmp_path: Path) -> None:
    name, picture = READ[kind]
    image = picture()
    image.save(tmp_path / name)
    Image.new("L", image.size, 255).save(tmp_path / "mask.png")
    assert run(command, tmp_path / name, tmp_path / "out", weights=small_weights) == 0
    assert made(command, tmp_path / "out") in (None, image.size)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_is_turned_as_its_exif_says(command: str, small_weights: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    head().crop((0, 0, SIZE, 64)).save(tmp_path / "photo.png", exif=exif)
    Image.new("L", (64, SIZE), 255).save(tmp_path / "mask.png")  # of the upright photo
    box = ["--box", "0,0,64"]
    assert run(command, tmp_path / "photo.png", tmp_path / "out", *box, weights=small_weights, crop="") == 0
    assert made(command, tmp_path / "out") in (None, (64, SIZE))


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    head(300).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def too_large(path: Path) -> None:
    """A PNG that says it has more pixels than anybody's camera."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


#: What cannot be worked on: name of the file, how it is made, and what is said.
REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("photo.png", lambda path: None, "no such file"),
    "HEIC": ("photo.heic", lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(64)), "convert it to JPEG"),
    "text": ("photo.png", lambda path: path.write_text("a letter"), "no picture of a known kind"),
    "empty": ("photo.jpg", empty_file, "the file is empty"),
    "cut short": ("photo.jpg", cut_short, "damaged"),
    "too many pixels": ("photo.png", too_large, "more than 179 million pixels; make it smaller"),
    "not square": ("photo.png", lambda path: head().crop((0, 0, SIZE, 40)).save(path), "no square"),
    "one pixel": ("photo.png", lambda path: head(1).save(path), "16 pixels or more"),
    "numbers with a point": (
        "photo.tif",
        lambda path: Image.fromarray(np.ones((SIZE, SIZE), "f4")).save(path),
        "8- or",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_with_a_picture_is_one_line(
    command: str, kind: str, small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, make, says = REFUSED[kind]
    make(tmp_path / name)
    size = (SIZE, 40) if kind == "not square" else (1, 1) if kind == "one pixel" else (SIZE, SIZE)
    Image.new("L", size, 255).save(tmp_path / "mask.png")
    status = run(command, tmp_path / name, tmp_path / "out", weights=small_weights)
    assert status == (2 if command == "export" else 1)
    told = message(command, tmp_path / "out", status, capsys)
    assert str(tmp_path / name) in told
    assert says in told


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_without_a_face_and_one_with_two(
    command: str, assets: Path, small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
    Image.new("L", (200, 200), 255).save(tmp_path / "mask.png")
    status = run(command, tmp_path / "wall.png", tmp_path / "out", weights=small_weights, crop="")
    assert "no face is found" in message(command, tmp_path / "out", status, capsys)

    one = Image.open(assets / "portraits" / "astronaut.png").convert("RGB").crop((130, 0, 330, 220))
    both = Image.new("RGB", (460, 220), "grey")
    both.paste(one, (0, 0))
    both.paste(one.resize((180, 198)), (250, 0))
    both.save(tmp_path / "photo.png")
    Image.new("L", both.size, 255).save(tmp_path / "mask.png")
    where = []
    for number in (1, 2):
        out = tmp_path / str(number)
        how = ["--several", number]
        assert run(command, tmp_path / "photo.png", out, *how, weights=small_weights, crop="") == 0
        data = json.loads((out / COMMANDS[command].of("photo", "json")).read_text())
        where.append(data["window_px"]["left"] + data["window_px"]["size"] / 2)
    assert where[0] < 230 < where[1]
    for asked, says in (("refuse", "2 faces"), (3, "--several 3")):
        out = tmp_path / f"refused {asked}"
        how = ["--several", asked]
        status = run(command, tmp_path / "photo.png", out, *how, weights=small_weights, crop="")
        assert says in message(command, out, status, capsys)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["below a file", "a file", "a file system that takes none"])
def test_a_place_that_cannot_be_written(
    command: str, place: str, small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may write into any folder, so these are places where nobody can."""
    head().save(tmp_path / "photo.png")
    Image.new("L", (SIZE, SIZE), 255).save(tmp_path / "mask.png")
    (tmp_path / "file").write_text("in the way")
    out = {"below a file": tmp_path / "file" / "out", "a file": tmp_path / "file"}.get(place, Path("/proc/jdap/out"))
    if place.startswith("a file system") and not Path("/proc/self").is_dir():
        pytest.skip("needs /proc, where no folder can be made")
    mask = ["--mask", tmp_path / "mask.png", "--steps", 2] if command == "edit" else []
    light = ["--light", "30,20"] if command == "relight" else []
    target = ["-o", out / "photo.glb"] if command == "export" else ["--out", out]
    how = [*mask, *light, *target, "--weights", small_weights, "--device", "cpu", "--no-crop"]
    assert main([str(word) for word in (command, tmp_path / "photo.png", *how)]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert str(out.parent if place.startswith("a file system") else tmp_path / "file") in error
    assert "--out" in error


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("relight", ["--light", "0,0,0", "--ambient", "0"], "a light of zero"),
        ("relight", ["--light", "30,20", "--like", "black.png"], "black.png: a light of zero"),
        ("relight", ["--environment", "black.png"], "no panorama"),
        ("relight", ["--environment", "night.png"], "night.png: the panorama is black"),
        ("relight", ["--light", "30,20", "--depth", "photo.png"], "16-bit"),
        ("relight", ["--light", "30,20", "--depth", "far.png"], "too few"),
        ("edit", ["--depth", "photo.png"], "16-bit"),
        ("edit", ["--reference", "nowhere.png"], "nowhere.png: no such file"),
        ("edit", ["--mask", "nowhere.png"], "nowhere.png: no such file"),
        ("export", ["--size", "1"], "no depth to make a mesh of"),
    ],
)
def test_what_comes_with_a_picture(
    command: str,
    options: list[str],
    says: str,
    small_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    head().save("photo.png")
    Image.new("RGB", (SIZE, SIZE)).save("black.png")
    Image.new("RGB", (64, 32)).save("night.png")
    Image.fromarray(np.full((SIZE, SIZE), 65535, np.uint16)).save("far.png")
    Image.new("L", (SIZE, SIZE), 255).save("mask.png")
    words = [command, "photo.png", "--weights", str(small_weights), "--device", "cpu", "--no-crop"]
    words += ["-o", "out/photo.glb"] if command == "export" else ["--out", "out"]
    words += ["--mask", "mask.png", "--steps", "2"] if command == "edit" else []
    status = main([*words, *options])
    assert status in (1, 2)
    assert says in message(command, Path("out"), status, capsys)
