"""A small temporal stage: an image model's weights folder, the stage on it, and clips for it."""

from pathlib import Path

import torch
from networks import small_codec
from settings import make_stage
from training import trainer

from jdap.data.modules import ClipDataModule
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.build import build
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.temporal import TemporalStage

FRAMES, BEFORE, MARGIN, SIZE_PX = 4, 2, 4, 32


def write_image_weights(folder) -> str:
    """What an image stage at preset tiny leaves, with narrow networks."""
    torch.manual_seed(0)
    codec = small_codec()
    unet, reference = build("tiny", codec.latent_channels, (32, 64))
    image = PortraitPipeline(codec, unet, reference, NoiseSchedule(), preset="tiny", size_px=SIZE_PX)
    image.save_pretrained(Path(folder) / "weights")
    return str(Path(folder) / "weights")


def stage(image_weights, **settings) -> TemporalStage:
    torch.manual_seed(0)
    small = {"frames": FRAMES, "motion_frames": BEFORE, "tokens": 3, "dim": 16, "warmup_steps": 1}
    return make_stage(TemporalStage, init=image_weights, **{"learning_rate": 1e-2, **small, **settings})


def loosened(image_weights, **settings) -> TemporalStage:
    """A stage whose fresh layers, which answer zero, are let loose."""
    model = stage(image_weights, **settings)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("to_out" in name or "proj_out" in name):
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def data(shards, **settings) -> ClipDataModule:
    how = {"batch_size": 2, "frames": FRAMES + BEFORE, "size_px": SIZE_PX, "audio_margin": MARGIN, "epoch_steps": 10}
    return ClipDataModule(shards if isinstance(shards, dict) else str(shards), **{**how, **settings})


def fit(model, module, folder, steps, *callbacks, **settings) -> None:
    trainer(folder, steps, *callbacks, **{"limit_val_batches": 0} | settings).fit(model, module)
