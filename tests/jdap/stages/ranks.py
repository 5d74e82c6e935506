"""A training of the image stage on some processes of one machine, told as torchrun tells; run by test_stages_ranks.

    python ranks.py FOLDER

Every optimiser step sees the same four samples, whoever reads them: ``alone``, by two processes (``ddp``, ``fsdp``),
and, all of them with depth, ``whole`` or in two batches (``accumulated``). There is a validation before the last step,
of fewer batches on the second process. Writes FOLDER/MODE.RANK.pt: losses, weights at the end, and, by the first
process, what is in the checkpoint and what was exported.
"""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils.data import DataLoader, IterableDataset

from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.models import build as builders
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.averaging import EMA
from jdap.stages.callbacks import ExportWeights, SampleGrid
from jdap.stages.guard import FiniteGuard
from jdap.stages.image import ImageStage

STEPS, TOTAL, WORLD = 3, 4, 2
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
    """Each step's samples, shared out as :class:`jdap.diffusion.draws.Place` counts them."""

    def __init__(self, batches, rank, size, stride):
        self.batches, self.rank, self.size, self.stride = batches, rank, size, stride

    def __iter__(self):
        for batch in self.batches:
            for first in range(self.rank * self.size, TOTAL, self.stride):
                yield part_of(batch, slice(first, first + self.size))


def part_of(batch, part):
    return ImageBatch(**{name: None if value is None else value[part] for name, value in vars(batch).items()})


class Watch(L.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


class Save(L.Callback):
    """Before averages take the place of weights."""

    def on_train_end(self, trainer, pl_module):
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "saved.ckpt")


def train(folder, mode, rank=0):
    torch.set_num_threads(1)
    builders.TINY_WIDTHS = (32, 64)
    L.seed_everything(rank)  # no draw of a step may hang on the process's own generator
    data = ImageDataModule(str(folder / "shards"), batch_size=TOTAL, size_px=32, epoch_steps=STEPS)
    batches = list(data.train_dataloader())
    for batch in batches if mode in ("alone", "ddp", "fsdp") else ():
        batch.range_mm[0] = torch.tensor([0.0, 1.0])  # no depth: one process has fewer samples with any than the other
    L.seed_everything(0)
    stage = ImageStage(codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=1, reference_drop=0.5)
    L.seed_everything(rank)
    size, ranks = {"accumulated": (TOTAL // 2, 1), "ddp": (TOTAL // WORLD, WORLD), "fsdp": (TOTAL // WORLD, WORLD)}.get(
        mode, (TOTAL, 1)
    )
    watch = Watch()
    out = folder / mode
    trainer = L.Trainer(
        default_root_dir=out,
        max_steps=STEPS,
        accelerator="cpu",
        devices=ranks,
        strategy=STRATEGIES.get(mode, lambda: "auto")(),
        accumulate_grad_batches=TOTAL // (size * ranks),
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        val_check_interval=(STEPS - 1) * TOTAL // (size * ranks),  # training goes on after it
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FiniteGuard(), Save(), watch, SampleGrid(pictures=1, steps=1), EMA(decay=0.5), ExportWeights()],
    )
    start = {k: v.clone() for k, v in stage.state_dict().items()}
    loaders = [DataLoader(Shared(batches, rank, size, size * ranks), batch_size=None)]
    if mode in STRATEGIES or mode == "alone":
        loaders.append(DataLoader(batches[: 2 - rank], batch_size=None, collate_fn=None))  # the second has fewer
    trainer.fit(stage, *loaders)
    state = {"start": start, "end": stage.state_dict(), "losses": torch.tensor(watch.losses)}
    if rank == 0:
        saved = torch.load(out / "saved.ckpt", weights_only=True)
        exported = PortraitPipeline.from_pretrained(out / "weights")
        state |= {
            "weights": saved["state_dict"],
            "averages": saved["EMA"]["averages"],
            "moments": len(saved["optimizer_states"][0]["state"]),
            "unet": exported.unet.state_dict(),
            "reference": exported.reference.state_dict(),
        }
    torch.save(state, folder / f"{mode}.{rank}.pt")


def on_rank(folder, mode, rank, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    train(folder, mode, rank)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fork = multiprocessing.get_context("fork")  # before any gradient: what was imported is not imported again
    for mode in STRATEGIES:
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
        train(folder, mode)
