"""Trainings of the image and the temporal stage on some processes of one machine, told as torchrun tells; run by
test_ranks.

    python ranks.py FOLDER

Every optimiser step sees the same four samples, whoever reads them: ``alone``, by two processes (``ddp``, ``fsdp``),
and, all of them with depth, ``whole`` or in two batches (``accumulated``); ``clips-alone`` and so on are the temporal
stage's, which knows no FSDP. There is a validation before the last step, without a batch on the second process. Writes
FOLDER/MODE.RANK.pt: losses, weights at the end, and, by the first process, what is in the checkpoint and what was
exported.
"""

import multiprocessing
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import lightning as L
import temporal
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from settings import make_stage
from torch.utils.data import DataLoader, IterableDataset

from jdap.callbacks.averaging import EMA
from jdap.callbacks.clip_samples import ClipSamples
from jdap.callbacks.export import ExportWeights
from jdap.callbacks.guard import FiniteGuard
from jdap.callbacks.samples import SampleGrid
from jdap.data.modules import ImageDataModule
from jdap.models.image import build as builders
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.stages.image import ImageStage

STEPS, TOTAL, WORLD = 3, 4, 2
CLIPS = "clips-"
STRATEGIES = {
    "ddp": lambda: DDPStrategy(process_group_backend="gloo"),
    "fsdp": lambda: ModelParallelStrategy(
        data_parallel_size=WORLD,
        tensor_parallel_size=1,
        save_distributed_checkpoint=False,
        process_group_backend="gloo",
    ),
}


class Shared(IterableDataset):
    """Each step's samples, shared out as :class:`jdap.diffusion.draws.StepSlice` counts them."""

    def __init__(self, batches, rank, size, stride):
        self.batches, self.rank, self.size, self.stride = batches, rank, size, stride

    def __iter__(self):
        for batch in self.batches:
            for first in range(self.rank * self.size, TOTAL, self.stride):
                yield part_of(batch, slice(first, first + self.size))


class Held(IterableDataset):
    """Batches of a validation; like the data modules' it does not tell how many."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from self.batches


def part_of(batch, part):
    return replace(batch, **{name: x[part] for name, x in vars(batch).items() if hasattr(x, "__getitem__")})


class Watch(L.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


class Save(L.Callback):
    """Before averages take the place of weights."""

    def on_train_end(self, trainer, pl_module):
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "saved.ckpt")


def pictures(folder):
    builders.TINY_WIDTHS = (32, 64)
    data = ImageDataModule(str(folder / "shards"), batch_size=TOTAL, size_px=32, epoch_steps=STEPS)
    L.seed_everything(0)
    stage = make_stage(
        ImageStage, codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=1, reference_drop=0.5
    )
    return data, stage, SampleGrid(pictures=1, steps=1)


def clips(folder):
    drops = {"reference_drop": 0.3, "audio_drop": 0.3, "motion_drop": 0.3, "motion_noise": 0.1, "sharing": 0.2}
    more = {"conditions": ["pose", "lips"], "mouth_focus": 2.0, "learning_rate": 1e-3}
    data = temporal.data(folder / "clips", batch_size=TOTAL, epoch_steps=STEPS)
    return data, temporal.loosened(str(folder / "weights"), **drops, **more).train(), ClipSamples(clips=1, steps=1)


def train(folder, mode, rank=0):
    torch.set_num_threads(1)
    made, shared = (clips if mode.startswith(CLIPS) else pictures), mode.removeprefix(CLIPS)
    data, stage, samples = made(folder)
    L.seed_everything(rank)  # no draw of a step may hang on the process's own generator
    batches = list(data.train_dataloader())
    for batch in batches if shared in ("alone", "ddp", "fsdp") else ():
        batch.range_mm[0] = torch.tensor([0.0, 1.0])  # no depth: one process has fewer samples with any than the other
    size, ranks = {"accumulated": (TOTAL // 2, 1), "ddp": (TOTAL // WORLD, WORLD), "fsdp": (TOTAL // WORLD, WORLD)}.get(
        shared, (TOTAL, 1)
    )
    watch = Watch()
    out = folder / mode
    trainer = L.Trainer(
        default_root_dir=out,
        max_steps=STEPS,
        accelerator="cpu",
        devices=ranks,
        strategy=STRATEGIES.get(shared, lambda: "auto")(),
        accumulate_grad_batches=TOTAL // (size * ranks),
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        val_check_interval=(STEPS - 1) * TOTAL // (size * ranks),  # training goes on after it
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FiniteGuard(), Save(), watch, samples, EMA(decay=0.5), ExportWeights()],
    )
    start = {k: v.clone() for k, v in stage.state_dict().items()}
    loaders = [DataLoader(Shared(batches, rank, size, size * ranks), batch_size=None)]
    if shared in STRATEGIES or shared == "alone":
        held = batches[:2] if rank == 0 else []  # the second has none
        loaders.append(DataLoader(Held(held), batch_size=None, collate_fn=None))
    trainer.fit(stage, *loaders)
    state = {"start": start, "end": stage.state_dict(), "losses": torch.tensor(watch.losses)}
    if rank == 0:
        saved = torch.load(out / "saved.ckpt", weights_only=True)
        exported = (TalkingPipeline if made is clips else PortraitPipeline).from_pretrained(out / "weights")
        state |= {
            "weights": saved["state_dict"],
            "averages": saved["EMA"]["averages"],
            "moments": len(saved["optimizer_states"][0]["state"]),
            "exported": {
                f"{name}.{key}": x
                for name in ("unet", "reference", "audio", "drive")
                if isinstance(network := getattr(exported, name, None), torch.nn.Module)
                for key, x in network.state_dict().items()
            },
        }
    torch.save(state, folder / f"{mode}.{rank}.pt")


def on_rank(folder, mode, rank, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    train(folder, mode, rank)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fork = multiprocessing.get_context("fork")  # before any gradient: what was imported is not imported again
    for mode in (*STRATEGIES, f"{CLIPS}ddp"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [fork.Process(target=on_rank, args=(folder, mode, rank, port)) for rank in range(WORLD)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            sys.exit(1)
    for mode in ("alone", "whole", "accumulated"):
        for kind in ("", CLIPS):
            train(folder, kind + mode)
