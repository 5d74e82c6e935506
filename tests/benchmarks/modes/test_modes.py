import csv
import json
import math
import sys
from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from networks import networks, small_codec, small_pipeline
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.__main__ import main
from benchmarks.modes import identity as modes_identity
from benchmarks.modes import measure, modes
from jdap.diffusion.schedule import NoiseSchedule
from jdap.faces.landmarker import Landmarker
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.image.separate import separated
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pose.heads import Heads


@pytest.fixture(scope="module")
def pipeline() -> PortraitPipeline:
    return small_pipeline(32, 32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    fakes.write_fakes(folder, people=3, frames=2, size_px=32, seed=9)
    return folder


SETTINGS = measure.ModeSettings(steps=2, guidance=1.5)


def test_image_to_depth_is_measured_as_in_the_depth_table(pipeline, fake_batch):
    batch = fake_batch()
    mean = torch.zeros_like(batch.depth)
    out = measure.image_to_depth(pipeline, batch, SETTINGS, mean)
    # A flat map leaves the spread of the truth itself.
    target = 0.1 + 0.9 * (batch.depth[0] + 1) / 2
    skin = target[batch.skin[0] & (batch.depth_mm[0] > 0)].double()
    assert out.values["mean"]["rmse"][0] == pytest.approx(float(skin.std(correction=0)), rel=1e-5)
    assert set(out.values) == {"clean, 1 step", "repaint", "codec", "mean", "other person"}
    assert out.depth["other person"].equal(batch.depth[[1, 2, 0]])
    again = measure.image_to_depth(pipeline, batch, SETTINGS, mean)
    assert torch.equal(out.depth["repaint"], again.depth["repaint"])


def test_true_pictures_would_be_perfect(pipeline, fake_batch, monkeypatch):
    """Measures at their best, with a pipeline that knows the answers."""
    batch = fake_batch()
    monkeypatch.setattr(pipeline, "depth_to_image", lambda depth, **how: batch.rgb)
    monkeypatch.setattr(pipeline, "edit", lambda rgb, depth, *masks, **how: (batch.rgb, batch.depth))
    shown = measure.depth_to_image(pipeline, batch, SETTINGS).values["clean"]
    assert shown["ssim"].tolist() == pytest.approx([1, 1, 1])
    assert shown["psnr"].tolist() == [math.inf] * 3
    hidden = measure.inpaint(pipeline, batch, SETTINGS, measure.INPAINT_BOTH).values["either"]
    for name, best in (("ssim", 1), ("seam", 0), ("depth_rmse", 0), ("depth_seam", 0)):
        assert hidden[name].tolist() == pytest.approx([best] * 3), name


def test_only_the_hole_is_drawn_and_what_is_hidden_stays_hidden(pipeline, fake_batch):
    batch = fake_batch()
    hole = measure.half_face(batch.skin)
    for what, rgb, depth in (
        (measure.INPAINT_BOTH, hole, hole),
        (measure.INPAINT_RGB, hole, torch.zeros_like(hole)),
        (measure.INPAINT_DEPTH, torch.zeros_like(hole), hole),
    ):
        out = measure.inpaint(pipeline, batch, SETTINGS, what)
        for answer in out.rgb:
            assert torch.equal((out.rgb[answer] != batch.rgb).any(1, keepdim=True) & ~rgb, torch.zeros_like(hole))
            assert torch.equal((out.depth[answer] != batch.depth) & ~depth, torch.zeros_like(hole))
        assert ("psnr" in out.values["codec"]) == (what != measure.INPAINT_DEPTH)
        assert ("depth_rmse" in out.values["codec"]) == (what != measure.INPAINT_RGB)


def test_a_part_is_hidden_in_both_and_pictures_without_it_have_no_number(pipeline, fake_batch):
    batch = fake_batch()
    hole = torch.zeros_like(batch.skin)
    hole[:2, :, 8:20, 10:22] = True
    question = measure.inpaint_part("eyes")
    outcomes, _ = modes.ask(pipeline, batch, SETTINGS, holes={"eyes": hole})
    out = outcomes[question]
    assert set(out.values) == {"either", "codec", "nearest pixel", "other person"}
    for made, own in ((out.rgb["either"], batch.rgb), (out.depth["either"], batch.depth)):
        assert not ((made != own).any(1, keepdim=True) & ~hole).any()
    for name in ("psnr", "seam", "depth_rmse"):
        assert out.values["either"][name].isfinite().tolist() == [True, True, False], name
    square = out.rgb["either"][0, :, 8:20, 10:22], batch.rgb[0, :, 8:20, 10:22]
    expected = peak_signal_noise_ratio(*(x.numpy() for x in square), data_range=2)
    assert out.values["either"]["psnr"][0] == pytest.approx(expected, rel=1e-4)


def test_joint_generation_is_measured_on_its_own_head(pipeline, fake_batch, monkeypatch):
    """An estimate that is an affine image of the drawn depth on the head has no error, whatever lies behind."""
    batch = fake_batch()
    made = pipeline.generate(batch.reference_rgb, steps=2, generator=torch.Generator().manual_seed(0))
    made = made._replace(depth=batch.depth)
    monkeypatch.setattr(pipeline, "generate", lambda *a, **k: made)
    near = torch.where(batch.depth < measure.HEAD, 0.5 * batch.depth + 0.1, 7.0)
    monkeypatch.setattr(measure, "estimated", lambda *a: near)
    out = measure.joint(pipeline, batch, SETTINGS)
    assert out.values["joint"]["depth_rmse"].max() < 1e-6
    assert out.values["other person"]["depth_rmse"].min() > 0.01


@pytest.mark.parametrize("kind", ["no reference", "shared timestep", "separate"])
def test_ablated_networks_answer_what_they_can(kind, fake_batch):
    batch = fake_batch()
    joint, reference = networks()
    ablated = PortraitPipeline(
        small_codec().eval(),
        separated(joint) if kind == "separate" else joint,
        None if kind == "no reference" else reference,
        NoiseSchedule(),
        preset="tiny",
        size_px=32,
        shared_timestep=kind == "shared timestep",
    )
    outcomes, _ = modes.ask(ablated, batch, SETTINGS)
    ours = {question: set(o.values) & {"clean", "clean, 1 step", "repaint"} for question, o in outcomes.items()}
    expected = {
        "no reference": [{"clean, 1 step", "repaint"}, {"clean", "repaint"}, {"clean", "repaint"}],
        "shared timestep": [{"repaint"}, {"repaint"}, {"repaint"}],
        "separate": [{"clean, 1 step"}, set(), {"clean"}],
    }[kind]
    assert [
        ours[q] for q in (measure.IMAGE_TO_DEPTH_QUESTION, measure.DEPTH_TO_IMAGE_QUESTION, measure.INPAINT_RGB)
    ] == expected
    assert "either" in outcomes[measure.INPAINT_BOTH].values
    assert outcomes[measure.JOINT_QUESTION].values["joint"]["depth_rmse"].isfinite().all()
    labels = [label.strip() for label in modes.panels(batch, outcomes)]
    assert labels.count("… repaint") == (0 if kind == "separate" else 3)


def test_half_of_the_face():
    skin = torch.zeros(2, 1, 10, 12, dtype=torch.bool)
    skin[0, 0, 2:8, 3:9] = True
    hole = measure.half_face(skin)
    expected = torch.zeros(10, 12, dtype=torch.bool)
    expected[2:8, 6:9] = True
    assert torch.equal(hole[0, 0], expected)
    assert not hole[1].any()


def test_psnr_and_ssim_are_those_of_scikit_image():
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(2, 3, 40, 40, generator=generator) * 2 - 1
    made = (true + 0.2 * torch.randn(true.shape, generator=generator)).clamp(-1, 1)
    whole = torch.ones(2, 1, 40, 40, dtype=torch.bool)
    inside = torch.zeros_like(whole)
    inside[..., 10:30, 10:30] = True
    for i in range(2):
        a, b = (x[i].permute(1, 2, 0).double().numpy() for x in (made, true))
        theirs = peak_signal_noise_ratio(b, a, data_range=2)
        assert measure.psnr(made, true, whole)[i] == pytest.approx(theirs, abs=1e-4)
        how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, full = structural_similarity(a, b, channel_axis=2, data_range=2, full=True, **how)
        assert measure.ssim(made, true, inside)[i] == pytest.approx(full[10:30, 10:30].mean(), abs=2e-3)


def test_a_seam_is_what_steps_across_the_edge_are_off():
    true = torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 4, 6) / 10
    hole = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    hole[..., 3:] = True
    made = torch.where(hole, true + 0.25, true)
    assert measure.seam(made, true, hole).item() == pytest.approx(0.25)
    assert measure.seam(true + 1, true, hole).item() == pytest.approx(0, abs=1e-6)
    assert measure.seam(made, true, torch.zeros_like(hole)).isnan().all()


def test_the_other_person_is_the_next_one():
    others, lonely = measure.other_people(["a", "a", "b", "c"])
    assert others == [2, 2, 3, 0]
    assert not lonely.any()
    assert measure.other_people(["a", "a"]) == ([0, 1], pytest.approx(torch.tensor([True, True])))


def test_rows_leave_out_what_has_no_number_and_pair_the_methods():
    scores = modes.ModeScores(key=["1", "2", "3", "4"], person_id=["a", "a", "b", "c"])
    nan = float("nan")
    scores.values = {"q": {"clean": {"psnr": [1.0, 2.0, nan, 6.0]}, "repaint": {"psnr": [0.5, 1.5, 1.0, 5.5]}}}
    table = {row["answer"]: row for row in modes.rows(scores, seed=0)}
    assert (table["clean"]["n"], table["clean"]["mean"]) == (3, 3.0)
    assert table["clean"]["mean_ci"][0] == 1.5
    paired = table["clean − repaint"]
    assert (paired["n"], paired["mean"], paired["mean_ci"]) == (3, 0.5, [0.5, 0.5])


def test_identity_is_on_the_landmarks_of_the_geometry_that_was_asked_for(pipeline, fake_batch, monkeypatch):
    """With the mean colour and the first landmark as embedding, and landmarks that say which picture they are of."""
    batch = fake_batch()

    def embed(rgb, landmarks):
        return torch.cat([rgb.mean((2, 3)), torch.from_numpy(landmarks[:, 0]).float()], dim=1)

    identity = modes_identity.Identity(embed, landmarker=None)

    def landmarks(rgb):
        found = torch.tensor([True, True, not torch.equal(rgb, joint.rgb["joint"])])
        return rgb[:, :1, 0, :2].double().numpy(), found

    monkeypatch.setattr(identity, "landmarks", landmarks)
    shown, joint = (f(pipeline, batch, SETTINGS) for f in (measure.depth_to_image, measure.joint))
    identity.add({measure.DEPTH_TO_IMAGE_QUESTION: shown, measure.JOINT_QUESTION: joint}, batch)
    colour = shown.rgb["clean"].mean((2, 3)) - batch.rgb.mean((2, 3))
    assert shown.values["clean"]["identity"].tolist() == pytest.approx(colour.norm(dim=1).tolist(), abs=1e-6)
    assert joint.values["joint"]["face_found"].tolist() == [1, 1, 0]
    drawn, reference = (embed(x, landmarks(x)[0]) for x in (joint.rgb["joint"], batch.reference_rgb))
    assert joint.values["joint"]["identity"].tolist() == pytest.approx(
        (drawn - reference).norm(dim=1).tolist(), abs=1e-6
    )
    assert joint.values["other person"]["identity"].min() > 0
    assert identity.people == [*batch.person_id, *batch.person_id]
    # These pictures are their own references.
    assert identity.separation()["same"] == pytest.approx(0, abs=1e-6)


def test_from_the_command_line(pipeline, shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    pipeline.save_pretrained(tmp_path / "weights")
    out = tmp_path / "out"
    asked = ["modes", "--weights", str(tmp_path / "weights"), "--shards", str(shards), "--out", str(out)]
    assert main([*asked, "--steps", "2", "--limit", "2", "--device", "cpu", "--drawn", "1"]) == 0
    found = json.loads((out / "modes.json").read_text())
    rows = list(csv.DictReader((out / "modes.csv").open()))
    assert len(rows) == len(found["rows"])
    assert {row["question"] for row in rows} == {
        "image-to-depth", "depth-to-image", "joint", "inpaint both", "inpaint rgb", "inpaint depth",
    }  # fmt: skip
    row = next(
        r for r in found["rows"] if (r["question"], r["answer"], r["measure"]) == ("joint", "true", "depth_rmse")
    )
    values = found["pictures"]["values"]["joint"]["true"]["depth_rmse"]
    assert row["mean"] == pytest.approx(np.mean(values))
    assert len(found["pictures"]["key"]) == 2
    assert "pip install 'jdap[identity]'" in found["stamp"]["left_out"]["identity"]
    columns = 15 if measure.KEPT_FACE in found["stamp"]["left_out"] else 17  # where heads can be fitted
    assert Image.open(out / "modes.png").size == (columns * 32, 32 + 14)
    printed = capsys.readouterr().out
    assert "inpaint both" in printed
    assert "left out: identity" in printed
    assert main([*asked, "--steps", "9999"]) == 2
    assert "--steps: steps must be within" in capsys.readouterr().err


def test_weights_that_look_at_moved_references_get_those_that_known_poses_carry(fake_batch):
    pipeline, batch = small_pipeline(32, 32), fake_batch()
    assert measure.CARRIED not in measure.depth_to_image(pipeline, batch, SETTINGS).rgb
    net = LikenessNet(pipeline.codec.latent_channels, 8, 8, 1)
    torch.nn.init.constant_(net.last.bias[-1:], 9.0)  # takes over all that a reference shows
    pipeline.register_modules(likeness_net=net)
    found = measure.depth_to_image(pipeline, batch, SETTINGS)
    # Each of these pictures is its own reference: where that is carried it already was.
    off = {answer: (found.rgb[answer] - found.rgb["codec"]).square().mean() for answer in (measure.CARRIED, "clean")}
    assert off[measure.CARRIED] < 0.8 * off["clean"]
    assert found.values[measure.CARRIED].keys() == found.values["clean"].keys()
    poseless = measure.depth_to_image(pipeline, replace(batch, pose=None), SETTINGS)
    assert measure.CARRIED not in poseless.rgb
    assert torch.equal(poseless.rgb["clean"], found.rgb["clean"])


def test_weights_that_look_at_moved_references_are_asked_that_way_too(assets, fake_batch):
    pipeline, batch = small_pipeline(32, 32), fake_batch()
    settings = measure.ModeSettings(steps=3)
    questions = (measure.DEPTH_TO_IMAGE_QUESTION, measure.JOINT_QUESTION, measure.INPAINT_BOTH)
    with Landmarker() as landmarker:
        faces = measure.ReferenceFaces(Heads(landmarker), batch)
        without, _ = modes.ask(pipeline, batch, settings, questions=questions, faces=faces)
        pipeline.register_modules(likeness_net=LikenessNet(pipeline.codec.latent_channels, 8, 8, 1))
        found, _ = modes.ask(pipeline, batch, settings, questions=questions, faces=faces)
    own = (measure.CLEAN, measure.JOINT_QUESTION, measure.EITHER)
    for question, answer in zip(questions, own, strict=True):
        assert measure.BY_MOVED not in without[question].rgb
        assert found[question].values[measure.BY_MOVED].keys() == found[question].values[answer].keys()
    # These pictures have no faces: portraits are as they are without.
    for question, answer in zip(questions[:2], own[:2], strict=True):
        assert torch.equal(found[question].rgb[measure.BY_MOVED], found[question].rgb[answer])
