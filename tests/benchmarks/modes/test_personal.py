"""One person, end to end on a drawn clip: parted, cached, fine-tuned by the shipped YAMLs, drawn beside the truth."""

import csv
import json
import sys
from types import SimpleNamespace

import fakes
import pytest
import torch
from PIL import Image

from benchmarks.__main__ import main as bench
from benchmarks.modes import personal
from benchmarks.modes.measure import ModeSettings
from data_prep.folders.hold_out import hold_out
from jdap.__main__ import main as jdap
from jdap.configs import CONFIGS
from jdap.data.caching import cache
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import ImageCodec
from jdap.models.image.build import tiny, unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.pipelines.portrait import PortraitPipeline

SHAPE = {"widths": (32, 32), "layers": 1, "head_dim": 16}


def pipeline(seed=0, preset="tiny") -> PortraitPipeline:
    torch.manual_seed(seed)
    networks = (
        tiny(3, (32, 64))
        if preset == "tiny"
        else (JointUNet(unet(6, depth_timestep=True, **SHAPE)), ReferenceNet(unet(3, **SHAPE)))
    )
    codec = ImageCodec(encoder_widths=(16,), encoder_blocks=(1,), decoder_widths=(16,), decoder_blocks=(1,))
    return PortraitPipeline(codec.eval(), *(n.eval() for n in networks), NoiseSchedule(), preset=preset, size_px=32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A clip of one person, parted; weights; latents of the person and of others."""
    folder = tmp_path_factory.mktemp("personal")
    fakes.write_fakes(folder / "clips", people=1, frames=10, size_px=32, fps=25, chunks=3)
    fakes.write_fakes(folder / "drawn", people=4, frames=2, size_px=32, seed=3)
    hold_out(folder / "clips", folder / "shards")
    pipeline().save_pretrained(folder / "tiny")
    pipeline(preset="sd15").save_pretrained(folder / "sd15")
    for preset in ("tiny", "sd15"):
        codec = str(folder / preset / "codec")
        cache(
            str(folder / "shards" / "train"), codec, folder / preset / "person", mirrored=True, variants=2, jitter=0.1
        )
        cache(str(folder / "drawn"), codec, folder / preset / "others", mirrored=True)
    return folder


def train(home, out, preset) -> int:
    configs = [str(CONFIGS / f"{name}-{preset}.yaml") for name in ("image", "personal")]
    return jdap(
        [
            *("train-image", *(word for one in configs for word in ("--config", one)), "--out", str(out)),
            *("--model.init", str(home / preset), "--data.val", str(home / "shards" / "test")),
            *("--data.train.person.shards", str(home / preset / "person")),
            *("--data.train.drawn.shards", str(home / preset / "others")),
            *("--data.size_px", "32", "--model.size_px", "32", "--data.workers", "0", "--trainer.accelerator", "cpu"),
            *("--trainer.precision", "32-true", "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"),
            *(
                "--data.batch_size",
                "8",
                "--trainer.accumulate_grad_batches",
                "1",
                "--model.optimizer.learning_rate",
                "1e-3",
            ),
        ]
    )


def asked(home, weights, out, *more) -> list[str]:
    shards = home / "shards"
    where = ("--shards", str(shards / "test"), "--reference", str(shards / "train"), "--out", str(out))
    return ["personal", "--weights", str(weights), *where, "--steps", "2", "--device", "cpu", *more]


@pytest.mark.slow
def test_a_model_is_fine_tuned_and_measured(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert train(home, tmp_path, "tiny") == 0
    before, after = (PortraitPipeline.from_pretrained(f) for f in (home / "tiny", tmp_path / "weights"))
    assert not torch.equal(before.unet.unet.conv_in.weight, after.unet.unet.conv_in.weight)
    assert bench(asked(home, tmp_path / "weights", tmp_path, "--before", str(home / "tiny"))) == 0
    found = json.loads((tmp_path / "personal.json").read_text())
    assert len(found["pictures"]["key"]) == 6
    assert found["stamp"]["blocks"] == 2  # frames 24 … 29
    table = {(row["answer"], row["measure"]): row for row in found["rows"]}
    answers = {"drawn", "before", "codec", "reference", "drawn − before", "drawn − reference"}
    assert {answer for answer, _ in table} == answers
    gained = table["drawn", "psnr"]["mean"] - table["before", "psnr"]["mean"]
    assert table["drawn − before", "psnr"]["mean"] == pytest.approx(gained)
    assert len(list(csv.DictReader((tmp_path / "personal.csv").open()))) == len(found["rows"])
    # six pictures in two columns of four cells
    assert Image.open(tmp_path / "personal.png").size == (2 * 4 * 32, 3 * 32 + 14)
    printed = capsys.readouterr().out
    assert "6 pictures in 2 blocks of 5 frames" in printed
    assert "left out: identity" in printed


@pytest.mark.slow
def test_at_sd15_by_lora_whose_weights_are_plain(home, tmp_path):
    assert train(home, tmp_path, "sd15") == 0
    before, after = (PortraitPipeline.from_pretrained(f) for f in (home / "sd15", tmp_path / "weights"))
    for one, other in ((before.unet, after.unet), (before.reference, after.reference)):
        ours, theirs = one.state_dict(), other.state_dict()
        assert set(ours) == set(theirs)
        changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
        assert changed
        assert all(".attn1.to_" in name and name.endswith(".weight") for name in changed)


def test_the_reference_is_a_picture_that_was_trained_on(home, tmp_path, capsys):
    known = personal.references(str(home / "shards" / "train"), 32)
    assert list(known) == ["fake-0-0"]
    clip = fakes.sample(index=0, frames=10, size_px=32, fps=25, chunk=0)
    middle = torch.from_numpy(clip.rgb_FHW3[9]).permute(2, 0, 1) / 127.5 - 1
    assert (known["fake-0-0"] - middle).abs().mean() < 0.05  # of 19 frames the tenth, through JPEG
    others = asked(home, home / "tiny", tmp_path)
    others[others.index("--reference") + 1] = str(home / "drawn")
    assert bench(others) == 2
    assert "holds no picture of fake-0-0, who is to be drawn" in capsys.readouterr().err


def test_true_pictures_would_be_perfect(fake_batch, monkeypatch):
    batch, model = fake_batch(), pipeline(preset="plain")
    monkeypatch.setattr(model, "depth_to_image", lambda depth, **how: batch.rgb)

    class Identity:
        def add(self, outcomes, batch):
            (outcome,) = outcomes.values()
            outcome.add("drawn", "identity", torch.zeros(len(batch)))

        def landmarks(self, rgb):
            return None, torch.tensor([True, False, True])

    found = personal.PersonalScores()
    batch_of_a_clip = SimpleNamespace(key=("c-d-000010/0003", "c-d-000010/0004", "c-d-000010/0005"), depth=batch.depth)
    outcome = personal.ask({"drawn": model}, batch, ModeSettings(steps=2), Identity())
    batch_of_a_clip.rgb = batch.rgb
    found.add(outcome, batch_of_a_clip, frames=5)
    assert found.values["drawn"]["ssim"] == pytest.approx([1, 1, 1])
    assert found.values["drawn"]["identity"] == [0, 0, 0]
    assert found.values["codec"]["face_found"] == [1, 0, 1]
    assert found.block == ["c-d 2", "c-d 2", "c-d 3"]
    assert found.values["reference"]["psnr"] == [float("inf")] * 3  # these pictures are their own references
