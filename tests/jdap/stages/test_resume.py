"""A run that was stopped and resumed ends as one that was not: every number in its last checkpoint, to the bit."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from fakes import write_fakes
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from networks import write_codec
from settings import make_stage
from temporal import data as clips_of
from temporal import stage as temporal_stage
from temporal import write_image_weights

from jdap.callbacks.averaging import EMA
from jdap.callbacks.clip_samples import ClipSamples
from jdap.callbacks.mean_depth import MeanDepth
from jdap.callbacks.randomness import RandomStates, put, states
from jdap.callbacks.sources import SourceLog
from jdap.data.curriculum import Source
from jdap.data.modules import ImageDataModule
from jdap.models.image import build as builders
from jdap.stages.image import ImageStage

STEPS, EPOCH, EVERY = 9, 6, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    write_fakes(folder / "studio", people=4, frames=2, size_px=32, per_shard=2)
    write_fakes(folder / "fitted", people=2, frames=2, size_px=32, first_person=9, depth_source="fitted")
    write_fakes(folder / "val", people=1, frames=2, size_px=32, seed=1)
    write_codec(folder / "codec")
    write_fakes(folder / "talk", people=2, frames=8, size_px=32, fps=25.0, chunks=2)
    write_fakes(folder / "filmed", people=2, frames=8, size_px=32, first_person=9, fps=25.0, depth_source="fitted")
    write_image_weights(folder)
    return folder


class Die(L.Callback):
    """Sends this process a signal after a step, as an operator or the kernel would."""

    def __init__(self, step, number) -> None:
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def sources(folder, true, fitted) -> dict[str, Source]:
    return {"studio": Source(str(folder / true)), "fitted": Source(str(folder / fitted), [(0, 0.0), (STEPS, 2.0)])}


def pictures(folder) -> tuple[L.LightningModule, L.LightningDataModule, L.Callback]:
    builders.TINY_WIDTHS = (32, 64)
    model = make_stage(
        ImageStage, codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=3, decay=1.0
    )
    read = sources(folder, "studio", "fitted")
    data = ImageDataModule(read, str(folder / "val"), batch_size=3, size_px=32, epoch_steps=EPOCH, shuffle=4)
    return model, data, MeanDepth()


def clips(folder) -> tuple[L.LightningModule, L.LightningDataModule, L.Callback]:
    """With everything that is drawn for a clip, and a sample drawn after each validation."""
    draws = {"motion_noise": 0.1, "motion_drop": 0.3, "audio_drop": 0.3, "reference_drop": 0.3, "sharing": 0.2}
    draws |= {"conditions": ["pose", "lips"], "warmup_steps": 3, "decay": 1.0}
    model = temporal_stage(str(folder / "weights"), **draws)
    read = sources(folder, "talk", "filmed")
    data = clips_of(read, val=str(folder / "filmed"), epoch_steps=EPOCH, shuffle=3, zoom=0.1)
    return model, data, ClipSamples(clips=1, steps=1)


def run(folder, out, made, workers, seed, every=STEPS, resume=None, further=()) -> None:
    """Two sources with a schedule, augmentation, warm-up and cosine, averaged weights, validation in between."""
    L.seed_everything(seed)
    model, data, own = made(folder)
    data.workers = workers
    keep = ModelCheckpoint(
        dirpath=out,
        every_n_train_steps=every,
        save_top_k=-1,
        save_last=True,
        filename="{step}",
        enable_version_counter=False,
    )
    averaged = EMA(decay=0.5)
    trainer = L.Trainer(
        default_root_dir=out,
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        callbacks=[own, SourceLog(), averaged, RandomStates(), *further, keep],
        gradient_clip_val=1.0,
        val_check_interval=EVERY,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=resume and True)


def last(out) -> dict:
    return torch.load(Path(out) / f"step={STEPS}.ckpt", weights_only=True)


def differences(one, other, at="") -> list[str]:
    """Where two checkpoints differ in anything but times and paths."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{at}: {one.keys() ^ other.keys()}"]
        return [d for k in one for d in differences(one[k], other[k], f"{at}/{k}")]
    if isinstance(one, list | tuple):
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in differences(a, b, f"{at}/{i}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [at]


def same(one, other) -> bool:
    """Weights, their averages, optimiser, rates, clock, mean depth, generators, place in the data."""
    parts = ("state_dict", "EMA", "optimizer_states", "lr_schedulers", "global_step")
    parts += ("RandomStates", "hyper_parameters", "epoch")
    parts += tuple(name for name in one if name in ("ImageDataModule", "ClipDataModule"))
    found = [d for part in parts for d in differences(one[part], other[part], part)]
    if "ImageDataModule" in one:
        found += differences(one["callbacks"]["MeanDepth"], other["callbacks"]["MeanDepth"], "MeanDepth")
    assert (found, len(parts)) == ([], 9)
    return True


@pytest.fixture(
    scope="module",
    params=[(pictures, 0), pytest.param((pictures, 2), marks=pytest.mark.slow), (clips, 0)],
    ids=["0", "2", "clips"],
)
def whole(request, folder):
    """A run that nothing stopped."""
    made, workers = request.param
    out = folder / f"whole-{made.__name__}{workers}"
    run(folder, out, made, workers, seed=1, every=EVERY)
    return made, workers, out


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, EPOCH])
def test_a_resumed_run_ends_the_same(folder, whole, tmp_path, step):
    """From a checkpoint in the middle of an epoch, just before a validation, and at its end; whatever the seed."""
    made, workers, out = whole
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*anew")
        warnings.filterwarnings("error", message=".*not resumable")
        run(folder, tmp_path, made, workers, seed=2, resume=out / f"step={step}.ckpt")
    assert same(last(tmp_path), last(out))
    # and the test can fail: some steps before the end is another state
    before = torch.load(out / f"step={EPOCH}.ckpt", weights_only=True)
    assert len(differences(last(out)["EMA"], before["EMA"])) > 50


@pytest.mark.slow
def test_a_killed_run_ends_the_same(folder, whole, tmp_path):
    """Two steps after its last checkpoint: killed outright as a process of its own, or asked to stop."""
    made, workers, out = whole
    if workers:
        code = (
            "import sys; sys.path[:0] = sys.argv[3:]; from pathlib import Path; from test_resume import *; "
            f"torch.set_num_threads({torch.get_num_threads()}); "  # sums depend on it
            f"run(Path(sys.argv[1]), Path(sys.argv[2]), {made.__name__}, {workers}, 1, every=4, "
            "further=[Die(6, signal.SIGKILL)])"
        )
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(tmp_path), *paths],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        with pytest.raises(SIGTERMException):
            run(folder, tmp_path, made, workers, 1, every=4, further=[Die(6, signal.SIGTERM)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "step=4.ckpt"]
    run(folder, tmp_path, made, workers, seed=3, resume=tmp_path / "last.ckpt")
    assert same(last(tmp_path), last(out))


def test_states_of_all_generators_come_back():
    import random

    device = torch.device("cpu")
    random.gauss(0, 1)
    np.random.standard_normal()
    kept = states(device)

    def draw() -> list[float]:
        return [torch.rand(()).item(), random.gauss(0, 1), random.random(), np.random.standard_normal()]

    first = draw()
    assert draw() != first
    # as a checkpoint of several processes holds them
    others = states(device)
    put({name: torch.stack([others[name], state])[1] for name, state in kept.items()}, device)
    assert draw() == first
