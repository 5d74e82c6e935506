"""The layouts of FLAME and Basel, in small: units, orders, the jaw by full skinning, and every way to be wrong."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from face_models import Drawn, flame_members, write_bfm_2009, write_bfm_2017
from scipy.spatial.transform import Rotation

from data_prep.convert.layouts import RawModel, read_bfm, read_flame
from data_prep.head.ict import ModelFileError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "face_models.md"


@pytest.fixture
def octahedron() -> Drawn:
    """100 mm across, triangles outwards, three identity modes and two expressions."""
    rng = np.random.default_rng(0)
    mean = np.array([[100, 0, 0], [-100, 0, 0], [0, 100, 0], [0, -100, 0], [0, 0, 100], [0, 0, -100]], float)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    modes = rng.normal(size=(5, 6, 3)) * np.array([9, 5, 2, 3, 1])[:, None, None]
    return Drawn(mean, modes[:3], modes[3:], np.array(faces))


def same(raw: RawModel, drawn: Drawn, expressions: int) -> None:
    np.testing.assert_allclose(raw.mean_V3, drawn.mean, atol=1e-4)
    np.testing.assert_allclose(raw.identity_KV3, drawn.identity, atol=1e-4)
    np.testing.assert_allclose(raw.expression_JV3[:expressions], drawn.expression[:expressions], atol=1e-4)
    assert raw.faces_T3.tolist() == drawn.faces.tolist()
    assert raw.faces_T3.dtype == np.int64


def test_flame_is_metres(octahedron: Drawn, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **flame_members(octahedron))
    raw = read_flame(tmp_path / "f.npz", shape_modes=3)
    same(raw, octahedron, 2)
    assert len(raw.expression_JV3) == 2
    assert raw.uv_U2.shape == (0, 2)
    assert (raw.uv_faces_T3 == -1).all()
    # Without the number, 400 directions are asked for: 300 and 100.
    with pytest.raises(ModelFileError, match=r"5 directions.*--shape-modes"):
        read_flame(tmp_path / "f.npz")
    members = flame_members(octahedron) | {"shapedirs": np.zeros((6, 3, 400))}
    np.savez(tmp_path / "f.npz", **members)
    assert [len(x) for x in (read_flame(tmp_path / "f.npz").identity_KV3, raw.expression_JV3)] == [300, 2]


def test_flames_jaw_is_linear_blend_skinning(octahedron: Drawn, tmp_path: Path) -> None:
    """Against the skinning of a whole chain of joints with homogeneous matrices, as its paper has it."""
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(5), 6)
    regressor = rng.dirichlet(np.ones(6), 5)
    correctives = rng.normal(size=(6, 3, 36)) * 1e-3
    members = {"J_regressor": regressor, "weights": weights, "posedirs": correctives}
    np.savez(tmp_path / "f.npz", **flame_members(octahedron), **members)
    raw = read_flame(tmp_path / "f.npz", shape_modes=3)
    assert len(raw.expression_JV3) == 2 + 3
    mean = octahedron.mean / 1000
    joints, parents = regressor @ mean, [-1, 0, 1, 1, 1]
    for row, turn in zip(raw.expression_JV3[2:], [(0.3, 0, 0), (0, 0.1, 0), (0, 0, 0.1)], strict=True):
        turns = [np.eye(3)] * 5
        turns[2] = Rotation.from_rotvec(turn).as_matrix()
        feature = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[1:]])
        posed = mean + correctives @ feature
        world: list[np.ndarray] = []
        for joint, parent in enumerate(parents):
            local = np.eye(4)
            local[:3, :3] = turns[joint]
            local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
            world.append(world[parent] @ local if joint else local)
        for matrix, joint in zip(world, joints, strict=True):
            matrix[:3, 3] -= matrix[:3, :3] @ joint
        blended = np.einsum("vj,jab->vab", weights, np.stack(world))
        moved = (blended @ np.column_stack([posed, np.ones(6)])[..., None])[:, :3, 0]
        np.testing.assert_allclose(row, (moved - mean) * 1000, atol=1e-3)


def test_basel_2009_is_micrometres_from_one(octahedron: Drawn, tmp_path: Path) -> None:
    write_bfm_2009(tmp_path / "01_MorphableModel.mat", octahedron)
    raw = read_bfm(tmp_path / "01_MorphableModel.mat")
    same(raw, octahedron, 0)
    assert raw.expression_JV3.shape == (0, 6, 3)
    assert read_bfm(tmp_path / "01_MorphableModel.mat", 1.0).mean_V3.max() == pytest.approx(1e5)


def test_basel_2017_is_millimetres_and_variances(octahedron: Drawn, tmp_path: Path) -> None:
    write_bfm_2017(tmp_path / "model2017.h5", octahedron)
    same(read_bfm(tmp_path / "model2017.h5"), octahedron, 2)


def test_triangles_are_turned_outwards(octahedron: Drawn, tmp_path: Path) -> None:
    inwards = Drawn(octahedron.mean, octahedron.identity, octahedron.expression, octahedron.faces[:, [0, 2, 1]])
    write_bfm_2009(tmp_path / "m.mat", inwards)
    same(read_bfm(tmp_path / "m.mat"), octahedron, 0)


def test_texture_coordinates_follow_the_triangles(octahedron: Drawn, tmp_path: Path) -> None:
    corners = np.arange(24).reshape(8, 3) % 7
    members = flame_members(octahedron) | {"vt": np.linspace(0, 1, 14).reshape(7, 2), "ft": corners[:, [0, 2, 1]]}
    members["f"] = octahedron.faces[:, [0, 2, 1]]
    np.savez(tmp_path / "f.npz", **members)
    raw = read_flame(tmp_path / "f.npz", shape_modes=3)
    assert raw.faces_T3.tolist() == octahedron.faces.tolist()
    assert raw.uv_faces_T3.tolist() == corners.tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"v_template": None}, "lacks v_template; it has "),
        ({"v_template": np.zeros((6, 2))}, r"v_template must be \(None, 3\), got \(6, 2\)"),
        ({"v_template": np.full((6, 3), np.inf)}, "v_template holds numbers that are not finite"),
        ({"shapedirs": np.zeros((5, 3, 5))}, r"shapedirs must be \(6, 3, None\)"),
        ({"shapedirs": np.zeros((6, 3, 0))}, "shapedirs must be"),
        ({"f": np.array([[0, 1, 6]])}, "its triangles name vertices outside of 0 … 5"),
        ({"f": np.array(["a"])}, r"f must be numbers \(None, 3\), got <U1"),
        ({"J_regressor": np.ones((5, 6))}, "lacks weights"),
        ({"f": np.array([[None]], dtype=object)}, "holds pickled objects.*docs/face_models.md"),
    ],
)
def test_a_broken_flame_file_says_what_is_wrong(octahedron: Drawn, tmp_path: Path, change, says: str) -> None:
    members = {name: value for name, value in (flame_members(octahedron) | change).items() if value is not None}
    np.savez(tmp_path / "f.npz", **members)
    with pytest.raises(ModelFileError, match=rf"f\.npz.*{says}"):
        read_flame(tmp_path / "f.npz", shape_modes=3)


def test_a_wrong_number_of_modes_is_refused(octahedron: Drawn, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **flame_members(octahedron))
    for wrong in (0, 6):
        with pytest.raises(ModelFileError, match=f"--shape-modes {wrong} of 5 directions"):
            read_flame(tmp_path / "f.npz", shape_modes=wrong)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m.mat", b"", "cannot be read as a .mat file"),
        ("m.mat", b"hello" * 40, "cannot be read as a .mat file"),
        ("m.mat", None, "cannot be read as a .mat file: No such file"),
        ("m.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF", "is a MATLAB 7.3 file.*-v7"),
        ("m.h5", b"hello", "cannot be read as an .h5 file"),
        ("m.h5", None, "cannot be read as an .h5 file: "),
        ("m.obj", b"", r"is a \.mat \(2009\) or an \.h5 file \(2017, 2019\)"),
    ],
)
def test_a_broken_basel_file_says_what_is_wrong(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"{name}.*{says}"):
        read_bfm(tmp_path / name)


def test_a_basel_file_that_lacks_something(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "m.mat", {"shapeMU": np.zeros((6, 1))})
    with pytest.raises(ModelFileError, match="lacks shapePC; it has "):
        read_bfm(tmp_path / "m.mat")
    scipy.io.savemat(tmp_path / "m.mat", {"shapeMU": np.zeros((7, 1)), "shapePC": np.ones((7, 1)), "shapeEV": [[1.0]]})
    with pytest.raises(ModelFileError, match="7 coordinates"):
        read_bfm(tmp_path / "m.mat")


def test_h5_without_h5py_names_the_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModelFileError, match=r"pip install jdap\[basel\]"):
        read_bfm(tmp_path / "m.h5")


def test_the_documented_script_turns_a_pickle_into_an_npz(octahedron: Drawn, tmp_path: Path) -> None:
    """A pickle with FLAME's kinds of members: arrays, a sparse regressor, and arrays behind an attribute ``r``."""
    members: dict[str, object] = dict(flame_members(octahedron))
    regressor = np.random.default_rng(2).dirichlet(np.ones(6), 5)
    members |= {"J_regressor": scipy.sparse.csc_matrix(regressor), "weights": np.full((6, 5), 0.2), "bs_style": "lbs"}
    with (tmp_path / "generic_model.pkl").open("wb") as file:
        pickle.dump(members, file)
    with pytest.raises(ModelFileError, match=r"generic_model\.pkl: .*docs/face_models\.md"):
        read_flame(tmp_path / "generic_model.pkl")
    script = re.search(r"```python\n(# flame_to_npz.py.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert script
    command = [sys.executable, "-c", script[1], "generic_model.pkl", "flame.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    raw = read_flame(tmp_path / "flame.npz", shape_modes=3)
    same(raw, octahedron, 2)
    assert len(raw.expression_JV3) == 5
