"""The head model against its files, and both of its file forms against each other."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from data_prep.head.ict import ModelFileError, content_sha256, pack_obj_folder, read_model, read_packed
from data_prep.head.model import PART_NAMES, MorphableModel, head_to_camera, load_ict
from jdap.geometry import project, vertex_normals
from jdap.shape.rasterise import per_face, rasterise


def obj_vertices(path):
    return np.array([[float(x) for x in line.split()[1:]] for line in path.open() if line.startswith("v ")])


def front(model, width=64):
    """A frontal picture of the mean head: fragments, camera and camera-space vertices."""
    vertices = head_to_camera(model.mean_V3[None], torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 900.0]]))
    camera = torch.tensor([[2.5 * width, width / 2, width / 2]])
    return rasterise(vertices, model.faces_T3, camera, width, width), camera, vertices


def test_parts_are_those_of_the_readme(model):
    # Polygons of each part in the README of ICT-FaceKit; all of them are quads but for a few, each cut in two.
    quads = {"face": 9230, "head_neck": 1914, "mouth_socket": 2082, "eye_socket": 808, "iris": 1596, "sclera": 1600}
    for name, count in quads.items():
        triangles = int(model.part(name).sum())
        assert 1.9 * count < triangles <= 2 * count, name
    assert set(PART_NAMES[p] for p in model.face_part_T.tolist()) == set(PART_NAMES)
    assert len(model.faces_T3) == 52220
    with pytest.raises(ValueError, match=r"nose; there are face, "):
        model.part("nose")


def test_units_are_millimetres(model, assets):
    parts = json.loads((assets / "ict_facekit/parts.json").read_text())
    landmarks = model.mean_V3[parts["landmarks_multi_pie_68"]]
    # Outer eye corners of adults are 85 to 105 mm apart, ears about 180 mm.
    assert 80 < landmarks[45, 0] - landmarks[36, 0] < 110
    assert 170 < model.mean_V3[:9409, 0].max() - model.mean_V3[:9409, 0].min() < 200
    # The nose's tip is in front of and below the eyes.
    assert landmarks[30, 2] > landmarks[36:48, 2].max()
    assert landmarks[30, 1] < landmarks[36:48, 1].min()


def test_coefficients_add_the_original_heads(model, assets):
    folder = assets / "ict_facekit/FaceXModel"
    mean, second, jaw = (obj_vertices(folder / f"{n}.obj") for n in ("generic_neutral_mesh", "identity001", "jawOpen"))
    identity, expression = torch.zeros(2, 100), torch.zeros(2, 53)
    identity[1, 1], expression[1, model.expression_names.index("jawOpen")] = -2.0, 0.5
    vertices = model.vertices(identity, expression)
    np.testing.assert_allclose(vertices[0], mean * 10, atol=1e-4)
    expected = mean - 2 * (second - mean) + 0.5 * (jaw - mean)
    # Offsets are kept in half precision: 1/2048 of themselves.
    np.testing.assert_allclose(vertices[1], expected * 10, atol=0.02)


def test_vertices_takes_fewer_modes_and_broadcasts(model):
    identity, expression = torch.randn(3, 100), torch.rand(1, 53)
    identity[:, 20:] = 0
    torch.testing.assert_close(model.vertices(identity[:, :20], expression), model.vertices(identity, expression))
    assert model.vertices(identity[:1], torch.rand(4, 53)).shape == (4, 26719, 3)
    for wrong in ((torch.zeros(1, 101), expression), (identity, torch.zeros(1, 52))):
        with pytest.raises(ValueError, match="100 identity modes and 53 expressions"):
            model.vertices(*wrong)


@pytest.mark.slow
def test_obj_folder_packs_into_the_same_bits(assets, tmp_path):
    packed = read_packed(assets / "ict_facekit/ict_face_model_full.npz")
    source = assets / "ict_facekit/FaceXModel"
    expressions = sorted(p.stem for p in source.glob("*.obj") if p.stem in packed["expression_names"])
    assert len(expressions) >= 3
    folder = tmp_path / "FaceXModel"
    shutil.copytree(source, folder)
    (folder / "vertex_indices.json").chmod(0o644)
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": expressions}))
    made = read_model(tmp_path)
    for name in ("neutral", "uv", "faces", "faces_uv", "face_material", "material_names"):
        np.testing.assert_array_equal(made[name], packed[name])
        assert made[name].dtype == packed[name].dtype
    # Bits, not values: minus zero and subnormals count too.
    rows = [packed["expression_names"].tolist().index(name) for name in expressions]
    np.testing.assert_array_equal(made["identity"].view(np.uint16), packed["identity"][:3].view(np.uint16))
    np.testing.assert_array_equal(made["expression"].view(np.uint16), packed["expression"][rows].view(np.uint16))
    small = load_ict(folder)
    assert small.expression_names == tuple(expressions)
    assert torch.equal(small.identity_KV3, torch.from_numpy(packed["identity"][:3].astype(np.float32)) * 10)


def test_drawn_parts_show_the_eyes(model):
    fragments, camera, vertices = front(model.drawn(), 128)
    part = per_face(fragments, model.drawn().face_part_T, -1)[0]
    for x in (1, -1):
        middle = vertices[0, 21451:24591][model.mean_V3[21451:24591, 0] * x > 0].mean(0)
        u, v = project(middle[None, None], camera)[0, 0].long().tolist()
        assert PART_NAMES[part[v, u]] == "sclera"
        # What is not drawn would hide it.
        everything = front(model, 128)[0]
        assert PART_NAMES[model.face_part_T[everything.face[0, v, u]]] == "eye_occlusion"


def test_skin_is_the_face(model, assets):
    drawn = model.drawn()
    fragments, camera, vertices = front(drawn, 256)
    skin = per_face(fragments, drawn.skin_T, False)[0]
    parts = json.loads((assets / "ict_facekit/parts.json").read_text())
    u, v = project(vertices[:, parts["landmarks_multi_pie_68"]], camera)[0].long().unbind(1)
    assert skin[v, u][[8, 27, 28, 29, 30, 33, 51, 57]].all()  # chin, nose, lips
    seen = per_face(fragments, drawn.face_part_T, -1)[0]
    assert not skin[(seen != PART_NAMES.index("face"))].any()
    assert 0.2 < skin.float().mean() / fragments.mask.float().mean() < 0.7
    # Left and right alike, but for a pixel here and there.
    assert (skin != skin.flip(1)).float().mean() < 0.01
    # Neither scalp nor neck: skin ends at the hairline and under the chin. But the ears, the widest of the face.
    place = drawn.mean_V3[drawn.skin_faces()]
    assert (place[..., 0].abs().amax((0, 1)) - drawn.mean_V3[:9409, 0].abs().max()).abs() < 1e-3
    height = place[..., 1]
    assert height.max() < 100
    assert height.min() > -110
    assert torch.equal(drawn.skin_faces(), model.faces_T3[model.skin_T])


def test_triangles_face_outwards(model):
    # Seen from in front, the skin looks the same without the triangles that turn their backs.
    drawn = model.drawn()
    fragments, camera, vertices = front(drawn)
    culled = rasterise(vertices, drawn.faces_T3, camera, 64, 64, cull_back_faces=True)
    skin = per_face(fragments, drawn.skin_T, False)
    assert skin.sum() > 500
    assert (culled.face == fragments.face)[skin].float().mean() > 0.998
    # And from inside of the head, normals point away: those of the nose, forwards.
    normals = vertex_normals(model.mean_V3[None], model.faces_T3)[0]
    assert normals[model.mean_V3[:9409, 2].argmax(), 2] > 0.8


def test_subset_keeps_vertex_numbers(model):
    eyes = model.subset(model.part("sclera", "iris"))
    assert torch.equal(eyes.faces_T3, model.faces_T3[model.part("sclera", "iris")])
    assert len(eyes.uv_faces_T3) == len(eyes.skin_T) == len(eyes.face_part_T) == len(eyes.faces_T3)
    assert eyes.mean_V3 is model.mean_V3
    assert model.to("cpu").expression_names == model.expression_names


def test_uv_of_the_face_is_in_the_unit_square(model):
    uv = model.uv_U2[model.uv_faces_T3[model.part("face")]]
    assert uv.min() >= 0
    assert uv.max() <= 1
    # v grows upwards: higher vertices have higher v.
    height = model.mean_V3[model.faces_T3[model.skin_T]][..., 1].flatten()
    v = model.uv_U2[model.uv_faces_T3[model.skin_T]][..., 1].flatten()
    assert torch.corrcoef(torch.stack([height, v]))[0, 1] > 0.9


def test_model_checks_its_shapes(model):
    with pytest.raises(ValueError, match=r"skin_T must be \(48836,\), got \(52220,\)"):
        MorphableModel(**{**vars(model.drawn()), "skin_T": model.skin_T})


def test_head_to_camera_at_rotation_0_faces_the_viewer():
    axes = torch.eye(3)[None] * 10
    moved = head_to_camera(axes, torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 600.0]]))
    # The subject's left is the picture's right, up is up (y points down), and the nose points at the viewer.
    torch.testing.assert_close(moved[0], torch.tensor([[11.0, 2, 600], [1, -8, 600], [1, 2, 590]]))


def test_head_to_camera_against_scipy():
    points, rotation, translation = torch.randn(4, 9, 3), torch.randn(4, 3), torch.randn(4, 3) * 100
    moved = head_to_camera(points, rotation, translation)
    for i in range(4):
        turned = Rotation.from_rotvec(rotation[i].numpy()).apply(points[i].numpy() * [1, -1, -1])
        np.testing.assert_allclose(moved[i], turned + translation[i].numpy(), atol=1e-4)
    one = head_to_camera(points[:1], rotation, translation)
    torch.testing.assert_close(one[2], head_to_camera(points[:1], rotation[2:3], translation[2:3])[0])


def test_tiny_obj_folder(obj_folder):
    packed = pack_obj_folder(obj_folder)
    assert packed["faces"].tolist() == [[0, 1, 2], [0, 2, 3], [4, 0, 2]]
    assert packed["faces_uv"].tolist() == [[0, 1, 2], [0, 2, 3], [5, 4, 1]]
    assert packed["face_material"].tolist() == [0, 0, 1]
    assert packed["material_names"].tolist() == ["M_Face", "M_Teeth"]
    assert packed["expression_names"].tolist() == ["jawOpen"]
    np.testing.assert_array_equal(packed["identity"][0], packed["neutral"] * 0.125)
    np.testing.assert_array_equal(packed["expression"][0, :, 1], np.full(5, -0.2, np.float16))


def test_content_hash_knows_every_bit_and_no_file_form(obj_folder, tmp_path):
    packed = pack_obj_folder(obj_folder)
    for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        save(tmp_path / name, **packed)
        assert content_sha256(read_packed(tmp_path / name)) == content_sha256(packed)
    for name, array in packed.items():
        other = array.copy()
        if array.dtype.kind == "U":
            other[0] = "x"
        else:
            other.reshape(-1).view(np.uint8)[0] ^= 1
        assert content_sha256({**packed, name: other}) != content_sha256(packed), name


def break_folder(folder, name):
    if name == "missing":
        (folder / "jawOpen.obj").unlink()
    elif name == "gap":
        (folder / "identity000.obj").unlink()
    elif name == "short":
        path = folder / "identity001.obj"
        path.write_text("\n".join(line for line in path.read_text().split("\n") if line != "v 1.1 0 0"))
    elif name == "text":
        (folder / "identity001.obj").write_text("v one two three")
    elif name == "nothing":
        (folder / "identity001.obj").write_text("hello")
    elif name == "json":
        (folder / "vertex_indices.json").write_text("{}")
    elif name == "face":
        path = folder / "generic_neutral_mesh.obj"
        path.write_text(path.read_text().replace("f 1/1 2/2 3/3 4/4", "f 1 2 3"))
    elif name == "range":
        path = folder / "generic_neutral_mesh.obj"
        path.write_text(path.read_text().replace("5/6", "9/6"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"jawOpen\.obj cannot be read: No such file"),
        ("gap", r"identity000\.obj cannot be read: No such file"),
        ("short", r"identity001\.obj has 4 vertices, generic_neutral_mesh\.obj has 5"),
        ("text", r"identity001\.obj is no OBJ file"),
        ("nothing", r"identity001\.obj holds no 'v' lines"),
        ("json", r"vertex_indices\.json cannot be read: KeyError\('expressions'\)"),
        ("face", r"generic_neutral_mesh\.obj:\d+ is no face with texture coordinates"),
        ("range", r"faces reaches outside of 0 … 4"),
    ],
)
def test_broken_obj_folder_names_the_file(obj_folder, name, message):
    break_folder(obj_folder, name)
    with pytest.raises(ModelFileError, match=message):
        load_ict(obj_folder)


def test_broken_packed_file_names_itself(obj_folder, tmp_path):
    packed = pack_obj_folder(obj_folder)
    path = tmp_path / "model.npz"
    with pytest.raises(ModelFileError, match=r"model\.npz .*No such file"):
        load_ict(path)
    path.write_text("not an archive")
    with pytest.raises(ModelFileError, match=r"model\.npz cannot be read"):
        load_ict(path)
    np.savez(path, **packed)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ModelFileError, match=r"model\.npz cannot be read"):
        load_ict(path)
    np.savez(path, **{k: v for k, v in packed.items() if k != "uv"})
    with pytest.raises(ModelFileError, match=r"model\.npz .*lacks uv"):
        load_ict(path)
    np.savez(path, **{**packed, "identity": packed["identity"][:, :4]})
    with pytest.raises(ModelFileError, match=r"identity has shape \(2, 4, 3\), where V is 5"):
        load_ict(path)
    np.savez(path, **{**packed, "faces": packed["faces"].astype(float)})
    with pytest.raises(ModelFileError, match="faces must be int32"):
        load_ict(path)
    np.savez(path, **{**packed, "neutral": np.array([{"pickled": 1}], dtype=object)})
    with pytest.raises(ModelFileError, match="allow_pickle"):
        load_ict(path)
    np.savez(path, **packed)
    with pytest.raises(ModelFileError, match=r"model\.npz has 5 vertices.* 26719"):
        load_ict(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"empty holds neither ict_face_model_full\.npz"):
        load_ict(tmp_path / "empty")
