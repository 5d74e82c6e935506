"""Train from Python: ``python examples/train_a_few_steps.py --shards shipped:shards/train --steps 20``.

The stage is a LightningModule, the data a LightningDataModule, and the trainer is Lightning's own: callbacks, loggers
and strategies go where they always go. ``jdap train-image`` does the same from a YAML file, with more callbacks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightning as L

from jdap.callbacks.averaging import EMA
from jdap.callbacks.export import ExportWeights
from jdap.data.modules import ImageDataModule
from jdap.stages.image import ImageStage
from jdap.stages.settings.optimizer import OptimizerSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune weights for a few steps, and leave a weights folder."""
    parser = argparse.ArgumentParser(description="Fine-tune the image model for a few steps.")
    parser.add_argument("--shards", default="shipped:shards/train", help="a folder of shards, or shipped:NAME")
    parser.add_argument("--weights", default="shipped:image-tiny", help="where to start from")
    parser.add_argument("--out", type=Path, default=Path("out/few-steps"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="pictures in a step")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, as the weights were trained on")
    args = parser.parse_args(argv)

    L.seed_everything(0)
    data = ImageDataModule(train=args.shards, batch_size=args.batch, size_px=args.size)
    # codec=None: the codec comes with the weights. A small rate, because this is fine-tuning.
    slow = OptimizerSettings(learning_rate=1e-5, warmup_steps=5)
    stage = ImageStage(init=args.weights, codec=None, size_px=args.size, optimizer=slow)
    trainer = L.Trainer(
        max_steps=args.steps,
        max_epochs=-1,  # the data is endless: max_steps ends the run
        default_root_dir=args.out,
        accelerator="auto",
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        # ExportWeights comes last: it writes the averaged weights when training has ended.
        callbacks=[EMA(decay=0.9), ExportWeights()],
    )
    trainer.fit(stage, data)
    print(f"wrote {args.out}/weights: python examples/depth_of_a_photo.py photo.png --weights {args.out}/weights")


if __name__ == "__main__":
    main()
