import inspect
import os

import lightning as L
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from settings import make_stage
from training import trainer

from jdap.stages.codec import CodecStage
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.parts.optimizers import optimizer_of, share_done, warmed
from jdap.stages.settings.optimizer import OptimizerSettings
from jdap.stages.temporal import TemporalStage


class Clock:
    """What the share asks of a trainer."""

    strategy: Strategy = SingleDeviceStrategy(torch.device("cpu"))

    def __init__(self, steps, *timers):
        self.estimated_stepping_batches, self.callbacks = steps, list(timers)


def timer(spent, limit):
    made = Timer({"seconds": limit})
    made.time_elapsed = lambda stage="train": float(spent)
    return made


def test_the_end_that_comes_first_counts():
    assert share_done(Clock(100))(25) == 0.25
    assert share_done(Clock(100, timer(30, 120)))(10) == 0.25
    assert share_done(Clock(100, timer(30, 120)))(60) == 0.6
    assert share_done(Clock(float("inf"), timer(30, 120)))(10) == 0.25


def test_it_stays_within_the_run():
    assert share_done(Clock(100))(101) == 1.0
    assert share_done(Clock(100, timer(500, 120)))(3) == 1.0


def test_a_timer_without_limit_says_nothing():
    assert share_done(Clock(100, Timer()))(50) == 0.5


def rank_main(rank: int, folder: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    clock = Clock(100, timer(30 + 60 * rank, 120))
    clock.strategy = DDPStrategy()
    done = share_done(clock)
    torch.save([done(10), done(60)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_whose_clocks_differ_go_by_the_first_ones(tmp_path):
    mp.spawn(rank_main, (str(tmp_path),), nprocs=2)
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [[0.25, 0.6]] * 2


def test_a_run_without_end_has_no_share():
    with pytest.raises(ValueError, match="set trainer"):
        share_done(Clock(float("inf")))


def test_the_rate_rises_again_where_other_weights_begin():
    factor = warmed(Clock(1000), OptimizerSettings(1e-3, warmup_steps=4, decay=0.0), again_at=10)
    found = [factor(step) for step in (0, 1, 3, 9, 10, 11, 13, 500)]
    assert found == [0.25, 0.5, 1, 1, 0.25, 0.5, 1, 1]


def test_lightning_makes_a_timer_of_max_time():
    trainer = L.Trainer(max_steps=10, max_time="00:00:01:00", logger=False, accelerator="cpu")
    assert [c for c in trainer.callbacks if isinstance(c, Timer)]


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", False)])
def test_mixed_precision_goes_with_clipped_gradients(precision, fused, tmp_path):
    class Line(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch).square().mean()

        def configure_optimizers(self):
            return optimizer_of(OptimizerSettings(learning_rate=0.1), self.trainer, self.parameters())

    line = Line()
    before = line.layer.weight.clone()
    run = trainer(tmp_path, 1, precision=precision, gradient_clip_val=1.0)
    run.fit(line, torch.utils.data.DataLoader(torch.ones(4, 2)))
    assert run.optimizers[0].param_groups[0]["fused"] is fused
    assert not torch.equal(line.layer.weight, before)


@pytest.mark.parametrize("stage", [ImageStage, TemporalStage, OneStepStage, CodecStage])
def test_every_stage_may_choose(stage):
    assert inspect.signature(stage).parameters["optimizer"].default.kind == "adamw"


def test_what_cannot_be_chosen_here_is_told():
    with pytest.raises(ValueError, match="adamw8bit"):
        OptimizerSettings(kind="sgd")
    stage = make_stage(CodecStage, kind="adamw8bit")
    stage.trainer = L.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="adamw8bit"):
        stage.configure_optimizers()
