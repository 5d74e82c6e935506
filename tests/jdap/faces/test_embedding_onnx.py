"""Networks for faces in ONNX that hand on the cut-out face, or its mean colour, against another implementation."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import Node, write_convolution, write_flatten, write_mean, write_network
from scipy.ndimage import gaussian_filter
from skimage.transform import SimilarityTransform, warp

from jdap.faces.embedding import load_embedder
from jdap.faces.embedding_onnx import ARCFACE_POINTS, EmbedderError, OnnxEmbedder, cut_out

#: How a cut-out face lies in a picture of 96 pixels; a corner of it is beyond the edge.
ANGLE, SCALE, SHIFT = np.deg2rad(20), 0.45, (8.0, 18.0)
SIDE = 96


def landmarks(times: float = 1.0) -> np.ndarray:
    """(468, 2): only the named ones matter, and eyes' corners lie to either side of their middles."""
    to = SimilarityTransform(scale=SCALE, rotation=ANGLE, translation=SHIFT)
    eye, other, nose, *mouth = to(np.array(ARCFACE_POINTS))
    points, half = np.full((468, 2), np.nan), np.array([3, 1])
    for (a, b), middle in (((33, 133), eye), ((362, 263), other)):
        points[a], points[b] = middle - half, middle + half
    points[1], points[61], points[291] = nose, *mouth
    return points * times


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(SIDE, SIDE, 3) in [-1, 1], smooth."""
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE, 3))
    smooth = gaussian_filter(noise, (3, 3, 0))
    return (smooth / np.abs(smooth).max()).astype(np.float32)


def tensor(picture_HW3: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture_HW3).permute(2, 0, 1)


@pytest.mark.parametrize("side", [112, 128])
def test_faces_are_cut_out_as_by_another_implementation(picture: np.ndarray, side: int) -> None:
    named = landmarks()
    five = np.stack([named[[33, 133]].mean(0), named[[362, 263]].mean(0), named[1], named[61], named[291]]) - 0.5
    to = SimilarityTransform.from_estimate(np.array(ARCFACE_POINTS) * side / 112, five)
    expected = warp(picture + 1, to, output_shape=(side, side), order=1) - 1
    found = cut_out(tensor(picture), named, side).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (found == -1).any()  # beyond the edge it is black


def test_a_larger_picture_gives_the_same_face(picture: np.ndarray) -> None:
    large = torch.nn.functional.interpolate(tensor(picture)[None], (4 * SIDE, 4 * SIDE), mode="bicubic")[0]
    # What lies between its pixels is noise: without averaging it would be seen.
    board = 0.5 * (-1.0) ** torch.arange(4 * SIDE)
    large = large + board[:, None] * board
    one, other = cut_out(tensor(picture), landmarks(), 112), cut_out(large, landmarks(4), 112)
    inside = (one > -1).all(0) & (other > -1).all(0)
    assert inside.double().mean() > 0.5
    assert float((one - other)[:, inside].abs().mean()) < 0.01


def test_points_in_one_place_cut_that_place_out(picture: np.ndarray) -> None:
    found = cut_out(tensor(picture), np.full((468, 2), 48.0), 112)
    own = np.array(ARCFACE_POINTS).mean(0)
    at = np.rint(own).astype(int)
    expected = tensor(picture)[:, 47 + at[1] - int(own[1]), 47 + at[0] - int(own[0])]
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, at[1], at[0]], expected, atol=0.2, rtol=0)


def test_the_network_sees_the_face_and_its_answer_has_length_1(picture: np.ndarray, tmp_path: Path) -> None:
    embedder = load_embedder(write_flatten(tmp_path / "mine.onnx", ("n", 3, 112, 112)))
    assert embedder.name == "mine.onnx"
    both = torch.stack([tensor(picture), tensor(picture).flip(0)])
    found = embedder(both, np.stack([landmarks()] * 2))
    faces = torch.stack([cut_out(one, landmarks(), 112).flatten() for one in both])
    torch.testing.assert_close(found, faces / faces.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), ("n", 3, "s", "s"), (2, 64, 64, 3), (4, 3, 64, 64)])
def test_layout_side_and_batch_are_those_of_the_file(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    over = (1, 2) if shape[3] == 3 else (2, 3)
    embedder = OnnxEmbedder(write_mean(tmp_path / "mean.onnx", shape, over))
    colours = torch.tensor([[0.9, 0.1, -0.4], [0.1, 0.2, 0.3], [-0.5, 0.5, 0.6]])
    everywhere = colours[:, :, None, None].expand(-1, -1, 300, 300)
    found = embedder(everywhere, np.stack([100 + landmarks()] * 3))
    torch.testing.assert_close(found, colours / colours.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_range_and_order_of_colours_are_said_beside_it(tmp_path: Path) -> None:
    file = write_mean(tmp_path / "mean.onnx", ("n", 3, 112, 112), (2, 3))
    (tmp_path / "mean.json").write_text(json.dumps({"range": [0, 255], "bgr": True}))
    everywhere = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 300, 300)[None]
    found = OnnxEmbedder(file)(everywhere, 100 + landmarks()[None])[0]
    expected = torch.tensor([0.0, 127.5, 255.0])
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_text("no network"), "cannot be read as ONNX"),
        (lambda path: write_mean(path, ("n", 5, 4), (2,)), r"takes no faces \(N, 3, S, S\)"),
        (lambda path: write_mean(path, ("n", 3, 64, 32), (2, 3)), "squares"),
        (lambda path: path.with_suffix(".json").write_text('{"range": 3}'), "f.json.*cannot be read as"),
        (lambda path: path.with_suffix(".json").write_text('{"mean": 3}'), r"f.json.*unknown entries \['mean'\]"),
    ],
)
def test_what_is_no_network_for_faces_is_one_line(write, says: str, tmp_path: Path) -> None:
    write(tmp_path / "f.onnx")
    with pytest.raises(EmbedderError, match=says) as error:
        OnnxEmbedder(tmp_path / "f.onnx")
    assert "f." in str(error.value)
    assert "\n" not in str(error.value)


def test_answers_that_are_no_embeddings_are_one_line(tmp_path: Path) -> None:
    pictures, points = torch.zeros(1, 3, 20, 20), np.full((1, 468, 2), 9.0)
    places = write_convolution(tmp_path / "map.onnx", np.eye(3, dtype=np.float32), np.zeros(3, np.float32), side="s")
    with pytest.raises(EmbedderError, match=r"map\.onnx: gives \(1, 3, 112, 112\) for 1 faces"):
        OnnxEmbedder(places)(pictures, points)
    minus = [Node("Flatten", ["in"], "flat"), Node("Sub", ["flat", "flat"], "out")]
    nothing = write_network(tmp_path / "zero.onnx", minus, {"in": ("n", 3, 8, 8)}, {"out": ("n", 192)})
    with pytest.raises(EmbedderError, match=r"zero\.onnx: gives .*nothing but 0"):
        OnnxEmbedder(nothing)(pictures, points)


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"f\.onnx: .*pip install 'jdap\[parser\]'") as error:
        OnnxEmbedder(tmp_path / "f.onnx")
    assert error.value.name == "onnxruntime"
