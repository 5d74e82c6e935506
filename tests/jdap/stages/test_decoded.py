"""Decoded depth in the image stage's loss, and pictures that are changed where they are given for their depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from settings import make_stage
from training import write_stills

from jdap.data.modules import ImageDataModule
from jdap.diffusion.draws import draw_noise, draw_timesteps
from jdap.diffusion.onestep import one_step_depth
from jdap.diffusion.timesteps import IMAGE_TO_DEPTH
from jdap.stages.image import ImageStage
from jdap.stages.parts.depth_loss import depth_loss
from jdap.stages.parts.lens import as_given
from jdap.stages.parts.steps import place_of
from jdap.stages.settings.given import GivenSettings
from jdap.stages.settings.onestep import OneStepLossSettings

pytestmark = pytest.mark.usefixtures("small_networks")
ALL_ASK_FOR_DEPTH = {"image_to_depth": 1.0, "depth_to_image": 0.0, "last_step_fraction": 1.0, "condition_noise": 0.0}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("fakes"))


@pytest.fixture(scope="module")
def batch(shards: Path):
    return next(iter(ImageDataModule(val=str(shards / "val"), batch_size=4, size_px=32).val_dataloader()))


def stage(shards: Path, **settings) -> ImageStage:
    torch.manual_seed(0)
    model = make_stage(ImageStage, codec=str(shards / "codec"), size_px=32, **settings)
    model.logged = {}
    model.log_dict = lambda values, **_: model.logged.update(values)
    model.log = lambda *_, **__: None
    return model


def test_the_loss_is_that_of_the_one_step(shards: Path, batch) -> None:
    model = stage(shards, decoded=0.7, outside_skin=0.3, **ALL_ASK_FOR_DEPTH)
    out = model.training_step(batch, 0)
    place = place_of(model, len(batch), 0)
    clean = model.encode(batch).clean
    depth = model.codec.decode(
        one_step_depth(model.denoiser, model.unet, clean.rgb, draw_noise(clean, 0, place).depth)
    ).mean(dim=1, keepdim=True)
    expected = depth_loss(depth, batch, OneStepLossSettings(outside_skin=0.3)).total_B.mean()
    torch.testing.assert_close(model.logged["train/loss_decoded"], expected, rtol=1e-4, atol=1e-5)
    plain = stage(shards, outside_skin=0.3, **ALL_ASK_FOR_DEPTH)
    plain.unet.load_state_dict(model.unet.state_dict())
    before = plain.training_step(batch, 0)
    torch.testing.assert_close(out["loss"] - before["loss"], 0.7 * expected, rtol=1e-3, atol=1e-5)
    assert "train/loss_decoded" not in plain.logged


def test_it_teaches_the_network_and_parts_of_a_step_add_up(shards: Path, batch, monkeypatch) -> None:
    asking = ALL_ASK_FOR_DEPTH | {"image_to_depth": 0.5}

    def gradient(decoded: float, first: int, size: int) -> torch.Tensor:
        model = stage(shards, decoded=decoded, **asking)
        part = replace(batch, **{name: value[first : first + size] for name, value in vars(batch).items()})
        place = place_of(model, 4, 0)._replace(first=first, size=size)
        monkeypatch.setattr("jdap.stages.image.place_of", lambda *_: place)
        model.training_step(part, 0)["loss"].backward()
        return torch.cat([p.grad.flatten() for p in model.unet.parameters() if p.grad is not None])

    whole, without = (gradient(decoded, 0, 4) for decoded in (1.0, 0.0))
    assert (whole - without).norm() > 1e-3 * without.norm()
    halves = [gradient(1.0, k, 2) - gradient(0.0, k, 2) for k in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, whole - without, rtol=1e-3, atol=1e-5)


def test_only_the_last_timestep_of_image_to_depth_is_decoded(shards: Path, batch, monkeypatch) -> None:
    model = stage(shards, decoded=1.0, image_to_depth=0.5, depth_to_image=0.25, last_step_fraction=0.5)
    seen, counts = [], []
    decode = model.codec.decode
    monkeypatch.setattr(model.codec, "decode", lambda z: seen.append(len(z)) or decode(z))
    for seed in range(6):
        model.seed = seed
        model.training_step(batch, 0)["loss"].backward()
        drawn = draw_timesteps(model.law, model.schedule, seed, place_of(model, 4, 0), 1, 1)
        asked = (drawn.kind == IMAGE_TO_DEPTH) & (drawn.t.depth == model.schedule.timesteps - 1)
        counts.append(int(asked.sum()))
    assert 0 in counts  # a step without any is sound, too
    assert seen == [count for count in counts if count]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_what_is_given_is_changed_and_what_is_drawn_is_not(shards: Path, batch, monkeypatch) -> None:
    model = stage(shards, grey=1.0, image_to_depth=0.5, depth_to_image=0.25)
    seen = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda b: seen.append(b) or encode(b))
    model.training_step(batch, 0)
    drawn = draw_timesteps(model.law, model.schedule, 0, place_of(model, 4, 0), 1, 1)
    alone = drawn.kind == IMAGE_TO_DEPTH
    assert 0 < alone.sum() < 4
    given = seen[0].rgb[alone]
    assert torch.allclose(given[:, 0], given[:, 1])
    assert torch.equal(seen[0].rgb[~alone], batch.rgb[~alone])
    assert torch.equal(seen[0].reference_rgb, batch.reference_rgb)


def test_changes_are_those_of_a_place_in_the_step(shards: Path, batch) -> None:
    model, settings = stage(shards), GivenSettings(grey=0.5, camera=1.0)
    place, every = place_of(model, 4, 0), torch.ones(4, dtype=torch.bool)
    made = as_given(batch.rgb, every, settings, 3, place)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made, as_given(batch.rgb, every, settings, 3, place))
    half = place._replace(first=2, size=2)
    assert torch.equal(made[2:], as_given(batch.rgb[2:], every[2:], settings, 3, half))
    assert not torch.equal(made, as_given(batch.rgb, every, settings, 4, place))
    assert made.min() >= -1
    assert made.max() <= 1
    assert as_given(batch.rgb, every, GivenSettings(), 3, place) is batch.rgb


def test_settings_that_cannot_be(shards: Path) -> None:
    with pytest.raises(ValueError, match="image-to-depth at the last timestep"):
        stage(shards, decoded=1.0)
    with pytest.raises(ValueError, match=r"model.given changes pictures that are given"):
        stage(shards, grey=0.5, image_to_depth=0.0, depth_to_image=0.0)
    with pytest.raises(ValueError, match=r"model.given.camera is a share"):
        GivenSettings(camera=2)
