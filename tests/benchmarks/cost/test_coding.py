import csv
import json

import fakes
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.cost import coding
from benchmarks.cost.coding import (
    CONFIDENCE,
    DEPTH,
    MEMBER_KINDS,
    RGB,
    SKIN_MASK,
    Coding,
    codings,
    measure,
    psnr,
    read_pictures,
)
from jdap.shards import schema


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    fakes.write_fakes(folder, people=3, frames=6, size_px=64)
    return folder


def noise(seed: int = 0) -> np.ndarray:
    """Coloured noise, smooth enough for JPEG and full of chroma."""
    blocks = np.random.default_rng(seed).integers(0, 256, (16, 16, 3))
    return np.kron(blocks, np.ones((2, 2, 1))).astype(np.uint8)


def test_psnr_against_skimage():
    a, b = noise(0), noise(1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255))
    assert psnr(a, a) == float("inf")


def test_every_coding_gives_the_picture_back():
    depth = np.random.default_rng(0).integers(0, 65536, (32, 32)).astype(np.uint16)
    grey = (depth >> 8).astype(np.uint8)
    pictures = {RGB: noise(), DEPTH: depth, SKIN_MASK: grey > 99, CONFIDENCE: grey}
    assert {one.kind for one in codings()} == set(MEMBER_KINDS)
    for one in codings():
        picture = pictures[one.kind]
        decoded = one.decode(one.encode(picture))
        if one.kind != RGB or "PNG" in one.name or "lossless" in one.name:
            assert decoded.dtype == picture.dtype
            np.testing.assert_array_equal(decoded, picture)
        else:
            assert 12 < psnr(decoded, picture) < 60


def test_the_first_of_each_kind_is_what_shards_use():
    by_kind = {kind: [one for one in codings() if one.kind == kind] for kind in MEMBER_KINDS}
    assert (by_kind[RGB][0].encode, by_kind[RGB][0].decode) == (schema.encode_rgb, schema.decode_rgb)
    assert (by_kind[DEPTH][0].encode, by_kind[DEPTH][0].decode) == (schema.encode_depth, schema.decode_depth)
    assert (by_kind[SKIN_MASK][0].encode, by_kind[SKIN_MASK][0].decode) == (schema.encode_skin, schema.decode_skin)
    grey = noise()[..., 0]
    assert by_kind[CONFIDENCE][0].encode(grey) == schema.encode_confidence(grey / np.float32(255))
    assert len({one.name for one in codings() if one.kind == RGB}) == len(by_kind[RGB])


def test_settings_reach_the_coder():
    rows = {one.name: measure(one, [noise()], 1) for one in codings() if one.kind == RGB}
    assert rows["JPEG 85 4:4:4"]["bytes"] < rows["JPEG 90 4:4:4"]["bytes"] < rows["JPEG 95 4:4:4"]["bytes"]
    assert rows["JPEG 95 4:2:0"]["bytes"] < rows["JPEG 95 4:4:4"]["bytes"]
    assert rows["JPEG 95 4:2:0"]["psnr_db"] < rows["JPEG 95 4:4:4"]["psnr_db"] - 3
    # Of small pictures with tables of their own: the same pixels, fewer bytes.
    assert rows["shards: JPEG 95 4:4:4"]["bytes"] < rows["JPEG 95 4:4:4"]["bytes"]
    assert rows["shards: JPEG 95 4:4:4"]["psnr_db"] == rows["JPEG 95 4:4:4"]["psnr_db"]
    assert rows["PNG level 6"]["psnr_db"] is None


def test_means_are_over_pictures_and_the_worst_is_the_worst():
    coder = next(one for one in codings() if one.name == "JPEG 85 4:2:0")
    pictures = [noise(1), np.full((32, 32, 3), 100, np.uint8), noise(2)]
    row = measure(coder, pictures, 1)
    sizes = [len(coder.encode(p)) for p in pictures]
    lost = [psnr(coder.decode(coder.encode(p)), p) for p in (pictures[0], pictures[2])]
    assert row["bytes"] == round(np.mean(sizes))
    assert row["psnr_db"] == pytest.approx(np.mean(lost), abs=0.01)
    assert row["psnr_worst_db"] == pytest.approx(min(lost), abs=0.01)
    assert row["encode_ms"] > 0
    assert row["decode_ms"] > 0


def test_depth_may_lose_nothing():
    lossy = Coding(DEPTH, "lossy", schema.encode_depth, lambda data: schema.decode_depth(data) | 1)
    with pytest.raises(BenchmarkError, match="lossy does not give depth back"):
        measure(lossy, [np.zeros((8, 8), np.uint16)], 1)


def test_pictures_are_those_of_the_shards(folder):
    pictures = list(read_pictures(str(folder), limit=100, shrink=1))
    assert len(pictures) == 3 * coding.FRAMES_DECODED
    sample = fakes.sample(index=0, frames=6, size_px=64)
    np.testing.assert_array_equal(pictures[0][DEPTH], np.rint(sample.depth_mm_FHW[0] * 10))
    np.testing.assert_array_equal(pictures[3][DEPTH], np.rint(sample.depth_mm_FHW[5] * 10))
    assert len(list(read_pictures(str(folder), limit=5, shrink=1))) == 5


def test_shrinking_averages_rgb_and_never_depth(folder):
    whole, half = (next(read_pictures(str(folder), 1, shrink)) for shrink in (1, 2))
    by_hand = whole[RGB].reshape(32, 2, 32, 2, 3).mean((1, 3))
    np.testing.assert_allclose(half[RGB], by_hand, atol=0.51)
    np.testing.assert_array_equal(half[DEPTH], whole[DEPTH][::2, ::2])


def test_the_command_writes_its_table(folder, tmp_path, capsys):
    arguments = ["--limit", "2", "--repeats", "1"]
    assert main(["coding", "--shards", str(folder), "--out", str(tmp_path / "out"), *arguments]) == 0
    result = json.loads((tmp_path / "out/coding.json").read_text())
    # The fakes know their depth: they have no confidence.
    assert [row["coding"] for row in result["rows"]] == [one.name for one in codings() if one.kind != CONFIDENCE]
    assert all(row["n"] == 2 and row["size_px"] == 64 for row in result["rows"])
    assert result["stamp"]["shrink"] == 1
    with (tmp_path / "out/coding.csv").open() as file:
        assert [int(row["bytes"]) for row in csv.DictReader(file)] == [row["bytes"] for row in result["rows"]]
    printed = capsys.readouterr().out
    assert "shards: JPEG 95 4:4:4" in printed
    assert "shards: PNG up, level 5" in printed


def test_bad_shards_are_one_line(folder, tmp_path, capsys):
    data = (folder / "fakes-000000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 3])
    assert main(["coding", "--shards", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "cut.tar" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="2"):
        main(["coding", "--shards", "x", "--out", "y", "--limit", "0"])
