"""Several pictures of one reference in a training step, samples without one, and what the network is told of either."""

import dataclasses

import pytest
import torch
from fakes import write_fakes
from networks import write_codec
from settings import make_stage
from training import trainer

from jdap.data.modules import ImageDataModule
from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import draw_noise, draw_timesteps
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, IMAGE_TO_DEPTH
from jdap.stages.image import ImageStage
from jdap.stages.parts.steps import place_of

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    write_fakes(folder / "train", people=4, frames=4, size_px=32, seed=0)
    write_codec(folder / "codec")
    return folder


def stage(folder, **settings) -> ImageStage:
    torch.manual_seed(0)
    model = make_stage(ImageStage, codec=str(folder / "codec"), size_px=32, **{"reference_drop": 0.3, **settings})
    for weight in (model.unet.unet.time_embedding.cond_proj.weight, model.unet.unet.conv_in.weight[:, 6:]):
        torch.nn.init.normal_(weight.data, std=0.1)  # as if trained: what starts at zero says something
    model.log = model.log_dict = lambda *_, **__: None
    return model


def first_batch(folder, targets: int, batch_size: int = 8):
    data = ImageDataModule(str(folder / "train"), batch_size=batch_size, size_px=32, targets=targets, shuffle=8)
    return next(iter(data.train_dataloader()))


def test_batches_have_several_targets_of_a_reference(folder):
    batch = first_batch(folder, 2)
    assert (len(batch), batch.targets, len(batch.reference_rgb)) == (8, 2, 4)
    assert batch.person_id[::2] == batch.person_id[1::2]
    assert ((batch.depth_mm[::2] - batch.depth_mm[1::2]).abs().amax((1, 2, 3)) > 0).all()
    with pytest.raises(ValueError, match=r"data\.batch_size 8 .*data\.targets 3"):
        first_batch(folder, 3)


def test_a_shared_reference_is_a_reference_given_to_each(folder, monkeypatch):
    """The same samples, kinds and noise, with the reference of a group given once for each of its pictures."""
    model, batch = stage(folder), first_batch(folder, 4)
    shared = model.training_step(batch, 0)
    drawn = draw_timesteps(model.law, model.schedule, 0, place_of(model, 8, 0), 1, 4)
    assert (drawn.kind[::4] == drawn.kind[3::4]).all()

    def as_in_groups(*args):
        t, kind, chance = draw_timesteps(*args[:-1], 4)
        return t, kind, chance[:, ::4].repeat_interleave(4, dim=1)  # a group's reference is dropped as a whole

    monkeypatch.setattr("jdap.stages.image.draw_timesteps", as_in_groups)
    names = ("reference_rgb", "reference_pose", "reference_camera_px")
    apart = dataclasses.replace(batch, **{name: getattr(batch, name).repeat_interleave(4, dim=0) for name in names})
    assert apart.targets == 1
    each = model.training_step(apart, 0)
    torch.testing.assert_close(shared["loss"], each["loss"], atol=1e-5, rtol=1e-4)
    for half in ("rgb", "depth"):
        ours, theirs = (getattr(step["report"], half).loss_B for step in (shared, each))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    # … and the pictures in another person's order are no such thing
    other = dataclasses.replace(apart, reference_rgb=apart.reference_rgb.flip(0))
    assert not torch.allclose(model.training_step(other, 0)["report"].rgb.loss_B, each["report"].rgb.loss_B, rtol=1e-4)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_step_is_every_sample_by_itself_in_its_own_order(folder, monkeypatch, targets):
    """Samples of image-to-depth are asked for first; what is told of each is in the order of the batch."""
    model, batch = stage(folder, image_to_depth=0.5, depth_to_image=0.25), first_batch(folder, targets)
    told = model.training_step(batch, 0)["report"]
    drawn = draw_timesteps(model.law, model.schedule, 0, place_of(model, 8, 0), 1, targets)
    clean, reference, weight, confidence = model.encode(batch)
    noise = draw_noise(clean, 0, place_of(model, 8, 0))
    for i in range(8):
        one, group = slice(i, i + 1), i // targets
        seen = drawn.kind[i] != IMAGE_TO_DEPTH and drawn.chance[0, group * targets] >= 0.3
        known = model.unet.project_reference(model.reference(reference[group : group + 1])) if seen else None
        loss = model.denoiser.loss(
            lambda *z, known=known: model.unet(*z, reference=known),
            Pair(*(x[one] for x in clean)),
            Pair(*(x[one] for x in drawn.t)),
            Pair(*(x[one] for x in noise)),
            weight[one],
            confidence[one],
        )
        rgb = loss.rgb_B * (drawn.kind[i] != IMAGE_TO_DEPTH)
        depth = loss.depth_B * (drawn.kind[i] != DEPTH_TO_IMAGE)
        torch.testing.assert_close(told.rgb.loss_B[one], rgb, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(told.depth.loss_B[one], depth, atol=1e-5, rtol=1e-4)
    assert len(set(drawn.kind.tolist())) == 3


@pytest.mark.parametrize("targets", [1, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_to_depth": 1.0, "depth_to_image": 0.0},
        {"reference_drop": 1.0},
        {"image_to_depth": 0.0, "depth_to_image": 1.0, "gradient_checkpointing": True},
        {"joint": False, "image_to_depth": 0.0, "depth_to_image": 0.0},
    ],
    ids=["mixed", "image-to-depth", "dropped", "checkpointing", "separate"],
)
def test_every_parameter_that_trains_gets_a_gradient(folder, targets, settings):
    """Whatever is drawn: DDP needs no find_unused_parameters."""
    torch.manual_seed(0)
    model = make_stage(ImageStage, codec=str(folder / "codec"), size_px=32, **settings)
    model.log = model.log_dict = lambda *_, **__: None
    model.training_step(first_batch(folder, targets), 0)["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None] == []


def test_image_to_depth_pays_for_no_reference_pass(folder):
    model, seen = stage(folder, image_to_depth=0.5, depth_to_image=0.0), []
    model.reference.register_forward_hook(lambda _, args, out: seen.append(len(args[0])))
    model.training_step(first_batch(folder, 2), 0)
    only = stage(folder, image_to_depth=1.0, depth_to_image=0.0)
    only.reference.register_forward_hook(lambda _, args, out: seen.append(len(args[0])))
    batch = first_batch(folder, 2)
    told = only.training_step(batch, 0)["report"]
    assert seen == [2, 1]  # of four people; one at least, unseen
    other = dataclasses.replace(batch, reference_rgb=batch.reference_rgb.flip(3))
    assert torch.equal(only.training_step(other, 0)["report"].depth.loss_B, told.depth.loss_B)
    assert not told.rgb.loss_B.any()


def test_a_run_with_targets_accumulates_and_validates(folder, tmp_path):
    torch.manual_seed(0)
    model = make_stage(
        ImageStage, codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=1, beta2=0.9
    )
    data = ImageDataModule(
        str(folder / "train"), str(folder / "train"), batch_size=8, size_px=32, targets=2, epoch_steps=4
    )
    run = trainer(tmp_path, 2, accumulate_grad_batches=2, limit_val_batches=1)
    run.fit(model, data)
    assert run.global_step == 2
    assert run.optimizers[0].param_groups[0]["betas"] == (0.9, 0.9)
    shown = {name for name in run.callback_metrics if name.startswith("val/lookup/")}
    assert shown == {f"val/lookup/{s}_{t}" for s in ("own", "other", "none", "itself") for t in (300, 500, 700, 900)}
    assert all(run.callback_metrics[name] > 0 for name in shown)
