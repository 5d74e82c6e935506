"""The project's own file of a face model: what is written comes back, and nothing else is taken for one."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from data_prep.head.files import FaceModel, load_face_model, read_arrays, save_face_model
from data_prep.head.ict import ModelFileError
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence
from data_prep.head.model import MorphableModel

SUFFIXES = ("safetensors", "npz")


@pytest.fixture(scope="module")
def face() -> FaceModel:
    """Four vertices and two triangles with random numbers."""
    draw = torch.Generator().manual_seed(0)
    model = MorphableModel(
        torch.randn(4, 3, generator=draw),
        torch.randn(5, 4, 3, generator=draw),
        torch.randn(2, 4, 3, generator=draw),
        ("jawOpen", "eyeBlink_L"),
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
        torch.tensor([0, 6]),
        torch.tensor([True, False]),
        torch.tensor([True, False]),
        torch.zeros(0, 2),
        torch.full((2, 3), -1),
    )
    weights = torch.rand(LANDMARK_COUNT, 3, generator=draw)
    points = Correspondence(torch.randint(4, (LANDMARK_COUNT, 3), generator=draw), weights, weights[:, 0] + 0.1)
    return FaceModel(model, points, "flame", "mine.npz 0123", np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_comes_back(face: FaceModel, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"model.{suffix}"
    save_face_model(path, face)
    back = load_face_model(path)
    assert (back.kind, back.source) == ("flame", "mine.npz 0123")
    assert np.array_equal(back.own_expression_EJ, face.own_expression_EJ)
    for part in ("model", "correspondence"):
        for field in fields(getattr(face, part)):
            wrote, read = (getattr(getattr(one, part), field.name) for one in (face, back))
            assert torch.equal(wrote, read) if isinstance(wrote, torch.Tensor) else wrote == read, field.name
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    # The same numbers are the same bytes.
    save_face_model(tmp_path / f"again.{suffix}", face)
    if suffix == "safetensors":  # an npz holds the time
        assert (tmp_path / f"again.{suffix}").read_bytes() == path.read_bytes()


def test_a_model_without_expressions_of_its_own(face: FaceModel, tmp_path: Path) -> None:
    save_face_model(tmp_path / "m.npz", replace(face, own_expression_EJ=np.zeros((2, 0), np.float32)))
    assert load_face_model(tmp_path / "m.npz").own_expression_EJ.shape == (2, 0)
    assert "own_expression" not in read_arrays(tmp_path / "m.npz")[0]


def broken(face: FaceModel, folder: Path, change: dict[str, np.ndarray | None], texts: dict[str, str]) -> Path:
    save_face_model(folder / "whole.safetensors", face)
    arrays, said = read_arrays(folder / "whole.safetensors")
    arrays = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    path = folder / "broken.safetensors"
    path.write_bytes(safetensors.numpy.save(arrays, {"texts": json.dumps({**said, **texts})}))
    return path


@pytest.mark.parametrize(
    ("change", "texts", "says"),
    [
        ({"mean": None}, {}, r"is no face model of this project \(mean\): make it with `python -m data_prep convert"),
        ({}, {"format": "2"}, r"is no face model of this project \(format\)"),
        ({}, {"part_names": "nose"}, "made by another version"),
        ({"mean": np.zeros((4, 3))}, {}, "mean must be float32, got float64"),
        ({"identity": np.zeros((5, 3, 3), np.float32)}, {}, r"identity_KV3 must be \(5, 4, 3\)"),
        ({"faces": np.array([[0, 1, 4], [0, 2, 3]], np.int32)}, {}, r"faces reaches outside of 0 … 3"),
        ({"corners": np.full((LANDMARK_COUNT, 3), -1, np.int32)}, {}, "corners reaches outside"),
        ({"part": np.array([0, 200], np.uint8)}, {}, "part reaches outside"),
        ({"mean": np.full((4, 3), np.nan, np.float32)}, {}, "mean holds numbers that are not finite"),
        ({"trust": np.ones(3, np.float32)}, {}, "needs corners and weights"),
        ({}, {"expression_names": "jawOpen"}, "expression_EV3 must be"),
    ],
)
def test_a_broken_file_says_what_is_wrong(face: FaceModel, tmp_path: Path, change, texts, says: str) -> None:
    with pytest.raises(ModelFileError, match=rf"broken\.safetensors.*{says}"):
        load_face_model(broken(face, tmp_path, change, texts))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m.npz", None, "cannot be read: No such file"),
        ("m.npz", b"", "cannot be read"),
        ("m.npz", b"PK\x03\x04 and no more", "cannot be read"),
        ("m.safetensors", b"", "cannot be read"),
        ("m.safetensors", b"\xff" * 64, "cannot be read"),
        ("m.pkl", b"\x80\x04.", r"ends in \.safetensors or \.npz"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"{name}.*{says}"):
        load_face_model(tmp_path / name)


def test_pickled_members_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", mean=np.array([Trap()], dtype=object))
    with pytest.raises(ModelFileError, match="allow_pickle"):
        load_face_model(tmp_path / "m.npz")
    assert not Trap.sprung


class Trap:
    """Notes that it was unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_the_default_is_ict(assets: Path) -> None:
    face = load_face_model()
    assert face.model.mean_V3.shape == (26719, 3)
    assert face.correspondence.trust_N.shape == (LANDMARK_COUNT,)
    with pytest.raises(ModelFileError, match="without --face-model"):
        load_face_model(assets / "ict_facekit" / "ict_face_model_full.npz")
