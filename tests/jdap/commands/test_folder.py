"""Which files of a folder are photos, and what becomes of those that cannot be read."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.__main__ import main
from jdap.photos.folder import is_made_here, photos_in
from jdap.photos.inputs import read_depth
from jdap.photos.made import Made
from jdap.photos.read import PhotoError, read_photo

HEIC = b"\0\0\0\x18ftypheic" + bytes(100)


def photo(path: Path, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path, kind)
    return path


def depth(weights: Path, *args: object) -> int:
    return main([str(a) for a in ("depth", *args, "--weights", weights, "--device", "cpu", "--no-crop")])


def rows(out: Path) -> dict[str, dict]:
    found = map(json.loads, (out / Made.DEPTH.rows).read_text(encoding="utf-8").splitlines())
    return {Path(row["source"]).name: row for row in found}


def test_a_folder_with_what_lies_beside_photos(small_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    photo(folder / "me.jpg")
    photo(folder / "B.PNG")
    (folder / "._me.jpg").write_bytes(b"\0\5\x16\7" + bytes(200))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "IMG_1.HEIC").write_bytes(HEIC)
    for name in ("paper.pdf", "film.mpg", "icon.ico", "data.h5", "drawing.eps", "notes.txt"):
        (folder / name).write_bytes(b"x")
    assert depth(small_weights, folder, "--out", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert {name: row["status"] for name, row in found.items()} == {
        "B.PNG": "done",
        "IMG_1.HEIC": "failed",
        "me.jpg": "done",
    }
    assert found["IMG_1.HEIC"]["message"] == "HEIC, which is not read; convert it to JPEG or PNG"


def test_results_in_the_folder_of_the_photos_are_no_photos(small_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "same"
    photo(folder / "a.png")
    photo(folder / "b.depth.png")  # somebody's own, whatever it is called
    for _ in range(2):
        assert depth(small_weights, folder, "--out", folder, "--ensemble", "2") == 0
        assert set(rows(folder)) == {"a.png", "b.depth.png"}
    arguments = ["generate", "--reference", folder, "--out", folder, "--weights", small_weights, "--no-crop"]
    assert main([str(a) for a in [*arguments, "--device", "cpu", "--steps", "1", "--count", "2"]]) == 0
    assert [path.name for path in photos_in(folder)] == ["a.png", "b.depth.png"]
    # Pictures of other folders are known by what lies beside them, too; without it they are anybody's.
    (folder / "a.depth.json").unlink()
    assert "a.depth.png" in [path.name for path in photos_in(folder)]


def test_names_that_are_no_utf8(small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"lat\xe9.png")
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "plain.png").rename(tmp_path / "in" / name)
    photo(tmp_path / "in" / "other.png")
    assert depth(small_weights, tmp_path / "in", "--out", tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert set(found) == {name, "other.png"}
    assert all((tmp_path / "out" / file).is_file() for file in found[name]["files"])
    data = json.loads((tmp_path / "out" / os.fsdecode(b"lat\xe9.depth.json")).read_text(encoding="utf-8"))
    assert Path(data["source"]).name == name
    assert "lat" in capsys.readouterr().out


def test_a_folder_that_must_not_be_read_is_a_row(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locked"
    photo(folder / "a.png")
    real = Path.iterdir

    def refusing(self: Path):  # root may read everything
        if self == folder:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    assert depth(small_weights, folder, photo(tmp_path / "b.png"), "--out", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert found["locked"]["message"] == "a folder that cannot be searched; change its rights"
    assert found["b.png"]["status"] == "done"


def test_out_that_is_a_file_is_told(small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = photo(tmp_path / "a.png")
    assert depth(small_weights, file, "--out", file) == 2
    assert capsys.readouterr().err == f"error: --out {file}: a file; name a folder\n"


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = (b"IHDR", (8).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    rows = (b"IDAT", zlib.compress((b"\0" + bytes(24)) * 8))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in (head, *chunks, rows, (b"IEND", b"")))


LONG = [(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20)))]
MANY = [(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (900 << 10)))] * 80


@pytest.mark.parametrize("chunks", [LONG, MANY, [(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"x" * (2 << 20)))]])
def test_texts_in_a_png_that_are_too_long_cost_that_photo(tmp_path: Path, chunks: list) -> None:
    (tmp_path / "a.png").write_bytes(png(*chunks))
    with pytest.raises(PhotoError, match=r"a\.png: damaged.*(large|memory)"):
        read_photo(tmp_path / "a.png")
    with pytest.raises(PhotoError, match=r"a\.png: (damaged|no 16-bit)"):
        read_depth(tmp_path / "a.png", 8)


@pytest.mark.parametrize("size", ["Infinity", "NaN", "-5", "1e999", '"8"', str(10**400)])
def test_a_window_that_is_none_is_told(tmp_path: Path, size: str) -> None:
    Image.fromarray(np.full((8, 8), 9, np.uint16)).save(tmp_path / "a.depth.png")
    window = f'{{"left": 0, "top": 0, "size": {size}}}'
    (tmp_path / "a.depth.json").write_text(f'{{"depth": {{"files": ["a.depth.png"]}}, "window_px": {window}}}')
    if size == '"8"':
        assert read_depth(tmp_path / "a.depth.png", 8).shape == (8, 8)
        return
    with pytest.raises(PhotoError, match=r"a\.depth\.json: .*a\.depth\.png"):
        read_depth(tmp_path / "a.depth.png", 8)


@pytest.mark.parametrize("word", Made)
def test_what_was_made_is_known_by_its_name(tmp_path: Path, word: str) -> None:
    (tmp_path / f"a.{word}.json").write_text('{"made_by": {"jdap": "0"}}')
    made = [f"a.{word}.png", f"a.{word}2.png", f"a.{word}2.depth.png", f"a.{word}.preview.png"]
    found = [name for name in (*made, f"a.{word}ed.png", f"b.{word}.png", "a.png") if is_made_here(tmp_path / name)]
    assert found == made
