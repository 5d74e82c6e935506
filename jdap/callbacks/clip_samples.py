"""Held-out clips as the temporal stage makes them: moving pictures with sound in TensorBoard, and a video at the end.

Shapes: F frames, H = W pixels, S audio samples.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from jdap.batch import ClipBatch
from jdap.choices import READERS
from jdap.io.assets import resolve
from jdap.media.video import VideoWriter
from jdap.metrics.lips import correlation
from jdap.metrics.mouth import load_readers
from jdap.pipelines.grid import depth_picture
from jdap.stages.temporal import TemporalStage
from jdap.units import SAMPLE_RATE


class ClipSamples(L.Callback):
    """Samples held-out clips from their sound and one picture, beside the truth: true RGB and depth, ours.

    The opening of the mouths that were made, as small networks read it from RGB and from depth, is correlated with the
    true one: ``val/lips_rgb`` and ``val/lips_depth``, 1 at best, for the clips whose shards say it. With few and short
    clips that is a glance; ``python -m benchmarks lipsync`` measures.

    TensorBoard gets each clip as a moving picture and as sound at every validation; ``samples.mp4`` in the run's
    folder has them one after another, with sound, when training is over. It stands before
    :class:`jdap.callbacks.averaging.EMA`, so that it samples with the averaged weights.

    Args:
        clips: how many, from the first batches of the validation.
        steps: sampling steps.
        readers: file of the networks that read mouths (``python -m benchmarks mouth``); null: no correlation.
    """

    def __init__(self, clips: int = 2, steps: int = 20, readers: str | None = READERS) -> None:
        self.clips, self.steps = clips, steps
        self.readers = {} if readers is None else load_readers(Path(resolve(readers)))
        self._kept: list[tuple[ClipBatch, int]] = []
        self._lips: dict[str, float] = {}

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first clips."""
        for i in range(len(batch)):
            if len(self._kept) < self.clips:
                self._kept.append((batch, i))

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log them, sampled with the averaged weights."""
        if trainer.sanity_checking or not isinstance(pl_module, TemporalStage):
            return
        writers = [x.experiment for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
        if not writers:
            return
        sampled = self._sample(pl_module)
        for logger in trainer.loggers:
            logger.log_metrics({f"val/lips_{kind}": x for kind, x in self._lips.items()}, trainer.global_step)
        for i, (frames, audio, fps) in enumerate(sampled):
            for writer in writers:
                image = _moving(frames, fps)
                file = writer._get_file_writer()  # SummaryWriter's own way to add videos needs moviepy
                file.add_summary(Summary(value=[Summary.Value(tag=f"clips/{i}", image=image)]), trainer.global_step)
                writer.add_audio(f"clips/{i}", torch.from_numpy(audio), trainer.global_step, SAMPLE_RATE)

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write ``samples.mp4`` with the final weights."""
        if not self._kept or not isinstance(pl_module, TemporalStage):
            return
        pl_module.eval()
        sampled = self._sample(pl_module)
        with VideoWriter(Path(trainer.default_root_dir) / "samples.mp4", sampled[0][2]) as video:
            for frames, audio, _ in sampled:
                for picture, sound in zip(frames, np.array_split(audio, len(frames)), strict=True):
                    video.frame(picture)
                    video.sound(sound)

    @torch.no_grad()
    def _sample(self, stage: TemporalStage) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Of every clip: frames (F, H, 4 W, 3) uint8, sound (S,) float32, frames a second."""
        pipeline, sampled = stage.pipeline(), []
        correlations: dict[str, list[Tensor]] = {kind: [] for kind in self.readers}
        for batch, i in self._kept:
            edge = round(batch.audio_margin * SAMPLE_RATE / batch.fps)
            audio = batch.audio[i, edge : batch.audio.shape[1] - edge]
            windows = list(pipeline.talk(batch.reference_rgb[i : i + 1], audio, steps=self.steps, seed=i))
            rgb, depth = (torch.cat(x) for x in zip(*windows, strict=True))
            for kind, reader in self.readers.items():
                made = reader((rgb if kind == "rgb" else depth)[None].float().cpu())
                correlations[kind].append(correlation(made, batch.lip_opening_mm[i : i + 1].cpu()))
            columns = [batch.rgb[i], depth_picture(batch.depth[i]), rgb, depth_picture(depth)]
            sampled.append(
                (_bytes(torch.cat([x.float().cpu() for x in columns], dim=3)), audio.cpu().numpy(), batch.fps)
            )
        means = {kind: torch.cat(found).nanmean() for kind, found in correlations.items()}
        self._lips = {kind: float(mean) for kind, mean in means.items() if mean.isfinite()}
        return sampled


def _bytes(rgb_F3HW: Tensor) -> np.ndarray:
    """[-1, 1] → (F, H, W, 3) uint8."""
    return ((rgb_F3HW.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def _moving(frames_FHW3: np.ndarray, fps: float) -> Summary.Image:
    """A GIF, which TensorBoard shows as an image that moves."""
    pictures = [Image.fromarray(frame) for frame in frames_FHW3]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0)
    height, width = frames_FHW3.shape[1:3]
    return Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.getvalue())
