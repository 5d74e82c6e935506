"""Pictures a second of ``jdap train-image`` at preset tiny: the part ``throughput`` of ``benchmarks speed``.

A step is all that a user's step is: pictures read and decoded from the shards, encoded, both networks forward and
backward, gradients clipped, AdamW, the average of the weights. Starting up, filling the shuffle buffer, logging,
validation and samples are not in it. Latents are cached once, with their mirrored versions, as
``jdap cache-latents --flip`` does.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from jdap.callbacks.averaging import EMA
from jdap.callbacks.guard import FiniteGuard
from jdap.data.caching import cache
from jdap.data.modules import ImageDataModule
from jdap.stages.image import ImageStage

SHARDS = "shipped:shards/train"
CODEC_FOLDER = "shipped:image-tiny/codec"
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
#: Steps at the start of a run that are not measured.
WARM_UP = 3


class StepClock(Callback):
    """Notes when each step ended, by both clocks: (wall, processor) seconds."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """After the optimiser's step."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self.ends.append((time.perf_counter(), time.process_time()))


def throughput(
    steps: int, rounds: int, device: torch.device, dtype: str, *, shards: str = SHARDS, batch: int = 8, **stage: Any
) -> list[dict[str, Any]]:
    """A row for each way to come by latents, measured in turn: ``rounds`` short runs of ``steps`` measured steps.

    ``stage`` are further settings of :class:`jdap.stages.image.ImageStage`.
    """
    size_px = stage.get("size_px", 128)
    seconds: dict[str, list[tuple[float, float]]] = {"encoded in the loop": [], "cached": []}
    with tempfile.TemporaryDirectory() as folder:
        cache(shards, stage.get("codec", CODEC_FOLDER), Path(folder), size_px, mirrored=True)
        for _ in range(rounds):
            for found, source in zip(seconds.values(), (shards, folder), strict=True):
                data = ImageDataModule(source, batch_size=batch, size_px=size_px)
                found.append(_run(ImageStage(**stage), data, steps, device, dtype))
    return [_row(name, batch * steps, found) for name, found in seconds.items()]


def _row(name: str, pictures: int, found: list[tuple[float, float]]) -> dict[str, Any]:
    rates = [pictures / wall for wall, _ in found]
    return {
        "what": name,
        "pictures_per_s": median(rates),
        "pictures_per_s_range": [min(rates), max(rates)],
        "pictures_per_processor_s": median(pictures / processor for _, processor in found),
    }


def _run(stage: ImageStage, data: ImageDataModule, steps: int, device: torch.device, dtype: str) -> tuple[float, float]:
    """(wall, processor) seconds of ``steps`` steps in the middle of a short run."""
    clock = StepClock()
    level = logging.getLogger("lightning.pytorch").level
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints for whoever trains
        trainer = L.Trainer(
            default_root_dir=folder,
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            precision=PRECISIONS[dtype],  # type: ignore[arg-type]
            max_steps=WARM_UP + steps,
            max_epochs=-1,
            gradient_clip_val=1.0,
            callbacks=[FiniteGuard(), EMA(decay=0.99), clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(stage, data)
    logging.getLogger("lightning.pytorch").setLevel(level)
    first, last = clock.ends[WARM_UP - 1], clock.ends[-1]
    return last[0] - first[0], last[1] - first[1]
