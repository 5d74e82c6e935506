"""Callbacks of the stages: mean depth, sources and their losses, sample grids, and the weights folder at the end.

Order matters beside :class:`jdap.callbacks.averaging.EMA`, which swaps the averaged weights in before validation and
out after it: ``SampleGrid`` stands before it in the list, so that it draws with the averaged weights. What happens at
the end of training is done in ``on_fit_end``, when every callback has finished ``on_train_end`` and the averaged
weights are in place for good.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file
from torch import Tensor

from jdap import __version__
from jdap.batch import ImageBatch, LatentBatch
from jdap.depth import NO_DEPTH
from jdap.pipelines.card import UNSAID, model_card
from jdap.pipelines.grid import depth_picture, error_picture, labelled_grid
from jdap.pipelines.pictures import PT
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.temporal import TemporalStage

#: Stages whose networks, as they are, make a pipeline.
PortraitStage = ImageStage | OneStepStage
MEAN_DEPTH_FILE = "mean_depth.safetensors"


class MeanDepth(L.Callback):
    """The pixel-wise mean of the normalised depth over the training pictures' skin: the benchmark's ``mean`` row.

    It costs one addition a step, and needs no second pass over a data set that may be terabytes. Where training reads
    latents there are no pixels to add: the sums are those that were written when they were cached, every picture once.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the sums of cached latents, if those are what is trained on."""
        cached = getattr(trainer.datamodule, "cached_depth_sums", lambda: None)()  # type: ignore[attr-defined]
        if cached is not None:
            self.total, self.count = cached

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: ImageBatch | LatentBatch,
        batch_idx: int,
    ) -> None:
        """Add a batch."""
        if isinstance(batch, LatentBatch):
            return
        seen = batch.skin & (batch.depth_mm > 0)
        total, count = (batch.depth * seen).sum(0).double(), seen.sum(0)
        # The sums stay on the device: to fetch them would make it wait at every step.
        self.total = total if self.total is None else self.total.to(total.device) + total
        self.count = count if self.count is None else self.count.to(count.device) + count

    def mean(self) -> Tensor:
        """(1, H, W) float32 in the normalised frame; +1 where no training picture had skin."""
        if self.total is None or self.count is None:
            raise RuntimeError("no training batch has been seen")
        mean = (self.total / self.count.clamp_min(1)).float()
        return torch.where(self.count > 0, mean, torch.full_like(mean, NO_DEPTH)).cpu()

    def state_dict(self) -> dict[str, Any]:
        """The sums, so that a resumed run goes on with them."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.total, self.count = state_dict["total"], state_dict["count"]


class SourceLog(L.Callback):
    """Logs what was drawn of each named source, and what it gave to the depth loss.

    Every ``log_every_n_steps`` steps, over the samples of this rank since the last time: ``data/share_NAME``, the share
    of samples, and ``train/loss_depth_NAME``, the mean of their terms of the depth loss, Min-SNR weight and confidence
    included, so that the mean over the sources by samples is ``train/loss_depth``. A source that gave no sample with
    depth has no point. Between those steps nothing is computed, and nothing is read from the device.
    """

    def __init__(self) -> None:
        self.drawn: list[tuple[tuple[str, ...], Tensor, Tensor]] = []
        self.logged_at = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin where the run does: a resumed one does not log its first step."""
        self.logged_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: ImageBatch, batch_idx: int
    ) -> None:
        """Keep the terms of a batch; log those that were kept."""
        if "depth_B" not in outputs:  # a step that is not about pictures
            return
        self.drawn.append((batch.source, outputs["depth_B"], outputs["has_depth_B"]))
        step = trainer.global_step
        if step == self.logged_at or step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        # frames of a clip have their clip's source
        names = [
            name for source, depth_B, _ in self.drawn for name in source for _ in range(len(depth_B) // len(source))
        ]
        terms = torch.cat([depth_B for _, depth_B, _ in self.drawn]).tolist()
        has_depth = torch.cat([has_depth_B for *_, has_depth_B in self.drawn]).tolist()
        scalars = {}
        for one in sorted(set(names)):
            scalars[f"data/share_{one}"] = names.count(one) / len(names)
            losses = [x for x, name, has in zip(terms, names, has_depth, strict=True) if has and name == one]
            if losses:
                scalars[f"train/loss_depth_{one}"] = sum(losses) / len(losses)
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step - 1)  # as Lightning counts: a step has the number of those before it
        self.drawn, self.logged_at = [], step


class SampleGrid(L.Callback):
    """Draws held-out people: what the model generates from a reference, and the depth it sees in a picture.

    A row a person: reference; generated RGB and depth (joint generation); the picture drawn for the true depth; the
    target picture, its depth from the picture, the true depth, the error on the skin. A model that was fine-tuned to
    depth in one step generates nothing: its rows begin with the target picture. TensorBoard gets a grid at every
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
        """Keep the first batch of held-out pictures to draw."""
        if batch_idx == 0:
            self.batch = batch

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log a grid, drawn with the averaged weights."""
        if not trainer.sanity_checking and isinstance(pl_module, PortraitStage):
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
        if pipeline.one_step_start is None:
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
                columns["drawn for depth"] = pipeline.depth_to_image(batch.depth[:n], **how)
        steps = stage.hparams.get("validation_steps", 1)
        depth = pipeline.image_to_depth(batch.rgb[:n], steps=steps, generator=generator).depth
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


class ExportWeights(L.Callback):
    """Writes the run's weights folder at the end of training: what ``from_pretrained`` and the benchmarks read.

    Beside the pipeline it holds ``mean_depth.safetensors`` (if :class:`MeanDepth` ran) and ``training.json``: the
    stage, its hyper-parameters and the number of steps. The model card has the figures of the last validation.

    Args:
        folder: name of the folder inside the run's folder.
        license: of the weights, as the hub names it (``apache-2.0``), for the model card.
    """

    def __init__(self, folder: str = "weights", license: str = UNSAID) -> None:
        self.folder, self.license = folder, license

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export."""
        if not isinstance(pl_module, PortraitStage | TemporalStage):
            return
        means = [c for c in trainer.callbacks if isinstance(c, MeanDepth) and c.total is not None]  # type: ignore[attr-defined]
        training = {
            "jdap_version": __version__,
            "torch_version": torch.__version__,
            "stage": type(pl_module).__name__,
            "steps": trainer.global_step,
            "hyper_parameters": dict(pl_module.hparams),
        }

        pipeline = pl_module.pipeline()
        metrics = trainer.callback_metrics.items()
        figures = {name: round(float(value), 4) for name, value in metrics if name.startswith("val/")}
        card = model_card(pipeline, license=self.license, figures=figures, steps=trainer.global_step)

        def extras(folder: Path) -> None:
            (folder / "README.md").write_text(card, encoding="utf-8")
            for callback in means:
                save_file({"mean_depth": callback.mean()}, folder / MEAN_DEPTH_FILE)
            (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")

        pipeline.save_pretrained(Path(trainer.default_root_dir) / self.folder, extras=extras)
