"""Parsers in ONNX: a convolution written by hand, against the same in NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_convolution

from jdap.choices import BACKGROUND, HAIR, PARSED, SKIN
from jdap.faces.parser import load_parser
from jdap.faces.parsing import ParserError

pytest.importorskip("onnxruntime")
WEIGHT = np.array([[6, -6, 0], [0, 6, -6], [-6, 0, 6], [1, 1, 1]], np.float32)
BIAS = np.array([0.5, 0, -0.5, -1], np.float32)
CLASSES = [BACKGROUND, SKIN, HAIR, SKIN]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.json").write_text(json.dumps({"classes": CLASSES, "range": [-1, 1]}))
    return write_convolution(tmp_path / "mine.onnx", WEIGHT, BIAS)


def expected(rgb: np.ndarray) -> np.ndarray:
    logits = (rgb / 127.5 - 1) @ WEIGHT.T + BIAS
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    out = np.zeros((*rgb.shape[:3], len(PARSED)))
    for k, name in enumerate(CLASSES):
        out[..., PARSED.index(name)] += share[..., k]
    return out.transpose(0, 3, 1, 2)


def test_classes_come_in_our_words(file: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    parser = load_parser(str(file))
    assert parser is not None
    np.testing.assert_allclose(parser.shares(rgb), expected(rgb), atol=1e-5)


def test_a_fixed_batch_of_one_and_another_size(file: Path) -> None:
    write_convolution(file, WEIGHT, BIAS, batch=1)
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), (3, 24, 24, 3))
    parser = load_parser(str(file))
    assert parser is not None
    shares = parser.shares(flat)
    assert shares.shape == (3, len(PARSED), 24, 24)
    np.testing.assert_allclose(shares, expected(flat), atol=1e-4)


def test_a_side_that_is_left_open_must_be_said(file: Path) -> None:
    write_convolution(file, WEIGHT, BIAS, side="s")
    with pytest.raises(ParserError, match="side_px"):
        load_parser(str(file))
    file.with_suffix(".json").write_text(json.dumps({"classes": CLASSES, "side_px": 16}))
    assert load_parser(str(file)) is not None


def test_what_does_not_fit_is_told(file: Path, tmp_path: Path) -> None:
    told = file.with_suffix(".json")
    told.write_text(json.dumps({"classes": CLASSES[:3]}))
    parser = load_parser(str(file))
    assert parser is not None
    with pytest.raises(ParserError, match="for 3 classes"):
        parser.shares(np.zeros((1, 16, 16, 3), np.uint8))
    told.write_text(json.dumps({"classes": ["ear"]}))
    with pytest.raises(ParserError, match=r"unknown classes \['ear'\]"):
        load_parser(str(file))
    told.unlink()
    with pytest.raises(ParserError, match=r"write mine\.json beside it"):
        load_parser(str(file))
    told.write_text(json.dumps({"classes": CLASSES}))
    file.write_bytes(b"no network")
    with pytest.raises(ParserError, match="cannot be read as ONNX"):
        load_parser(str(file))
    write_convolution(file, WEIGHT[:, :2], BIAS)
    with pytest.raises(ParserError, match="takes no pictures"):
        load_parser(str(file))
