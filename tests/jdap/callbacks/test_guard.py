"""The guard, the averages and the logs, in a real training."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from fakes import write_fakes
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy
from networks import write_codec
from settings import make_stage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import trainer

from jdap.callbacks.averaging import EMA
from jdap.callbacks.guard import FiniteGuard, NotFinite
from jdap.callbacks.logs import DepthTable, NoiseLog
from jdap.data.modules import ImageDataModule
from jdap.stages.image import ImageStage
from jdap.stages.parts.report import HalfReport, StepReport

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    write_fakes(folder / "train", people=2, frames=2, size_px=32)
    write_codec(folder / "codec")
    return folder


class Poison(L.Callback):
    """Makes the gradient, or one sample's loss, NaN at a step."""

    def __init__(self, steps, loss=False):
        self.steps, self.loss, self.weights = steps, loss, {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step in self.steps and self.loss:
            batch.confidence[1] = float("nan")

    def on_after_backward(self, trainer, pl_module):
        self.weights[trainer.global_step] = [p.detach().clone() for p in pl_module.parameters()]
        if trainer.global_step in self.steps and not self.loss:
            pl_module.unet.unet.conv_in.weight.grad[0] = float("nan")


def fit(folder, out, *callbacks, steps=4, model=None, val=False, logger=False, ckpt=None, **options) -> ImageStage:
    torch.manual_seed(0)
    codec = str(folder / "codec")
    model = model or make_stage(ImageStage, codec=codec, size_px=32, learning_rate=1e-3, warmup_steps=1)
    train = str(folder / "train")
    data = ImageDataModule(train, train if val else None, batch_size=2, size_px=32, epoch_steps=10)
    run = trainer(out, steps, *callbacks, logger=logger, gradient_clip_val=1.0, **options)
    run.fit(model, data, ckpt_path=ckpt, weights_only=ckpt and True)
    return model


@pytest.mark.parametrize(
    ("loss", "told"), [(False, r"the gradient of 1 parameters, unet\.unet\.conv_in\.weight"), (True, "loss_depth")]
)
def test_a_nan_ends_the_run_before_it_gets_into_the_weights(folder, tmp_path, loss, told):
    poison = Poison({2}, loss)
    model = make_stage(ImageStage, codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=1)
    keep = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=1, save_last=True)
    with pytest.raises(NotFinite, match=rf"^step 2: .*{told}.*fake-0-.*\(studio\)") as caught:
        fit(folder, tmp_path, poison, FiniteGuard(), keep, model=model)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("(studio)") == (1 if loss else 2)  # the sample, where it can be told
    for now, before in zip(model.parameters(), poison.weights[2], strict=True):
        assert torch.equal(now, before)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 2
    assert all(x.isfinite().all() for x in stored["state_dict"].values() if x.is_floating_point())


def test_steps_may_be_skipped_up_to_a_number(folder, tmp_path, caplog):
    poison, guard = Poison({1, 2}), FiniteGuard(skip=2)
    model = fit(folder, tmp_path, poison, guard, steps=4)
    for first, second in ((1, 2), (2, 3)):
        assert all(torch.equal(a, b) for a, b in zip(poison.weights[first], poison.weights[second], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(poison.weights[3], model.parameters(), strict=True))
    assert caplog.text.count("not finite") == 2
    again = FiniteGuard(skip=2)
    again.load_state_dict(guard.state_dict())
    with pytest.raises(NotFinite):
        fit(folder, tmp_path, Poison({0}), again, steps=1)


def ramped(decay, steps):
    """Early in a run an average forgets sooner, as :class:`jdap.callbacks.averaging.EMA` says."""
    return min(decay, (1 + steps) / (10 + steps))


class Weights(L.Callback):
    """The trained weights after every step, in float32."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append({n: p.detach().float().clone() for n, p in pl_module.named_parameters() if p.requires_grad})


@pytest.mark.parametrize(("every", "device"), [(1, None), (2, "cpu")])
def test_averages_are_those_of_the_formula(folder, tmp_path, every, device):
    weights, ema = Weights(), EMA(decay=0.6, every=every, device=device)
    model = fit(folder, tmp_path, weights, ema, val=True, limit_val_batches=1, val_check_interval=2)
    expected = weights.seen[0]
    for n, seen in list(enumerate(weights.seen))[every::every]:
        kept = ramped(0.6, n) ** every
        expected = {name: kept * a + (1 - kept) * seen[name] for name, a in expected.items()}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert set(trained) == set(ema.averages) == set(expected)
    for name, weight in trained.items():  # when training is over they are the weights
        torch.testing.assert_close(weight.detach(), expected[name], atol=1e-6, rtol=1e-5)
        assert ema.averages[name].dtype == torch.float32
    assert not [n for n in ema.averages if n.startswith("codec")]


def test_validation_sees_averages_and_training_does_not(folder, tmp_path):
    class Watch(L.Callback):
        def __init__(self):
            self.validated = self.after = None

        def on_validation_batch_start(self, trainer, pl_module, *_):
            self.validated = pl_module.unet.unet.conv_in.weight.detach().clone()

        def on_train_batch_start(self, trainer, pl_module, *_):
            self.after = pl_module.unet.unet.conv_in.weight.detach().clone()

    weights, ema, watch = Weights(), EMA(decay=0.6), Watch()
    fit(folder, tmp_path, weights, ema, watch, steps=3, val=True, limit_val_batches=1, val_check_interval=2)
    one, two, three = (w["unet.unet.conv_in.weight"] for w in weights.seen[:3])
    a, b = ramped(0.6, 1), ramped(0.6, 2)
    torch.testing.assert_close(watch.validated, b * (a * one + (1 - a) * two) + (1 - b) * three)
    assert torch.equal(watch.after, three)


def test_averages_of_bfloat16_weights_are_float32(tmp_path):
    class Line(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4, bias=False, dtype=torch.bfloat16)

        def training_step(self, batch, batch_idx):
            return (self.layer(batch.bfloat16()) - 1).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    line, ema, weights = Line(), EMA(decay=0.999), Weights()
    trainer(tmp_path, 3, weights, ema).fit(line, torch.utils.data.DataLoader(torch.rand(8, 4)))
    expected = weights.seen[0]["layer.weight"]
    for n, seen in enumerate(weights.seen[1:], 1):
        expected = torch.lerp(expected, seen["layer.weight"], 1 - ramped(0.999, n))
    average = ema.averages["layer.weight"]
    torch.testing.assert_close(average, expected)
    assert not torch.equal(average, average.bfloat16().float())
    assert torch.equal(line.layer.weight, average.bfloat16())


def test_averages_of_nameless_shards_are_refused():
    with pytest.raises(ValueError, match="take ddp"):
        EMA().on_train_start(SimpleNamespace(strategy=FSDPStrategy()), torch.nn.Linear(2, 2))


def test_a_resumed_run_goes_on_with_its_averages(folder, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit(folder, tmp_path, ema := EMA(decay=0.6), keep, Two := Weights(), steps=2)
    again = EMA(decay=0.6)
    fit(folder, tmp_path, again, weights := Weights(), steps=3, ckpt=tmp_path / "step=2.ckpt")
    for name, average in again.averages.items():
        a, b, c = (ramped(0.6, n) for n in (1, 2, 3))
        at_two = b * (a * Two.seen[0][name] + (1 - a) * Two.seen[1][name]) + (1 - b) * Two.seen[2][name]
        torch.testing.assert_close(average, c * at_two + (1 - c) * weights.seen[-1][name], atol=1e-6, rtol=1e-5)
    assert ema.averages.keys() == again.averages.keys()


def test_losses_and_gradients_along_the_noise_are_logged(folder, tmp_path):
    class Outputs(L.Callback):
        def __init__(self):
            self.seen, self.norms = [], []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(outputs)

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self.norms.append(float(torch.stack([g.norm() for g in grads]).norm()))

    logger, outputs = TensorBoardLogger(str(tmp_path), name="logs"), Outputs()
    log = NoiseLog(bins=2)
    fit(
        folder, tmp_path, log, outputs, DepthTable(), EMA(), logger=logger, log_every_n_steps=2, steps=4,
        val=True, limit_val_batches=1, val_check_interval=2,
    )  # fmt: skip
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/grad_norm", "train/grad_norm_unet", "train/grad_norm_reference", "train/ema_decay"} <= tags
    points = {e.step: e.value for e in events.Scalars("train/grad_norm")}
    assert points == pytest.approx({1: outputs.norms[1], 3: outputs.norms[3]}, rel=1e-4)
    for half in ("rgb", "depth"):
        for low, high in ((0, 499), (500, 999)):
            name = f"bins/loss_{half}/{low:04d}-{high:04d}"
            found = {e.step: e.value for e in events.Scalars(name)} if name in tags else {}
            for last in (1, 3):
                both = [getattr(o["report"], half) for o in outputs.seen[last - 1 : last + 1]]
                t = torch.cat([o.t_B for o in both])
                here = (t >= low) & (t <= high) & torch.cat([o.counts_B for o in both])
                assert (last in found) == bool(here.any())
                if here.any():
                    assert found[last] == pytest.approx(
                        float(torch.cat([o.loss_B for o in both])[here].mean()), rel=1e-4
                    )
                    pull = {e.step: e.value for e in events.Scalars(name.replace("loss", "grad"))}
                    assert pull[last] > 0
    table = events.Tensors("val/depth/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert table.startswith("| step |")
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["2", "4"]


def bins(v, loss, report: StepReport) -> dict[str, float]:
    """What is logged of one step in which the network answered ``v``, in two ranges of timesteps."""
    lines: list[dict[str, float]] = []
    logger = SimpleNamespace(log_metrics=lambda scalars, step: lines.append(scalars))
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=1, loggers=[logger])
    module = torch.nn.Module()
    module.unet, module.schedule = torch.nn.Identity(), SimpleNamespace(timesteps=1000)
    log = NoiseLog(bins=2)
    log.on_train_start(trainer, module)
    module.unet(v)
    loss.backward()
    trainer.global_step = 1
    log.on_train_batch_end(trainer, module, {"report": report}, None, 0)
    return lines[0]


def test_the_gradient_at_the_output_is_the_formula_s():
    """dL/dv of a sample is 2 g (v − v*) / (B C h w); checked against autograd by hand."""
    v = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    target = torch.randn(2, 3, 4, 4)
    of_both = HalfReport(torch.ones(2), torch.ones(2, dtype=torch.bool), torch.tensor([100, 900]))
    report = StepReport(of_both, of_both, torch.arange(2))
    logged = bins(v, (v[0] - target).square().mean() + 0 * v[1].sum(), report)
    expected = (2 * (v[0] - target) / v[0].numel()).flatten(1).norm(dim=1).tolist()
    assert [logged["bins/grad_rgb/0000-0499"], logged["bins/grad_rgb/0500-0999"]] == pytest.approx(expected, rel=1e-5)
    assert logged["bins/grad_depth/0000-0499"] == logged["bins/grad_depth/0500-0999"] == 0


def test_gradients_are_logged_by_their_own_samples_timestep_whatever_order_the_network_was_asked_in():
    """The network saw the third sample, then the first, then the second; the third's RGB was given."""
    v = torch.zeros(3, 1, requires_grad=True), torch.zeros(3, 1, requires_grad=True)
    loss = sum((torch.tensor([[30.0], [10.0], [20.0]]) * x).sum() for x in v)
    losses, t = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([100, 900, 900])
    halves = [HalfReport(losses, torch.tensor(has), t) for has in ([True, True, False], [True, True, True])]
    assert bins(v, loss, StepReport(*halves, torch.tensor([1, 2, 0]))) == pytest.approx(
        {
            **{"bins/loss_rgb/0000-0499": 1.0, "bins/grad_rgb/0000-0499": 10.0},
            **{"bins/loss_rgb/0500-0999": 2.0, "bins/grad_rgb/0500-0999": 20.0},
            **{"bins/loss_depth/0000-0499": 1.0, "bins/grad_depth/0000-0499": 10.0},
            **{"bins/loss_depth/0500-0999": 2.5, "bins/grad_depth/0500-0999": 25.0},
        }
    )


def test_optimisers_that_are_not_there_are_told(folder, tmp_path):
    def with_optimizer(name):
        return make_stage(ImageStage, codec=str(folder / "codec"), size_px=32, kind=name)

    with pytest.raises(ValueError, match=r"jdap\[adamw8bit\]|needs CUDA"):
        fit(folder, tmp_path, model=with_optimizer("adamw8bit"))
    with pytest.raises(ValueError, match="adamw8bit"):
        with_optimizer("sgd")
