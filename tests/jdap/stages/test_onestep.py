import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from settings import make_stage
from training import trainer, write_stills

from jdap.callbacks.averaging import EMA
from jdap.callbacks.export import ExportWeights
from jdap.callbacks.mean_depth import MeanDepth
from jdap.callbacks.samples import SampleGrid
from jdap.callbacks.sources import SourceLog
from jdap.data.modules import ImageDataModule
from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import resolve
from jdap.metrics.depth import DepthMetrics
from jdap.models.codec import load_codec
from jdap.models.image.build import unet
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import WeightsError
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.parts.depth_loss import depth_loss

SHAPE = {"widths": (32, 64), "layers": 1, "head_dim": 16}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_stills(tmp_path_factory.mktemp("fakes"))


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    """A weights folder of small random networks, with a codec through which depth can come."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("image") / "weights"
    codec = load_codec(resolve("shipped:image-tiny/codec"))
    channels = codec.latent_channels
    joint, reference = (unet(n * channels, depth_timestep=n == 2, **SHAPE) for n in (2, 1))
    networks = JointUNet(joint), ReferenceNet(reference)
    PortraitPipeline(codec, *networks, NoiseSchedule(), preset="tiny", size_px=32).save_pretrained(folder)
    return str(folder)


def data(shards) -> ImageDataModule:
    return ImageDataModule(str(shards / "train"), str(shards / "val"), batch_size=4, size_px=32, epoch_steps=20)


def stage(init, **settings) -> OneStepStage:
    return make_stage(OneStepStage, init, **{"learning_rate": 1e-3, "warmup_steps": 2, **settings})


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def silent(model: OneStepStage) -> OneStepStage:
    """Without a trainer there is nowhere to log to."""
    model.log = model.log_dict = lambda *_, **__: None
    return model


def first_batch(shards):
    return next(iter(data(shards).val_dataloader()))


def rmse(depth, batch) -> float:
    metrics = DepthMetrics()
    metrics.update(depth, batch.depth_mm, batch.skin, batch.range_mm)
    return float(metrics.compute()["rmse"])


@pytest.mark.slow
def test_a_run_ends_with_weights_that_see_depth_better(init, shards, tmp_path):
    torch.manual_seed(0)
    model, batch = stage(init, learning_rate=8e-3, framed=1.0), first_batch(shards)
    before = rmse(model.pipeline().image_to_depth(batch.rgb).depth, batch)
    callbacks = (MeanDepth(), SourceLog(), SampleGrid(2), EMA(decay=0.8), ExportWeights())
    trainer(tmp_path, 40, *callbacks).fit(model, data(shards))
    pipeline = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert (pipeline.preset, pipeline.size_px, pipeline.one_step_start) == ("tiny", 32, "zeros")
    depth = pipeline.image_to_depth(batch.rgb).depth
    assert rmse(depth, batch) < 0.8 * before
    # it keeps the frame: without any alignment, too, it is better than the best constant is
    seen = batch.skin & (batch.depth_mm > 0)
    assert (depth - batch.depth)[seen].square().mean() < 0.8 * batch.depth[seen].var()
    assert torch.equal(depth, pipeline.image_to_depth(batch.rgb, generator=torch.Generator().manual_seed(9)).depth)
    # what is exported are the averaged weights, which are in place when the run is over
    assert torch.allclose(depth, model.eval().depth(batch.rgb).clamp(-1, 1), atol=1e-5)
    training = json.loads((tmp_path / "weights" / "training.json").read_text())
    assert (training["stage"], training["steps"]) == ("OneStepStage", 40)
    assert load_file(tmp_path / "weights" / "mean_depth.safetensors")["mean_depth"].shape == (1, 32, 32)
    assert Image.open(tmp_path / "samples.png").size[0] == 32 * 4  # picture, its depth, true depth, error


def test_the_unet_trains_and_the_codec_and_the_reference_network_stay(init, shards, tmp_path):
    model = stage(init)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer(tmp_path, 3).fit(model, data(shards))
    assert {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])} == {"unet"}


def test_every_parameter_that_trains_gets_a_gradient(init, shards):
    """DDP needs no find_unused_parameters, once the RGB half of the last layer is seen as part of one tensor."""
    model = silent(stage(init))
    model.training_step(first_batch(shards), 0)["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_gradient_checkpointing_changes_no_gradient(init, shards):
    batch, gradients = first_batch(shards), []
    for checkpointing in (False, True):
        model = silent(stage(init, gradient_checkpointing=checkpointing))
        assert model.unet.unet.is_gradient_checkpointing == checkpointing
        model.training_step(batch, 0)["loss"].backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("start", ["zeros", "noise"])
def test_training_and_the_pipeline_see_the_same_depth(init, shards, start):
    model, batch = stage(init, start=start).eval(), first_batch(shards)
    torch.manual_seed(5)
    torch.randn(model.codec.encode(batch.rgb).shape)  # a pipeline draws noise for the RGB half as well, first
    ours = model.depth(batch.rgb).clamp(-1, 1)
    found = model.pipeline().image_to_depth(batch.rgb, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(ours, found.depth, atol=1e-6)


def test_the_same_seed_gives_the_same_weights(init, shards, tmp_path):
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        model = stage(init)
        trainer(tmp_path, 3).fit(model, data(shards))
        weights.append(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_no_reference_is_asked(init, shards):
    batch = first_batch(shards)
    other = dataclasses.replace(batch, reference_rgb=batch.reference_rgb.flip(3))

    def loss(b) -> float:
        return float(silent(stage(init)).training_step(b, 0)["loss"].detach())

    assert loss(batch) == loss(other)
    assert loss(batch) != loss(dataclasses.replace(batch, rgb=batch.rgb.flip(3)))


def test_confidence_and_missing_depth_scale_what_a_sample_teaches(init, shards):
    model, batch = silent(stage(init)), first_batch(shards)
    full = model.training_step(batch, 0)
    half = model.training_step(dataclasses.replace(batch, confidence=0.5 * torch.ones_like(batch.confidence)), 0)
    of_full, of_half = full["report"].depth, half["report"].depth
    assert torch.allclose(of_half.loss_B, 0.5 * of_full.loss_B, rtol=1e-4)
    ranges = batch.range_mm.clone()
    ranges[0] = torch.tensor([0.0, 1.0])  # as of a picture without usable depth
    without = model.training_step(dataclasses.replace(batch, range_mm=ranges), 0)
    assert without["report"].depth.counts_B.tolist() == [False, True, True, True]
    assert without["report"].depth.loss_B[0] == 0
    assert without["loss"].item() == pytest.approx(float(of_full.loss_B[1:].mean()), rel=1e-4)
    ranges = ranges[:1].expand_as(ranges).clone()
    nothing = model.training_step(dataclasses.replace(batch, range_mm=ranges), 0)["loss"]
    assert nothing == 0
    nothing.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_off_the_skin_only_studio_people_teach(init, shards):
    model, batch = stage(init), first_batch(shards)
    depth = batch.depth.clone()
    wrong = torch.where(batch.skin, depth, -depth)
    assert (depth_loss(depth, batch, model.loss_settings).framed_B == 0).all()
    studio = depth_loss(wrong, batch, model.loss_settings)
    assert (studio.framed_B > 0).all()
    assert torch.allclose(studio.free_B, torch.zeros(4), atol=1e-6)
    as_fitted = dataclasses.replace(batch, depth_source=("fitted",) * len(batch))
    assert (depth_loss(wrong, as_fitted, model.loss_settings).framed_B == 0).all()
    two = depth_loss(wrong[[3, 1]], batch, model.loss_settings, torch.tensor([3, 1]))
    torch.testing.assert_close(two.total_B, studio.total_B[[3, 1]])


def test_one_step_weights_are_told_from_others(init, tmp_path):
    stage(init, start="noise").pipeline().save_pretrained(tmp_path / "weights")
    again = stage(str(tmp_path / "weights")).pipeline()
    assert again.one_step_start == "zeros"  # of the new run
    codec = str(tmp_path / "weights" / "codec")
    plain = ImageStage(codec=codec, size_px=32, init=None).pipeline()
    assert plain.one_step_start is None


def test_a_newer_decoder_is_trained_through(init, tmp_path):
    newer = load_codec(f"{init}/codec")
    with torch.no_grad():
        newer.decoder[0].weight += 0.1
    newer.save_pretrained(tmp_path / "newer")
    model = stage(init, codec=str(tmp_path / "newer"))
    assert torch.equal(model.codec.decoder[0].weight, newer.decoder[0].weight)
    assert not any(p.requires_grad for p in model.codec.parameters())


def test_what_cannot_be_started_from_is_refused(init, tmp_path):
    with pytest.raises(WeightsError, match="nowhere: "):
        stage("nowhere")
    with pytest.raises(FileNotFoundError, match="shipped:nothing"):
        stage("shipped:nothing")
    other = load_codec(f"{init}/codec")
    with torch.no_grad():
        other.encoder[1].weight += 0.1
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match=r"model\.codec .*other: .*model\.init"):
        stage(init, codec=str(tmp_path / "other"))
    full = PortraitPipeline.from_pretrained(init)
    full.shared_timestep = True
    full.save_pretrained(tmp_path / "ablation")
    with pytest.raises(WeightsError, match="ablation: "):
        stage(str(tmp_path / "ablation"))
    full.shared_timestep, full.reference = False, None
    full.save_pretrained(tmp_path / "nobody")
    with pytest.raises(WeightsError, match="nobody: "):
        stage(str(tmp_path / "nobody"))
    with pytest.raises(ValueError, match="holds latents"):
        stage(init).training_step(None, 0)
    with pytest.raises(ValueError, match=r"model\.start .*'ones'"):
        stage(init, start="ones")


def test_from_a_fitted_head_layers_of_its_own_learn(init, shards, tmp_path):
    model = stage(init, start="head")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer(tmp_path, 3).fit(model, data(shards))
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert {k.split(".")[0] for k in changed} == {"face_layers"}
    batch = first_batch(shards)
    head = model.validation_head(batch, 0)
    pipeline = model.pipeline()
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    made, plain = (loaded.image_to_depth(batch.rgb, generator=seeded(), **how).depth for how in ({"head": head}, {}))
    torch.testing.assert_close(made, pipeline.image_to_depth(batch.rgb, head=head, generator=seeded()).depth)
    torch.testing.assert_close(
        plain, PortraitPipeline.from_pretrained(init).image_to_depth(batch.rgb, generator=seeded()).depth
    )
    ours = model.eval().depth(batch.rgb, head.relief).clamp(-1, 1)
    inside = 1 - F.max_pool2d(1 - head.face.float(), 9, 1, 4) > 0  # well within the face
    assert inside.any()
    torch.testing.assert_close(made[inside], ours[inside])
    assert not torch.allclose(plain[inside], ours[inside], atol=1e-3)


def test_what_would_be_computed_again_with_other_layers_is_refused(init):
    with pytest.raises(ValueError, match=r"gradient_checkpointing does not go with model\.start head"):
        stage(init, start="head", gradient_checkpointing=True)


def test_heads_that_shards_do_not_hold_are_asked_for(init, shards):
    bare = dataclasses.replace(first_batch(shards), mean_head_mm=None)
    with pytest.raises(ValueError, match="--mean-head"):
        silent(stage(init, start="head")).training_step(bare, 0)
