"""What a run leaves when it ends: live weights in last.ckpt, averages in the module; and gradients that are scaled."""

import copy
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader
from training import trainer

from jdap.callbacks.averaging import EMA
from jdap.callbacks.guard import FiniteGuard, NotFinite


class Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 4, bias=False)
        self.live: list[torch.Tensor] = [self.layer.weight.detach().clone()]

    def training_step(self, batch, batch_idx):
        return (self.layer(batch.x) - 1).square().mean()

    def on_train_batch_end(self, *_):
        self.live.append(self.layer.weight.detach().clone())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


def batches(count, worst=None):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.rand(2, 4, generator=generator) for _ in range(count)]
    if worst is not None:
        rows[worst][0, 0] = float("nan")
    made = [SimpleNamespace(x=x, key=("one", "two"), source=("studio",) * 2) for x in rows]
    return DataLoader(made, batch_size=None, collate_fn=None)


def fit(folder, model, data, steps, *callbacks, ckpt=None, **settings) -> L.Trainer:
    run = trainer(folder, steps, *callbacks, **settings)
    run.fit(model, data, ckpt_path=ckpt, weights_only=ckpt and True)
    return run


@pytest.mark.parametrize("ema_first", [True, False])
def test_the_last_checkpoint_holds_the_weights_that_were_trained(tmp_path, ema_first):
    """Also where it is only written when training ends, after the averages have taken the weights' place."""
    model, ema = Line(), EMA(decay=0.9)
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=100)
    fit(tmp_path, model, batches(20), 5, *([ema, keep] if ema_first else [keep, ema]))
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    average = stored["EMA"]["averages"]["layer.weight"]
    assert torch.equal(stored["state_dict"]["layer.weight"], model.live[-1])
    assert torch.equal(model.layer.weight, average)  # what is exported
    assert not torch.allclose(average, model.live[-1], atol=1e-3)


def test_a_run_that_ended_early_goes_on_exactly(tmp_path):
    whole, first, second = Line(), Line(), Line()
    fit(tmp_path, whole, batches(20), 7, EMA(decay=0.9))
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=100)
    fit(tmp_path, first, batches(20), 5, EMA(decay=0.9), keep)
    rest = list(batches(20))[5:]
    again = DataLoader(rest, batch_size=None, collate_fn=None)
    fit(tmp_path, second, again, 7, EMA(decay=0.9), ckpt=tmp_path / "last.ckpt")
    torch.testing.assert_close(second.live[-1], whole.live[-1])
    torch.testing.assert_close(second.layer.weight, whole.layer.weight)


def scaled(scale: float) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_steps_that_a_gradient_scaler_leaves_out_do_not_end_a_run(tmp_path):
    """Its first scales are too large for half precision: gradients overflow, and it tries smaller ones."""
    model = Line()
    start, overflows = copy.deepcopy(model.layer.weight.data), []

    class Watch(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            overflows.append(not pl_module.layer.weight.grad.isfinite().all())

    fit(tmp_path, model, batches(20), 12, Watch(), FiniteGuard(), plugins=[scaled(2.0**22)])
    assert overflows[0]
    assert not overflows[-1]
    assert model.layer.weight.isfinite().all()
    assert torch.equal(model.live[1], start)
    assert not torch.equal(model.layer.weight, start)


def test_a_loss_that_is_not_finite_ends_a_run_whatever_scales_its_gradients(tmp_path):
    model = Line()
    with pytest.raises(NotFinite, match=r"^step 3: loss.* one \(studio\), two \(studio\)"):
        fit(tmp_path, model, batches(20, worst=3), 12, FiniteGuard(), plugins=[scaled(4.0)])
    assert model.layer.weight.isfinite().all()


def test_without_a_scaler_a_gradient_that_is_not_finite_ends_a_run(tmp_path):
    class Poison(L.Callback):
        def on_after_backward(self, trainer, pl_module):
            pl_module.layer.weight.grad[0] = float("inf")

    with pytest.raises(NotFinite, match=r"gradient of 1 .*layer\.weight"):
        fit(tmp_path, Line(), batches(4), 2, Poison(), FiniteGuard())
