"""Models in the layouts of FLAME and Basel: ICT-FaceKit written in them must come back, and fit the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from face_models import Drawn, flame_members, shell, shuffled, write_bfm_2009, write_bfm_2017
from videos import trim

from data_prep.__main__ import main
from data_prep.commands import convert_model
from data_prep.fit.fit import FitSettings, fit
from data_prep.fit.render import HeadRenderer
from data_prep.head.files import FaceModel, load_face_model, save_face_model
from data_prep.head.ict import ModelFileError
from data_prep.head.model import MorphableModel, head_to_camera
from jdap.geometry import PinholeCamera, project
from jdap.shards.reader import read_samples

MODES = 20


@pytest.fixture(scope="module")
def ict(assets: Path) -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def face_only(ict: FaceModel) -> MorphableModel:
    """ICT's face, eyes and neck: what a test can afford."""
    return ict.model.subset(ict.model.part("face", "sclera", "eye_socket"))


@pytest.fixture(scope="module")
def drawn(face_only: MorphableModel) -> Drawn:
    return shuffled(face_only, MODES)


@pytest.fixture(scope="module")
def flame(drawn: Drawn, folder: Path) -> FaceModel:
    np.savez(folder / "flame.npz", **flame_members(drawn))
    return convert_model.convert(folder / "flame.npz", "flame", MODES)


@pytest.fixture(scope="module")
def basel(ict: FaceModel, folder: Path) -> FaceModel:
    write_bfm_2017(folder / "basel.h5", shell(ict.model, MODES))
    return convert_model.convert(folder / "basel.h5", "bfm")


def test_ict_in_flames_layout_comes_back(flame: FaceModel, drawn: Drawn, ict: FaceModel) -> None:
    assert drawn.ict_vertex is not None
    back, source = flame.model, drawn.ict_vertex
    np.testing.assert_allclose(back.mean_V3, ict.model.mean_V3[source], atol=1e-2)
    np.testing.assert_allclose(back.identity_KV3, ict.model.identity_KV3[:MODES, source], atol=1e-4)
    assert back.expression_names == ict.model.expression_names
    # Expressions come from the registration and through the model's own: a tenth of a millimetre of up to 40.
    np.testing.assert_allclose(back.expression_EV3, ict.model.expression_EV3[:, source], atol=0.15)
    np.testing.assert_allclose(
        flame.own_expression_EJ @ drawn.expression.reshape(53, -1), back.expression_EV3.flatten(1), atol=1e-3
    )
    expected = ict.correspondence.points(ict.model.mean_V3[None])
    torch.testing.assert_close(flame.correspondence.points(back.mean_V3[None]), expected, atol=0.02, rtol=0)
    assert torch.equal(flame.correspondence.trust_N, ict.correspondence.trust_N)


def test_parts_and_skin_come_back(flame: FaceModel, drawn: Drawn, ict: FaceModel, face_only: MorphableModel) -> None:
    assert drawn.ict_vertex is not None
    lines = zip(face_only.faces_T3.tolist(), face_only.skin_T.tolist(), face_only.face_part_T.tolist(), strict=True)
    known = {frozenset(corners): (skin, part) for corners, skin, part in lines}
    found = [known[frozenset(drawn.ict_vertex[corners])] for corners in flame.model.faces_T3.tolist()]
    skin, part = (np.array(column) for column in zip(*found, strict=True))
    assert (skin == flame.model.skin_T.numpy()).mean() > 0.999
    assert (part == flame.model.face_part_T.numpy()).mean() > 0.995
    # Clockwise triangles were turned round.
    assert flame.model.faces_T3[0].tolist() == drawn.faces[0, [0, 2, 1]].tolist()


def scene(ict: FaceModel) -> tuple[torch.Tensor, torch.Tensor, PinholeCamera, np.ndarray, np.ndarray]:
    """Landmarks (F, 468, 3), expression prior (F, 53), camera, true depth and skin of a drawn person's eight frames."""
    draw = torch.Generator().manual_seed(0)
    identity = torch.zeros(1, 100)
    identity[0, :MODES] = 0.8 * torch.randn(MODES, generator=draw)
    moving = [name.startswith(("jawOpen", "mouthSmile", "browInner")) for name in ict.model.expression_names]
    expression = torch.rand(8, 53, generator=draw) * 0.6 * torch.tensor(moving)
    rotation = torch.randn(8, 3, generator=draw) * torch.tensor([0.1, 0.3, 0.05])
    translation = torch.tensor([[0.0, 0.0, 800.0]]).repeat(8, 1)
    camera = PinholeCamera(700.0, 128.0, 128.0, 256, 256)
    cameras = camera.as_tensor().expand(8, -1)
    maps = HeadRenderer(ict.model, ict.correspondence).render(
        identity[0], expression, rotation, translation, cameras, 256
    )
    points = ict.correspondence.points(head_to_camera(ict.model.vertices(identity, expression), rotation, translation))
    landmarks = torch.cat([project(points, cameras), points[..., 2:] * 700 / 800], -1)
    noisy = landmarks + 0.3 * torch.randn(landmarks.shape, generator=draw)
    return noisy, expression, camera, maps.depth_mm_FHW, maps.skin_FHW


def depth_error_mm(face: FaceModel, ict: FaceModel) -> tuple[float, float]:
    """Median depth error of a fit (mm, after each frame's shift), and the share of the true skin that it believes."""
    landmarks, prior, camera, depth_mm, skin = scene(ict)
    settings = FitSettings(identity_modes=MODES).unordered()
    fitted = fit(landmarks, prior, camera, face.model, face.correspondence, settings)
    cameras = camera.as_tensor().expand(8, -1)
    pose = fitted.rotation_F3, fitted.translation_mm_F3
    renderer = HeadRenderer(face.model, face.correspondence)
    maps = renderer.render(fitted.identity_K, fitted.expression_FE, *pose, cameras, 256)
    both = maps.skin_FHW & skin
    errors = [(maps.depth_mm_FHW[f] - depth_mm[f])[both[f]] for f in range(8)]
    return float(np.median(np.abs(np.concatenate([e - np.median(e) for e in errors])))), both.sum() / skin.sum()


def test_a_fit_gives_the_same_depth(flame: FaceModel, basel: FaceModel, ict: FaceModel) -> None:
    own, seen = depth_error_mm(ict, ict)
    assert own < 0.6
    assert seen > 0.98
    error, seen = depth_error_mm(flame, ict)
    assert error == pytest.approx(own, abs=0.05)
    assert seen > 0.97
    # Another topology, without eyeballs, at 2 mm between vertices, and expressions of 40 components.
    error, seen = depth_error_mm(basel, ict)
    assert error < own + 0.5
    assert seen > 0.95
    # Such a figure tells models apart: with landmarks a centimetre too low the depth is wrong.
    points = replace(basel.correspondence, corners_N3=basel.correspondence.corners_N3.roll(7, 0))
    assert depth_error_mm(replace(basel, correspondence=points), ict)[0] > 2 * error


def test_another_topology_has_landmarks_where_ict_has_them(basel: FaceModel, ict: FaceModel) -> None:
    expected = ict.correspondence.points(ict.model.mean_V3[None])[0]
    off = (basel.correspondence.points(basel.model.mean_V3[None])[0] - expected).norm(dim=1)
    assert off.median() < 1
    assert off.quantile(0.9) < 3
    # Eyes are not skin, though the mesh has no eyeballs.
    eyes = basel.model.part("sclera")
    assert 50 < eyes.sum() < 600
    assert not basel.model.skin_T[eyes].any()


@pytest.mark.slow
def test_a_basel_2009_model_gets_icts_expressions(ict: FaceModel, basel: FaceModel, folder: Path) -> None:
    write_bfm_2009(folder / "basel.mat", shell(ict.model, MODES))
    old = convert_model.convert(folder / "basel.mat", "bfm")
    assert old.own_expression_EJ.size == 0
    assert old.kind == "bfm"
    skin = old.model.skin_faces().unique()
    # What the 2017 model makes of them by its own is nearly that.
    apart = (old.model.expression_EV3 - basel.model.expression_EV3)[:, skin].square().sum(2).mean().sqrt()
    assert 0 < apart < 0.15 * old.model.expression_EV3[:, skin].square().sum(2).mean().sqrt()


def test_the_command_writes_what_a_fit_loads(drawn: Drawn, tmp_path: Path, assets: Path, capsys) -> None:
    out = tmp_path / "ict.safetensors"
    assert main(["convert-model", "--kind", "ict", str(assets / "ict_facekit"), "--out", str(out)]) == 0
    assert "26719 vertices, 100 identity modes, 53 expressions" in capsys.readouterr().out
    face, default = load_face_model(out), load_face_model()
    assert torch.equal(face.model.expression_EV3, default.model.expression_EV3)
    assert torch.equal(face.model.uv_faces_T3, default.model.uv_faces_T3)
    assert main(["convert-model", "--kind", "ict", str(assets / "ict_facekit"), "--out", str(out)]) == 2
    assert "exists: name another file, or replace it with --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.npz", "--kind", "flame", "--out", "m.npz"], "error: none.npz: no such file"),
        (["none.npz", "--kind", "flame", "--out", "m.pt"], "ends in .safetensors or .npz"),
        (["none.npz", "--kind", "flame", "--out", "m.npz", "--mm-per-unit", "-1"], "--mm-per-unit must be positive"),
    ],
)
def test_the_commands_errors_are_one_line(arguments, says, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert-model", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_wrong_unit_is_told(drawn: Drawn, folder: Path) -> None:
    np.savez(folder / "mm.npz", **flame_members(replace(drawn, mean=drawn.mean * 1000)))
    with pytest.raises(ModelFileError, match=r"mm high.* --mm-per-unit"):
        convert_model.convert(folder / "mm.npz", "flame", MODES)


def test_what_is_no_face_is_refused(drawn: Drawn, folder: Path) -> None:
    blank = replace(drawn, mean=drawn.mean[:, [1, 0, 2]] * [1, 1, -1])  # seen from behind, lying on its side
    np.savez(folder / "none.npz", **flame_members(blank))
    with pytest.raises(ModelFileError, match=r"none\.npz: .*\+z with y up"):
        convert_model.convert(folder / "none.npz", "flame", MODES)


@pytest.mark.slow
def test_landmarks_of_a_converted_model_are_drawn_and_refined(
    basel: FaceModel, assets: Path, tmp_path: Path, capsys
) -> None:
    path, out, picture = tmp_path / "m.safetensors", tmp_path / "better.safetensors", tmp_path / "p.png"
    save_face_model(path, basel)
    video = sorted((assets / "videos" / "grid").iterdir())[0]
    command = ["correspond", "--face-model", str(path), "--people", str(video)]
    assert main(command) == 2
    assert "name with --out the file of the refined model" in capsys.readouterr().err
    assert main([*command, "--out", str(out), "--picture", str(picture)]) == 0
    assert "refined on 1 people" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    refined = load_face_model(out)
    moved = (
        refined.correspondence.points(basel.model.mean_V3[None])
        - basel.correspondence.points(basel.model.mean_V3[None])
    )[0]
    assert 0 < float(moved.norm(dim=1).median()) < 5
    assert torch.equal(refined.model.mean_V3, basel.model.mean_V3)


@pytest.mark.slow
def test_a_video_is_prepared_with_a_converted_model(basel: FaceModel, assets: Path, tmp_path: Path) -> None:
    """Half a second of a real person: shards of the foreign model look like those of ICT-FaceKit."""
    samples = {}
    save_face_model(tmp_path / "basel.npz", basel)
    video = trim(sorted((assets / "videos" / "talking").iterdir())[0], tmp_path / "short.mp4", 0.8)
    for name, more in (("ict", []), ("basel", ["--face-model", str(tmp_path / "basel.npz")])):
        command = ["prepare", str(video), "--out", str(tmp_path / name), "--size", "64", "--workers", "0", *more]
        assert main(command) == 0
        samples[name] = next(read_samples(tmp_path / name / "clips-000000.tar"))
    assert samples["basel"].record.software["face_model"].startswith("basel.h5 ")
    assert samples["basel"].arrays["identity"].shape[1] == MODES
    assert samples["basel"].arrays["expression"].shape[1] == 53
    both = samples["ict"].skin_FHW & samples["basel"].skin_FHW
    assert both.sum() > 0.9 * samples["ict"].skin_FHW.sum()
    apart = (samples["ict"].depth_mm_FHW - samples["basel"].depth_mm_FHW)[both]
    assert np.median(np.abs(apart - np.median(apart))) < 2
    assert main([*command[:3], str(tmp_path / "none"), "--face-model", str(tmp_path / "none.npz")]) == 2
    assert not (tmp_path / "none").exists()
