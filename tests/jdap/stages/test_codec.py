"""The codec stage: its losses against numbers worked out by hand, and a short run that learns and exports."""

import colorsys

import lightning as L
import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import TensorBoardLogger
from networks import CODEC
from settings import make_stage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import trainer, write_stills

from jdap import depth as depth_frames
from jdap.data.modules import ImageDataModule
from jdap.io.assets import resolve
from jdap.models.codec import load_codec
from jdap.models.loading import WeightsError
from jdap.stages.codec import CodecStage, depth_loss, dimmed, export, mosaics, rgb_loss

SMALL = CODEC | {"warmup_steps": 5, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_stills(tmp_path_factory.mktemp("fakes"))
    return ImageDataModule(str(folder / "train"), str(folder / "val"), batch_size=4, size_px=32, epoch_steps=10)


def score(stage: CodecStage, data: ImageDataModule, folder) -> dict[str, float]:
    (scores,) = trainer(folder, 1).validate(stage, data, verbose=False)
    return scores


@pytest.mark.slow
def test_a_run_learns_and_leaves_its_codec(data, tmp_path):
    torch.manual_seed(0)
    stage = make_stage(CodecStage, **SMALL, momentum=0.1)
    before = score(stage, data, tmp_path)
    trainer(tmp_path, 60).fit(stage, data)
    after = score(stage, data, tmp_path)
    assert after["val/psnr_rgb"] > before["val/psnr_rgb"] + 2
    assert after["val/rmse_depth"] < 0.5 * before["val/rmse_depth"]
    codec = load_codec(tmp_path / "weights")
    assert [p.name for p in tmp_path.glob("weights*")] == ["weights"]
    batches = [next(iter(data.train_dataloader())) for _ in range(8)]
    pictures = torch.cat([torch.cat([b.rgb, depth_frames.to_codec(b.depth)]) for b in batches])
    with torch.no_grad():
        assert torch.allclose(codec(pictures), stage.codec(pictures), atol=1e-4)
        std, mean = torch.std_mean(codec.encode(pictures), (0, 2, 3))
    # the statistics that were kept are those of the finished encoder
    torch.testing.assert_close(mean, torch.zeros(3), atol=0.2, rtol=0)
    torch.testing.assert_close(std, torch.ones(3), atol=0.2, rtol=0)


def test_the_decoder_goes_on_and_the_latents_stay(data, tmp_path):
    torch.manual_seed(0)
    first = make_stage(CodecStage, **SMALL, momentum=0.1)
    trainer(tmp_path, 20).fit(first, data)
    begun = load_codec(tmp_path / "weights")
    second = make_stage(CodecStage, **SMALL, init=str(tmp_path / "weights"), freeze_encoder=True)
    before = score(second, data, tmp_path)
    trainer(tmp_path / "second", 40).fit(second, data)
    after = score(second, data, tmp_path)
    assert after["val/psnr_rgb"] > before["val/psnr_rgb"]
    ended = load_codec(tmp_path / "second/weights")
    pictures = next(iter(data.val_dataloader())).rgb
    with torch.no_grad():
        assert torch.equal(ended.encode(pictures), begun.encode(pictures))
        assert not torch.equal(ended.decode(begun.encode(pictures)), begun(pictures))


def test_a_run_starts_from_a_folder(data, tmp_path):
    torch.manual_seed(0)
    first = make_stage(CodecStage, **SMALL)
    with torch.no_grad():
        first.codec.latent_mean.fill_(0.5)
    export(first.codec, tmp_path / "weights")
    second = make_stage(CodecStage, **SMALL, init=str(tmp_path / "weights"))
    for name, value in first.codec.state_dict().items():
        assert torch.equal(second.codec.state_dict()[name], value), name
    assert second.codec.training
    trainer(tmp_path / "second", 3).fit(second, data)
    ended = load_codec(tmp_path / "second/weights")
    assert not torch.equal(ended.encoder[1].weight, first.codec.encoder[1].weight)
    assert not torch.equal(ended.latent_mean, first.codec.latent_mean)


def test_what_cannot_be_started_from(tmp_path):
    export(make_stage(CodecStage, **SMALL).codec, tmp_path / "weights")
    weights = str(tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"weights: .*factor 8.*factor 4"):
        make_stage(CodecStage, **SMALL | {"factor": 4}, init=weights)
    for grown in (SMALL | {"latent_channels": 4}, SMALL | {"encoder_blocks": (1, 2)}):
        with pytest.raises(WeightsError, match="frozen encoder"):
            make_stage(CodecStage, **grown, init=weights, freeze_encoder=True)
    make_stage(CodecStage, **SMALL | {"decoder_blocks": (1, 2)}, init=weights, freeze_encoder=True)
    with pytest.raises(WeightsError, match="missing"):
        make_stage(CodecStage, **SMALL, init=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="freeze_encoder needs init"):
        make_stage(CodecStage, **SMALL, freeze_encoder=True)
    widths = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    AutoencoderTiny(**widths, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)).save_pretrained(tmp_path / "taesd")
    with pytest.raises(WeightsError, match="codec of diffusers"):
        make_stage(CodecStage, **SMALL, init=str(tmp_path / "taesd"))


def test_the_rate_ends_with_the_steps_or_the_time(data, tmp_path, monkeypatch):
    class Rates(L.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"] / SMALL["learning_rate"])

    rates = Rates()
    trainer(tmp_path, 10, rates).fit(make_stage(CodecStage, **SMALL), data)
    by_steps = [min(1, (i + 1) / 5) * (1 - i / 10) for i in range(10)]
    assert rates.seen == pytest.approx(by_steps)
    # A clock by which a step takes 10 seconds: the time is over long before a million steps are.
    rates, timer = Rates(), Timer({"seconds": 80})
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 10.0 * len(rates.seen))
    trainer(tmp_path, 1_000_000, rates, timer).fit(make_stage(CodecStage, **SMALL), data)
    assert rates.seen == pytest.approx([min(1, (i + 1) / 5) * (1 - i / 8) for i in range(8)], abs=1e-4)


def test_validation_numbers_are_those_of_the_pictures(data, tmp_path):
    """Against plain loops over pictures and pixels."""
    torch.manual_seed(0)
    stage = make_stage(CodecStage, **SMALL).eval()
    scores = score(stage, data, tmp_path)
    psnr, rmse = [], []
    for batch in data.val_dataloader():
        for i in range(len(batch)):
            with torch.no_grad():
                rgb = stage.codec(batch.rgb[i : i + 1])[0].clamp(-1, 1)
                depth = stage.codec(batch.depth[i : i + 1].repeat(1, 3, 1, 1))[0].mean(0).clamp(-1, 1)
            error = ((rgb - batch.rgb[i]) / 2).double().pow(2).mean()
            psnr.append(10 * torch.log10(1 / error))
            # The skin's q2 … q98 is -1 … 1 in the batch and 0.1 … 1 in the benchmark.
            to_benchmark = lambda d: 0.1 + 0.9 * (d + 1) / 2  # noqa: E731
            squares = (to_benchmark(depth) - to_benchmark(batch.depth[i, 0]))[batch.skin[i, 0]].pow(2)
            rmse.append(squares.mean().sqrt())
    assert scores["val/psnr_rgb"] == pytest.approx(torch.stack(psnr).mean().item(), rel=1e-4)
    assert scores["val/rmse_depth"] == pytest.approx(torch.stack(rmse).mean().item(), rel=1e-4)


def test_tensorboard_gets_scalars_and_reconstructions(data, tmp_path):
    logger = TensorBoardLogger(str(tmp_path), name="logs")
    trainer(tmp_path, 2, logger=logger, val_check_interval=2, log_every_n_steps=1).fit(
        make_stage(CodecStage, **SMALL), data
    )
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    told = {"train/loss", "train/loss_rgb", "train/loss_depth", "val/psnr_rgb", "val/rmse_depth"}
    assert told | {f"val/slope_{axis}" for axis in "YIQ"} <= set(events.Tags()["scalars"])
    (image,) = events.Images("reconstructions")
    assert image.width == 5 * 32


def test_losses_by_hand():
    target = torch.zeros(1, 3, 4, 4)
    picture = target.clone()
    picture[..., 2:] = 1  # a step of 1 between columns 1 and 2: half of the pixels are off by 1
    # grey is Y alone, whose weight is 1 of 3 axes; neighbours along a row: 1 of 3 differences, 1 of 1 at half
    assert rgb_loss(picture, target).item() == pytest.approx(0.5 / 3 + 0.5 * (1 / 3 + 1), rel=1e-4)
    # the pixels that are off weigh 3 times the others: 3 of 4 parts
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:] = 3
    assert rgb_loss(picture, target, weight).item() == pytest.approx(0.75 / 3 + 0.5 * (1 / 3 + 1), rel=1e-4)
    # a flat error along one axis of YIQ costs that axis alone: 1, 2 and 3 of 3; the axes by colorsys, of the library
    for axis, cost in enumerate((1.0, 2.0, 3.0)):
        to_rgb = np.linalg.inv(np.array([colorsys.rgb_to_yiq(*unit) for unit in np.eye(3)]).T)
        flat = torch.from_numpy(to_rgb[:, axis]).float().reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
        assert rgb_loss(flat, target).item() == pytest.approx(cost / 3, rel=0.02)
    depth, skin = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    skin[..., 2:] = True
    # on skin each pixel costs 1 / 2 + 8 with weight 4 of (4 + 1) / 2 in the mean
    assert depth_loss(picture, depth, skin, 3.0).item() == pytest.approx(8.5 * 4 / 5 + 0.25 / 3)
    off_skin = depth_loss(1 - picture, depth, skin, 3.0)
    assert off_skin.item() == pytest.approx(8.5 * 1 / 5 + 0.25 / 3)


def test_the_shipped_codec_keeps_its_promise(tmp_path):
    """Its figures in docs/codec.md, on the first held-out people."""
    stage = CodecStage()
    stage.codec = load_codec(resolve("shipped:image-tiny/codec"))
    shipped = ImageDataModule(val="shipped:shards/test", batch_size=16)
    (scores,) = trainer(tmp_path, 1, limit_val_batches=2).validate(stage, shipped, verbose=False)
    assert scores["val/psnr_rgb"] > 30.5
    assert scores["val/rmse_depth"] < 0.02
    assert all(0.9 < scores[f"val/slope_{axis}"] < 1.1 for axis in "YIQ")
    # one set of statistics for both modalities keeps the latents near unit variance
    batch = next(iter(shipped.val_dataloader()))
    with torch.no_grad():
        latents = stage.codec.encode(torch.cat([batch.rgb, depth_frames.to_codec(batch.depth)]))
    std, mean = torch.std_mean(latents, (0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=0.25, rtol=0)
    torch.testing.assert_close(std, torch.ones(3), atol=0.25, rtol=0)


def test_dimmed_pictures_keep_black_and_lose_at_most_what_is_said():
    rgb = torch.rand(64, 3, 4, 4)
    assert dimmed(rgb, 0.0) is rgb
    gains = (dimmed(rgb, 0.4) + 1) / (rgb + 1)
    flat = gains.flatten(2)
    torch.testing.assert_close(flat, flat[..., :1].expand_as(flat))  # one a picture and channel
    per = flat[..., 0]
    assert per.min() >= 0.6 - 1e-5
    assert per.max() <= 1 + 1e-5
    assert per.min() < 0.65
    assert per.max() > 0.95
    assert (per.std(dim=1) > 0).all()
    black = torch.full((2, 3, 4, 4), -1.0)
    assert torch.equal(dimmed(black, 1.0), black)


def test_mosaics_are_four_pictures_at_half_their_size():
    rgb, skin = torch.rand(8, 3, 4, 4), torch.rand(8, 1, 4, 4)
    made, made_skin = mosaics(rgb, skin, 0.4)  # 3.2 of 8
    for x, found in ((rgb, made), (skin, made_skin)):
        assert torch.equal(found[3:], x[3:])
        halves = x.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
        for one in found[:3]:
            tiles = [one[:, i : i + 2, j : j + 2] for i in (0, 2) for j in (0, 2)]
            origins = [[k for k, h in enumerate(halves) if torch.allclose(h, tile)] for tile in tiles]
            assert all(len(origin) == 1 for origin in origins)
            assert len({origin[0] for origin in origins}) == 4
    # a picture and its skin are cut alike
    whole = torch.cat([made, made_skin], dim=1)
    assert torch.equal(whole, mosaics(torch.cat([rgb, skin], dim=1), skin, 0.4)[0])
    assert all(a is b for a, b in zip(mosaics(rgb, skin, 0.1), (rgb, skin), strict=True))


def test_averaged_latents_decode_to_averaged_pictures(data):
    """The second loss is that of latents over 2 x 2 cells against pictures over 2 x 2 pixels."""
    batch = next(iter(data.val_dataloader()))
    parts = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        stage = make_stage(CodecStage, **SMALL, latent_noise=0.0, scale=weight)
        parts[weight] = stage.losses(batch)
    stage.codec.eval()
    with torch.no_grad():
        pictures = torch.cat([batch.rgb, batch.depth.repeat(1, 3, 1, 1)])
        raw = stage.codec.encode_raw(pictures)
        std, mean = torch.std_mean(raw, (0, 2, 3), keepdim=True)
        latents = ((raw - mean) / std)[: len(batch)]
        small = stage.codec.decode(latents.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5)))
        true, weight = (
            x.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5)) for x in (batch.rgb, 1 + 2.0 * batch.skin)
        )
    wanted = parts[0.0].total + 0.5 * rgb_loss(small, true, weight)
    assert parts[0.5].total.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert parts[0.5].rgb.item() == pytest.approx(parts[0.0].rgb.item(), rel=1e-6)


def test_export_replaces_an_older_folder(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    first, second = make_stage(CodecStage, **SMALL), make_stage(CodecStage, **SMALL)
    export(first.codec, folder)
    export(second.codec, folder)
    x = torch.zeros(1, 3, 16, 16)
    assert torch.equal(load_codec(folder)(x), second.codec(x))
    assert not torch.equal(load_codec(folder)(x), first.codec(x))
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
