"""The weights folder at the end of training.

It is written in ``on_fit_end``, when every callback has finished ``on_train_end`` and the averaged weights are in place
for good.
"""

from __future__ import annotations

import json
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file

from jdap import __version__
from jdap.callbacks.mean_depth import MeanDepth
from jdap.choices import MEAN_DEPTH_FILE
from jdap.pipelines.card import UNSAID, model_card
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.temporal import TemporalStage


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
        if not isinstance(pl_module, ImageStage | OneStepStage | TemporalStage):
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
