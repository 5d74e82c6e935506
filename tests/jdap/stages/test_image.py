import dataclasses

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from networks import small_codec
from PIL import Image
from safetensors.torch import load_file
from settings import make_stage
from training import trainer, write_stills

from jdap.callbacks.averaging import EMA
from jdap.callbacks.export import ExportWeights
from jdap.callbacks.mean_depth import MeanDepth
from jdap.callbacks.samples import SampleGrid
from jdap.callbacks.sources import SourceLog
from jdap.data.curriculum import Source
from jdap.data.modules import ImageDataModule
from jdap.models.image.likeness_net import LikenessNet
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.image import ImageStage

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_stills(tmp_path_factory.mktemp("fakes"))


@pytest.fixture(scope="module")
def codec(shards):
    return str(shards / "codec")


def data(shards) -> ImageDataModule:
    return ImageDataModule(str(shards / "train"), str(shards / "val"), batch_size=4, size_px=32, epoch_steps=10)


def stage(codec, **settings) -> ImageStage:
    torch.manual_seed(0)
    return make_stage(ImageStage, codec=codec, size_px=32, **{"learning_rate": 1e-3, "warmup_steps": 2, **settings})


@pytest.mark.slow
def test_a_run_ends_with_weights_that_answer(shards, codec, tmp_path):
    callbacks = (MeanDepth(), SampleGrid(pictures=2, steps=2), EMA(decay=0.5), ExportWeights())
    model = stage(codec)
    trainer(tmp_path, 10, *callbacks).fit(model, data(shards))
    pipeline = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert (pipeline.preset, pipeline.size_px) == ("tiny", 32)
    # what is exported are the averaged weights, which are in place when the run is over
    for ours, stored in zip(model.unet.parameters(), pipeline.unet.parameters(), strict=True):
        assert torch.equal(ours, stored)
    x = torch.zeros(1, 3, 32, 32)
    assert pipeline.image_to_depth(x).depth.shape == (1, 1, 32, 32)
    mean = load_file(tmp_path / "weights" / "mean_depth.safetensors")["mean_depth"]
    assert mean.shape == (1, 32, 32)
    assert mean.min() < 0.5  # a face is nearer than what is behind it
    # reference, portrait, its depth, drawn for the true depth, picture, depth from it, true depth, error
    assert Image.open(tmp_path / "samples.png").size[0] == 32 * 8


def test_the_mean_depth_is_that_of_the_batches(shards):
    batches = list(data(shards).val_dataloader())
    callback = MeanDepth()
    for i, batch in enumerate(batches):
        callback.on_train_batch_end(None, None, None, batch, i)
    depth = torch.cat([b.depth for b in batches]).numpy()
    skin = torch.cat([b.skin & (b.depth_mm > 0) for b in batches]).numpy()
    seen = skin.sum(0) > 0
    expected = (depth * skin).sum(0)[seen] / skin.sum(0)[seen]
    assert callback.mean().numpy()[seen] == pytest.approx(expected, abs=1e-6)
    assert (callback.mean().numpy()[~seen] == 1).all()
    again = MeanDepth()
    again.load_state_dict(callback.state_dict())
    assert torch.equal(again.mean(), callback.mean())


def test_only_the_joint_and_the_reference_networks_train(shards, codec, tmp_path):
    model = stage(codec)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer(tmp_path, 3).fit(model, data(shards))
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"unet", "reference"}


@pytest.mark.slow
def test_it_learns(shards, codec, tmp_path):
    """The same draws before and after: the loss falls by a third at least."""
    model, batch = stage(codec, learning_rate=2e-3), next(iter(data(shards).val_dataloader()))

    def loss() -> float:
        torch.manual_seed(5)
        model.log = model.log_dict = lambda *_, **__: None
        with torch.no_grad():
            return float(sum(model.training_step(batch, 0)["loss"] for _ in range(5)))

    before = loss()
    del model.log, model.log_dict
    trainer(tmp_path, 60).fit(model, data(shards))
    assert loss() < before * 2 / 3


def test_depth_weighs_skin_and_of_studio_people_a_little_more(shards, codec):
    batch = next(iter(data(shards).val_dataloader()))
    model = stage(codec, outside_skin=0.25)
    weight = model.encode(batch).weight
    skin = torch.nn.functional.avg_pool2d(batch.skin.float(), 8)
    assert torch.allclose(weight, skin + 0.25 * (1 - skin))
    fitted = dataclasses.replace(batch, depth_source=("fitted",) * len(batch))
    assert torch.equal(model.encode(fitted).weight, skin)
    none = dataclasses.replace(batch, range_mm=torch.tensor([[0.0, 1.0]]).repeat(len(batch), 1))
    assert model.encode(none).weight.sum() == 0


def test_confidence_scales_what_a_sample_teaches_of_depth_and_nothing_else(shards, codec):
    batch, model = next(iter(data(shards).val_dataloader())), stage(codec)
    model.log = model.log_dict = lambda *_, **__: None

    def terms(confidence) -> tuple[float, torch.Tensor]:
        out = model.training_step(dataclasses.replace(batch, confidence=confidence), 0)
        drawn.append(out["report"].depth.counts_B)
        return float(out["loss"]), out["report"].depth.loss_B

    drawn: list[torch.Tensor] = []

    trust = torch.tensor([1.0, 0.5, 0.25, 0.0]).reshape(4, 1, 1, 1)
    full, full_B = terms(torch.ones_like(batch.confidence))
    some, some_B = terms(trust.expand_as(batch.confidence))
    assert drawn[0].sum() == 3  # one of four is depth-to-image, whose depth is given
    assert full_B[drawn[0]].min() > 0
    assert torch.allclose(some_B, full_B * trust.flatten())
    assert full - some == pytest.approx(float((full_B - some_B).sum()) / 3, rel=1e-4)


def test_shares_and_losses_of_sources_are_logged(shards, codec, tmp_path):
    class Watch(L.Callback):
        def __init__(self):
            self.batches = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.batches.append((batch, outputs))

    class Memory(Logger):
        name = version = "memory"

        def __init__(self):
            super().__init__()
            self.lines = []

        def log_hyperparams(self, *_, **__):
            pass

        def log_metrics(self, metrics, step=None):
            self.lines.append((step, metrics))

    folder = str(shards / "train")
    sources = {"studio": Source(folder, 3.0), "further": Source(folder, confidence=0.5)}
    module = ImageDataModule(sources, batch_size=4, size_px=32, epoch_steps=10)
    watch, memory = Watch(), Memory()
    run = trainer(tmp_path, 7, watch, SourceLog())
    run.loggers, run.log_every_n_steps = [memory], 3
    run.fit(stage(codec), module)
    lines = {step: metrics for step, metrics in memory.lines if "data/share_studio" in metrics}
    assert list(lines) == [2, 5]
    for first, metrics in zip((0, 3), lines.values(), strict=True):
        names = [s for batch, _ in watch.batches[first : first + 3] for s in batch.source]
        terms, drawn = (
            torch.cat([getattr(out["report"].depth, name) for _, out in watch.batches[first : first + 3]])
            for name in ("loss_B", "counts_B")
        )
        assert metrics["data/share_studio"] + metrics.get("data/share_further", 0) == pytest.approx(1)
        for name in set(names):
            chosen = torch.tensor([n == name for n in names])
            assert metrics[f"data/share_{name}"] == pytest.approx(float(chosen.float().mean()))
            if not (drawn & chosen).any():
                assert f"train/loss_depth_{name}" not in metrics
                continue
            assert metrics[f"train/loss_depth_{name}"] == pytest.approx(float(terms[drawn & chosen].mean()), rel=1e-5)
    # what they add up to is the loss of the step
    _, out = watch.batches[2]
    whole = [
        metrics["train/loss_depth"] for step, metrics in memory.lines if step == 2 and "train/loss_depth" in metrics
    ]
    assert whole == [pytest.approx(float(out["report"].depth.loss_B[out["report"].depth.counts_B].mean()), rel=1e-5)]


@pytest.mark.slow
def test_the_rate_warms_up_and_falls_to_zero(shards, codec, tmp_path):
    model, rates = stage(codec, decay=1.0, warmup_steps=4), []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(tmp_path, 10, Watch()).fit(model, data(shards))
    assert rates[0] == pytest.approx(1e-3 / 4)
    assert max(rates) == rates[3]
    assert rates[-1] < 0.1 * max(rates)
    with pytest.raises(ValueError, match="max_steps"):
        trainer(tmp_path, -1).fit(stage(codec, decay=1.0), data(shards))


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint(shards, codec, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=5)
    trainer(tmp_path, 5, keep, MeanDepth(), EMA(decay=0.5)).fit(stage(codec), data(shards))
    model, mean = stage(codec), MeanDepth()
    further = trainer(tmp_path, 8, mean, EMA(decay=0.5))
    further.fit(model, data(shards), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert further.global_step == 8
    assert mean.count.max() <= 8 * 4
    assert mean.count.max() > 5 * 4 * 0.9  # the sums of the first five steps came along


def test_training_starts_from_a_weights_folder(codec, tmp_path):
    first = stage(codec)
    first.pipeline().save_pretrained(tmp_path / "weights")
    torch.manual_seed(5)  # other random networks, were they drawn
    again = ImageStage(codec=codec, size_px=32, init=str(tmp_path / "weights"))
    assert again.unet.training
    assert again.reference.training
    for mine, theirs in zip(again.unet.parameters(), first.unet.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.requires_grad == theirs.requires_grad
    assert [p.requires_grad for p in again.reference.parameters()] == [
        p.requires_grad for p in first.reference.parameters()
    ]


def test_weights_of_other_latents_are_no_start(codec, tmp_path):
    stage(codec).pipeline().save_pretrained(tmp_path / "weights")
    small_codec(latent_channels=4).save_pretrained(tmp_path / "wide")
    with pytest.raises(ValueError, match=r"model\.init .*weights: .*3 latent channels"):
        ImageStage(codec=str(tmp_path / "wide"), size_px=32, init=str(tmp_path / "weights"))


def test_a_likeness_net_goes_along_into_the_weights_untrained(codec, tmp_path):
    torch.manual_seed(3)
    net = LikenessNet(3, 8, 8, 1)
    net.save_pretrained(tmp_path / "net")
    first = stage(codec, likeness_net=str(tmp_path / "net"))
    assert not any(p.requires_grad for p in first.likeness_net.parameters())
    first.pipeline().save_pretrained(tmp_path / "weights")
    # fine-tuning takes it over
    again = ImageStage(codec=codec, size_px=32, init=str(tmp_path / "weights"))
    again.pipeline().save_pretrained(tmp_path / "more")
    kept = PortraitPipeline.from_pretrained(tmp_path / "more").likeness_net
    for stored, ours in zip(kept.parameters(), net.parameters(), strict=True):
        assert torch.equal(stored, ours)
    assert stage(codec).pipeline().likeness_net is None


def test_a_likeness_net_that_does_not_go_with_the_networks(codec, tmp_path):
    LikenessNet(4, 8, 8, 1).save_pretrained(tmp_path / "wide")
    with pytest.raises(ValueError, match=r"likeness_net .*wide: 4 latent channels, but model\.codec has 3"):
        stage(codec, likeness_net=str(tmp_path / "wide"))
    with pytest.raises(ValueError, match="leave it out"):
        stage(codec, likeness_net=str(tmp_path / "wide"), reference=False)
