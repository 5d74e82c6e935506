import json
from dataclasses import replace
from types import SimpleNamespace

import av
import lightning as L
import pytest
import torch
from fakes import write_fakes
from lightning.pytorch.loggers import TensorBoardLogger
from temporal import BEFORE, FRAMES, SIZE_PX, data, fit, loosened, stage, write_image_weights
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from jdap.batch import ClipLatentBatch
from jdap.callbacks.averaging import EMA
from jdap.callbacks.clip_samples import ClipSamples
from jdap.callbacks.export import ExportWeights
from jdap.callbacks.guard import FiniteGuard
from jdap.callbacks.logs import NoiseLog
from jdap.callbacks.sources import SourceLog
from jdap.data.caching import cache
from jdap.diffusion.draws import StepSlice, draw_noise, draw_timesteps
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.clip.unet import MotionFrames
from jdap.pipelines.talking import TalkingPipeline
from jdap.stages.parts.clip_latents import encode_clip, near_mouth
from jdap.stages.parts.means import ValidationMeans
from jdap.stages.temporal import OF_CONDITIONS, OF_NOISE


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_fakes(folder, people=3, frames=10, size_px=SIZE_PX, fps=25.0, seed=0)
    return folder


@pytest.fixture(scope="module")
def image_weights(tmp_path_factory):
    return write_image_weights(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def batch(shards):
    return next(iter(data(shards).train_dataloader()))


def test_motion_and_sound_train_and_the_image_model_stays(image_weights, shards, tmp_path):
    model = stage(image_weights, conditions=["pose", "lips"], condition_drop=0.0)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    fit(model, data(shards), tmp_path, 3, EMA(decay=0.5), FiniteGuard())
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved == trained
    for part in ("unet.unet.down_blocks.1.motion_modules", "unet.audio.layers", "audio.encoder", "drive.networks"):
        assert any(name.startswith(part) for name in trained), part
    assert not any(".attentions." in name or ".resnets." in name for name in trained)


@pytest.mark.slow
def test_a_run_ends_with_weights_that_talk_and_a_video_with_sound(image_weights, shards, tmp_path):
    model = stage(image_weights, conditions=["lips"])
    callbacks = (ClipSamples(clips=2, steps=2), EMA(decay=0.5), ExportWeights())
    log = TensorBoardLogger(tmp_path, "logs")
    module = data(shards)
    module.specs["val"] = module.train
    fit(
        model,
        module,
        tmp_path,
        4,
        *callbacks,
        limit_val_batches=2,
        val_check_interval=2,
        logger=log,
        log_every_n_steps=1,
    )
    pipeline = TalkingPipeline.from_pretrained(tmp_path / "weights")
    assert pipeline.shape == model.shape
    assert pipeline.shape.anchor
    stored = pipeline.unet.state_dict()
    for name, ours in model.unet.state_dict().items():
        assert torch.equal(ours, stored[name]), name
    told = json.loads((tmp_path / "weights" / "training.json").read_text())
    assert (told["stage"], told["steps"], told["hyper_parameters"]["window"]["frames"]) == ("TemporalStage", 4, FRAMES)
    with av.open(str(tmp_path / "samples.mp4")) as video:
        pictures = list(video.decode(video=0))
        assert len(pictures) == 2 * (FRAMES + BEFORE)
        assert (pictures[0].width, pictures[0].height) == (4 * 32, 32)
        assert video.streams.audio[0].rate == 16000
    (file,) = (tmp_path / "logs").rglob("events*")
    seen = {value.tag: value for event in EventFileLoader(str(file)).Load() for value in event.summary.value}
    assert {"clips/0", "clips/1", "val/loss", "val/loss_rgb", "val/loss_depth", "train/loss"} <= set(seen)
    assert {"val/lips_rgb", "val/lips_depth"} <= set(seen)


@pytest.mark.slow
@torch.no_grad()
def test_weights_that_talk_can_be_trained_on(image_weights, batch, tmp_path):
    first = loosened(image_weights, conditions=["lips"])
    first.pipeline().save_pretrained(tmp_path / "talk")
    again = stage(str(tmp_path / "talk"), conditions=["lips"])
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in first.named_parameters() if p.requires_grad
    }
    assert again.unet.training
    assert loss(again.eval(), batch) == pytest.approx(loss(first, batch), abs=1e-6)
    with pytest.raises(ValueError, match=r"has sound\.tokens 3, not 5$"):
        stage(str(tmp_path / "talk"), conditions=["lips"], tokens=5)
    with pytest.raises(ValueError, match="motion modules of its own"):
        stage(str(tmp_path / "talk"), conditions=["lips"], motion="elsewhere")


def test_lips_are_heard_before_they_are_drawn(image_weights, shards, batch, tmp_path):
    model = stage(image_weights, lips=0.5, lip_steps=3)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    fit(model, data(shards), tmp_path / "first", 3, FiniteGuard(), NoiseLog(), SourceLog(), log_every_n_steps=1)
    moved = {n for n, x in model.state_dict().items() if not torch.equal(x, before[n])}
    assert any(name.startswith("audio.encoder") for name in moved)
    assert {"lips.weight", "lips.bias"} <= moved
    # nothing has pulled at the others, so the optimiser has not taken them up: zeros would spoil its first true steps
    assert all(name.startswith(("audio.", "lips.")) for name in moved)
    optimizer = model.optimizers().optimizer
    heard = {p for name, p in model.named_parameters() if name.startswith(("audio.", "lips."))}
    assert set(optimizer.state) <= heard
    opened = replace(batch, lip_opening_mm=torch.rand(2, FRAMES + BEFORE) * 5)
    tokens, has_audio = model.audio(opened.audio, FRAMES + BEFORE, opened.audio_margin), opened.has_audio
    read = (tokens @ model.lips.weight.T)[..., 0] + model.lips.bias
    wrong = read - opened.lip_opening_mm[..., None] / 5
    wanted = wrong.square().mean().item()
    assert model.lips.loss(tokens, opened.lip_opening_mm, has_audio).item() == pytest.approx(wanted, rel=1e-5)
    unknown = opened.lip_opening_mm.clone()
    unknown[1] = torch.nan
    wanted = wrong.square()[0].mean().item()
    assert model.lips.loss(tokens, unknown, has_audio).item() == pytest.approx(wanted, rel=1e-5)
    lips = logged(model, opened, model.training_step)["train/loss_lips"]
    assert lips.item() == pytest.approx(model.lips.loss(tokens, opened.lip_opening_mm, has_audio).item(), rel=1e-5)
    model.pipeline().save_pretrained(tmp_path / "talk")
    assert not any("lips" in path.name for path in (tmp_path / "talk").rglob("*"))


def test_lips_are_asked_to_move_as_they_do(image_weights, shards, batch):
    model = stage(image_weights, lips_seen=2.0, audio_drop=0.0)
    opened = replace(batch, lip_opening_mm=torch.rand(2, FRAMES + BEFORE) * 5)
    scalars = logged(model, opened, model.training_step)
    seen, read = scalars["train/loss_lips_seen"], scalars["train/loss_lips_read"]
    assert seen > 0
    assert read > 0
    # what is drawn has no say in how it is read, and what is read in truth moves nothing that draws
    reader = list(model.seen_lips.parameters())
    assert all(g is None for g in torch.autograd.grad(seen, reader, retain_graph=True, allow_unused=True))
    layers = list(model.unet.audio.parameters())
    assert all(g is None for g in torch.autograd.grad(read, layers, retain_graph=True, allow_unused=True))
    assert any(g is not None and g.abs().sum() > 0 for g in torch.autograd.grad(seen, layers, allow_unused=True))
    silent = replace(opened, has_audio=torch.zeros(2, dtype=torch.bool))
    assert logged(model, silent, model.training_step)["train/loss_lips_seen"] == 0
    given = stage(image_weights, lips_seen=2.0, image_to_depth=1.0)
    assert logged(given, opened, given.training_step)["train/loss_lips_seen"] == 0


def logged(model, batch, step) -> dict[str, torch.Tensor]:
    """What a step of the model logs."""
    scalars: dict[str, torch.Tensor] = {}
    model.log_dict = lambda found, **how: scalars.update(found)
    model.log = lambda name, value, **how: None
    step(batch, 0)
    return scalars


def validated(model, batch) -> float:
    model.means = ValidationMeans(model.means.names)
    model.validation_step(batch, 0)
    return model.means.take(SimpleNamespace(device="cpu", trainer=SimpleNamespace(world_size=1)))["loss"].item()


@torch.no_grad()
def test_validation_draws_the_same_every_time(image_weights, batch):
    model = loosened(image_weights, audio_drop=0.5, motion_drop=0.5, motion_noise=0.1)
    first = [validated(model, batch) for _ in range(2)]
    assert first[0] == first[1]
    none_dropped = loosened(image_weights, audio_drop=0.0, motion_drop=0.0, reference_drop=0.0)
    assert validated(none_dropped, batch) == first[0]


@pytest.mark.slow
def test_a_clip_can_be_learnt(image_weights, batch):
    model = stage(image_weights, audio_drop=0.0, motion_drop=0.0, reference_drop=0.0, last_step_fraction=1.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(25):
        loss = model.training_step(batch, 0)["loss"]  # outside of a trainer every step draws the same
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def loss(model, batch):
    return model.training_step(batch, 0)["loss"].item()


@pytest.mark.slow
@torch.no_grad()
def test_noise_that_drawn_frames_share_may_be_other_than_in_training(image_weights, batch):
    assert stage(image_weights, sharing=0.25).shape.noise_sharing == 0.25
    apart = stage(image_weights, sharing=0.25, drawn_sharing=0.75)
    assert apart.shape.noise_sharing == apart.pipeline().shape.noise_sharing == 0.75
    with torch.no_grad():
        assert loss(apart, batch) == loss(stage(image_weights, sharing=0.25), batch)
    with pytest.raises(ValueError, match=r"drawn_sharing"):
        stage(image_weights, drawn_sharing=1.5)


def test_sound_may_be_anothers_or_none(image_weights, batch):
    own, shuffled = loosened(image_weights), loosened(image_weights, whose="shuffled")
    assert loss(own, batch) != loss(shuffled, batch)
    swapped = replace(batch, audio=batch.audio.roll(1, 0), has_audio=batch.has_audio.roll(1, 0))
    assert loss(own, swapped) == pytest.approx(loss(shuffled, batch), abs=1e-7)
    deaf = stage(image_weights, whose="none")
    assert deaf.audio is None
    assert deaf.audio_margin == 0
    silent = replace(batch, has_audio=torch.zeros_like(batch.has_audio))
    assert loss(own, silent) == pytest.approx(loss(loosened(image_weights, audio_drop=1.0), batch), abs=1e-7)
    one = replace(batch, **{n: v[:1] for n, v in vars(batch).items() if hasattr(v, "__len__")})
    with pytest.raises(ValueError, match=r"data\.batch_size 1"):
        loss(shuffled, one)
    # validation asks every model the same
    assert validated(own, one) == validated(shuffled, one)


def test_latents_that_were_cached_teach_the_same(image_weights, tmp_path):
    """Windows as long as their samples have the samples' range of depth; float16 is all that differs."""
    write_fakes(tmp_path / "clips", people=2, frames=FRAMES + BEFORE, size_px=SIZE_PX, fps=25.0)
    cache(str(tmp_path / "clips"), f"{image_weights}/codec", tmp_path / "latents", clips=True)
    pictures, latents = (
        next(iter(data(tmp_path / name, flip=False, jitter=0.0).train_dataloader())) for name in ("clips", "latents")
    )
    assert isinstance(latents, ClipLatentBatch)
    kinds = {"conditions": ["pose", "lips"], "condition_drop": 0.0, "audio_drop": 0.0}
    model = loosened(image_weights, **kinds, mouth_focus=10.0, lips=0.5, lips_seen=1.0)
    one, other = (logged(model, batch, model.training_step) for batch in (pictures, latents))
    for name, value in one.items():
        assert other[name].item() == pytest.approx(value.item(), rel=1e-3), name
    fit(stage(image_weights), data(tmp_path / "latents"), tmp_path, 2, FiniteGuard(), SourceLog(), NoiseLog())
    with pytest.raises(ValueError, match=r"latents of codec other, and the codec of model\.init is \w{12}: cache"):
        model.training_step(replace(latents, codec="other"), 0)
    # where nothing has to be encoded for it, mouths are read from the first steps on
    model = stage(image_weights, lips=0.5, lips_seen=1.0, lip_steps=2)
    before = [p.clone() for p in model.seen_lips.parameters()]
    fit(model, data(tmp_path / "latents"), tmp_path / "first", 2)
    assert not any(torch.equal(p, old) for p, old in zip(model.seen_lips.parameters(), before, strict=True))


def motion_frames(model, batch) -> MotionFrames:
    """What the network is told of the frames before, in the first step."""
    told = []
    watch = model.unet.register_forward_pre_hook(lambda unet, _, given: told.append(given["motion"]), with_kwargs=True)
    model.training_step(batch, 0)
    watch.remove()
    return told[0]


@torch.no_grad()
def test_dropped_motion_frames_are_nothing_at_the_last_timestep(image_weights, batch):
    fresh = stage(image_weights)
    clean = encode_clip(fresh.codec, batch, fresh.codec_mark, 0.0, 0.1).clean
    dropped = motion_frames(stage(image_weights, motion_drop=1.0), batch)
    assert (dropped.t == 999).all()
    assert not dropped.rgb.any()
    kept = motion_frames(stage(image_weights, motion_drop=0.0), batch)
    assert (kept.t == 0).all()
    torch.testing.assert_close(kept.depth, clean.depth[:, :BEFORE])
    # one clip is noisy, the other is not
    model = stage(image_weights, motion_drop=0.0, motion_noise=0.1, seed=3)
    noisy, place = motion_frames(model, batch), StepSlice.of(0, 2)
    chance = draw_timesteps(model.law, model.schedule, 3, place, OF_CONDITIONS).chance[OF_NOISE]
    assert noisy.t.tolist() == [int(100 * max(2 * c - 1, 0)) for c in chance.tolist()]
    i, j = noisy.t.argsort().tolist()
    assert noisy.t[i] == 0 < noisy.t[j]
    torch.testing.assert_close(noisy.rgb[i], clean.rgb[i, :BEFORE])
    signal, noise = NoiseSchedule().alpha_bar[noisy.t[j]], draw_noise(clean, 3, place)
    torch.testing.assert_close(
        noisy.rgb[j], signal.sqrt() * clean.rgb[j, :BEFORE] + (1 - signal).sqrt() * noise.rgb[j, :BEFORE]
    )


@torch.no_grad()
def test_clips_that_do_not_fit_are_told_what_to_set(image_weights, shards, batch):
    with pytest.raises(ValueError, match=r"set data\.frames to 8"):
        loss(stage(image_weights, frames=6), batch)
    narrow = next(iter(data(shards, audio_margin=1).train_dataloader()))
    with pytest.raises(ValueError, match=r"set data\.audio_margin to 4"):
        loss(stage(image_weights), narrow)
    with pytest.raises(ValueError, match="31 together at most"):
        stage(image_weights, frames=31)
    with pytest.raises(ValueError, match=r"model\.sound\.whose"):
        stage(image_weights, whose="loud")
    with pytest.raises(ValueError, match="pose, lips, got smile"):
        stage(image_weights, conditions=["smile"])


def test_near_the_mouth_counts_more():
    mouth = torch.tensor([[[12.0, 20.0, 8.0]]])
    near = near_mouth(mouth, cells=4, factor=8)
    assert near.shape == (1, 1, 1, 4, 4)
    assert near.flatten().argmax() == 2 * 4 + 1  # the cell with its centre at (12, 20)
    assert near[0, 0, 0, 2, 1] == 1
    assert near[0, 0, 0, 2, 2] == pytest.approx(torch.tensor(-0.5).exp().item())


def gradients(model, batch):
    model.training_step(batch, 0)["loss"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def test_gradient_checkpointing_changes_no_gradient(image_weights, batch):
    kept, again = (
        gradients(loosened(image_weights, gradient_checkpointing=checkpointing).train(), batch)
        for checkpointing in (False, True)
    )
    assert all(x.any() for name, x in kept.items() if "motion_modules" in name)
    for name, x in kept.items():
        torch.testing.assert_close(again[name], x, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_bf16_mixed_trains_and_talks(image_weights, shards, tmp_path):
    """Weights stay float32; the loss of the first step is that of float32, but for rounding."""
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        model = stage(image_weights, gradient_checkpointing=True, conditions=["lips"], motion_noise=0.1)
        before = {name: x.clone() for name, x in model.state_dict().items()}
        watch = Losses()
        callbacks = (FiniteGuard(), ClipSamples(clips=1, steps=1), watch, EMA(decay=0.5), ExportWeights())
        module = data(shards)
        module.specs["val"] = module.train
        out = tmp_path / precision
        fit(model, module, out, 2, *callbacks, precision=precision, val_check_interval=2, limit_val_batches=1)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        assert any(not torch.equal(x, before[name]) for name, x in model.state_dict().items())
        losses[precision] = watch.losses
        (window,) = TalkingPipeline.from_pretrained(out / "weights").talk(
            torch.zeros(1, 3, SIZE_PX, SIZE_PX), torch.zeros(640 * FRAMES), steps=1
        )
        assert window.rgb.isfinite().all()
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.02)
    assert losses["bf16-mixed"] != losses["32-true"]


class Losses(L.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
