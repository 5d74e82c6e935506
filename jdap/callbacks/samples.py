"""A grid of what the model makes of held-out people.

It stands before :class:`jdap.callbacks.averaging.EMA` in the list of callbacks, which swaps the averaged weights in
before validation and out after it: so it samples with the averaged weights. The last grid is made in ``on_fit_end``,
when every callback has finished ``on_train_end`` and the averaged weights are in place for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from jdap.batch import ImageBatch
from jdap.pipelines.carried import known_mover
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.grid import depth_picture, error_picture, labelled_grid
from jdap.pipelines.pictures import PT
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage

#: Stages whose networks, as they are, make a pipeline.
PortraitStage = ImageStage | OneStepStage


class SampleGrid(L.Callback):
    """Samples held-out people: what the model generates from a reference, and the depth it sees in a picture.

    A row a person: reference; generated RGB and depth (joint generation); the picture sampled for the true depth, of
    weights with a ``likeness_net`` by the reference that the batch's poses carry there (:mod:`jdap.pipelines.carried`);
    the target picture, its depth from the picture, the true depth, the error on the skin. Depth in one step is
    all that a one-step stage trains: its rows begin with the target picture. TensorBoard gets a grid at every
    validation, ``samples.png`` in the run's folder holds the last.

    Args:
        pictures: rows.
        steps: sampling steps of the joint generation.
    """

    def __init__(self, pictures: int = 6, steps: int = 20) -> None:
        self.pictures, self.steps = pictures, steps
        self.batch: ImageBatch | None = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch of held-out pictures to sample from."""
        if batch_idx == 0:
            self.batch = batch

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log a grid, sampled with the averaged weights, where there is a TensorBoard to show it."""
        shown = any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers)
        if shown and not trainer.sanity_checking and isinstance(pl_module, PortraitStage):
            self._log(trainer, pl_module)

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write ``samples.png`` with the final weights."""
        if isinstance(pl_module, PortraitStage) and self.batch is not None:
            pl_module.eval()
            self._log(trainer, pl_module).save(Path(trainer.default_root_dir) / "samples.png")

    def _log(self, trainer: L.Trainer, stage: PortraitStage) -> Any:
        assert self.batch is not None
        pipeline, batch, n = stage.pipeline(), self.batch, self.pictures
        generator = torch.Generator().manual_seed(0)
        columns: dict[str, Tensor] = {}
        if not isinstance(stage, OneStepStage):
            led_by = batch.reference_rgb[:n] if pipeline.reference is not None else None
            made = pipeline.generate(
                led_by, count=len(batch.rgb[:n]), steps=self.steps, generator=generator, output_type=PT
            )
            columns |= {
                "reference": batch.reference_rgb[:n],
                "generated": made.rgb,
                "its depth": depth_picture(made.depth),
            }
            if pipeline.joint:
                how: dict[str, Any] = {"reference": led_by, "steps": self.steps, "generator": generator}
                if led_by is not None and pipeline.likeness_net is not None:
                    how["move"] = known_mover(batch, n)
                columns["sampled for depth"] = pipeline.depth_to_image(batch.depth[:n], **how)
        head = stage.validation_head(batch, 0) if isinstance(stage, OneStepStage) else None
        how_known: dict[str, Any] = {"steps": stage.validation_steps, "generator": generator}
        if head is not None:
            how_known["head"] = FittedDepth(*(x[:n] for x in head))
        depth = pipeline.image_to_depth(batch.rgb[:n], **how_known).depth
        columns |= {
            "picture": batch.rgb[:n],
            "depth from it": depth_picture(depth),
            "true depth": depth_picture(batch.depth[:n]),
            "error": error_picture(depth, batch.depth[:n], batch.skin[:n]),
        }
        image = labelled_grid(list(columns.values()), list(columns))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
                pixels = pixels.reshape(image.height, image.width, 3)
                logger.experiment.add_image("samples", pixels, trainer.global_step, dataformats="HWC")
        return image
