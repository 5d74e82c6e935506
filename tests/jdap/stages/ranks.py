"""A training of the image stage on some processes of one machine, told as torchrun tells; run by test_stages_ranks.

    python ranks.py FOLDER

Every optimiser step sees the same four samples, whoever reads them: ``alone``, by two processes (``ddp``), and, all of
them with depth, ``whole`` or in two batches (``accumulated``). Writes FOLDER/MODE.RANK.pt: weights, averages, losses.
"""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, IterableDataset

from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.models import build as builders
from jdap.stages.averaging import EMA
from jdap.stages.guard import FiniteGuard
from jdap.stages.image import ImageStage

STEPS, TOTAL, WORLD = 3, 4, 2


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


def train(folder, mode, rank=0):
    torch.set_num_threads(1)
    builders.TINY_WIDTHS = (32, 64)
    L.seed_everything(rank)  # no draw of a step may hang on the process's own generator
    data = ImageDataModule(str(folder / "shards"), batch_size=TOTAL, size_px=32, epoch_steps=STEPS)
    batches = list(data.train_dataloader())
    for batch in batches if mode in ("alone", "ddp") else ():
        batch.range_mm[0] = torch.tensor([0.0, 1.0])  # no depth: one process has fewer samples with any than the other
    L.seed_everything(0)
    stage = ImageStage(codec=str(folder / "codec"), size_px=32, learning_rate=1e-3, warmup_steps=1, reference_drop=0.5)
    L.seed_everything(rank)
    size, ranks = {
        "alone": (TOTAL, 1),
        "whole": (TOTAL, 1),
        "accumulated": (TOTAL // 2, 1),
        "ddp": (TOTAL // WORLD, WORLD),
    }[mode]
    ema, watch = EMA(decay=0.5), Watch()
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=STEPS,
        accelerator="cpu",
        devices=ranks,
        strategy=DDPStrategy(process_group_backend="gloo") if mode == "ddp" else "auto",
        accumulate_grad_batches=TOTAL // (size * ranks),
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FiniteGuard(), ema, watch],
    )
    start = {k: v.clone() for k, v in stage.state_dict().items()}
    weights = {}
    ema.on_train_end = lambda trainer, module: weights.update({k: v.clone() for k, v in module.state_dict().items()})
    trainer.fit(stage, DataLoader(Shared(batches, rank, size, size * ranks), batch_size=None))
    state = {"start": start, "weights": weights, "averages": ema.averages, "losses": torch.tensor(watch.losses)}
    torch.save(state, folder / f"{mode}.{rank}.pt")


def on_rank(folder, mode, rank, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    train(folder, mode, rank)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fork = multiprocessing.get_context("fork")  # before any gradient: what was imported is not imported again
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [fork.Process(target=on_rank, args=(folder, "ddp", rank, port)) for rank in range(WORLD)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit(1)
    for mode in ("alone", "whole", "accumulated"):
        train(folder, mode)
