"""The codec stage: trains the image codec on pictures and depth maps alike, with the same weights.

Shapes: B pictures, C latent channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from jdap import depth as depth_frames
from jdap.batch import ImageBatch
from jdap.io.assets import resolve
from jdap.io.files import replace_folder
from jdap.metrics.colour import ColourSlopes
from jdap.models.codec import ImageCodec, load_codec
from jdap.models.loading import WeightsError
from jdap.pipelines.grid import depth_picture, error_picture, labelled_grid
from jdap.srgb import rgb_to_yiq
from jdap.stages.parts.means import ValidationMeans
from jdap.stages.parts.optimizers import warmed_optimizer
from jdap.stages.settings.checks import save_settings
from jdap.stages.settings.codec import (
    CODEC_OPTIMIZER,
    CodecAugmentationSettings,
    CodecLossSettings,
    CodecNetworkSettings,
)
from jdap.stages.settings.optimizer import OptimizerSettings

#: Depth errors are told in the benchmark's frame, where q2 … q98 of the skin is 0.1 … 1 rather than -1 … 1.
BENCHMARK_FRAME = 0.45
#: Weights of brightness and of the two axes of colour, which have less power, in the loss of RGB.
YIQ_WEIGHTS = (1.0, 2.0, 3.0)
GRID_COLUMNS = ("picture", "through codec", "depth", "through codec", "error")


class CodecLoss(NamedTuple):
    """The loss of a batch and its parts, scalars."""

    total: Tensor
    rgb: Tensor
    depth: Tensor


class CodecStage(L.LightningModule):
    """A deterministic autoencoder of RGB and depth. At the end ``weights`` in the run's folder is the codec's folder.

    In training the latents are normalised by their batch (RGB and depth together), whose statistics the codec keeps as
    a running mean. The learning rate falls to 0, so what it ends with are the statistics of the finished encoder.

    With ``freeze_encoder`` only the decoder trains, on the latents as they are. A diffusion model that learnt from
    them goes on fitting while its pictures become sharper.

    Args:
        init: folder of the codec to start from, ``shipped:image-tiny/codec`` (which ships), or null: from scratch.
            It may have fewer latent channels and blocks (:meth:`jdap.models.codec.ImageCodec.start_from`).
        freeze_encoder: train the decoder alone; needs ``init``, with just the encoder of ``network``.
        network: its channels and blocks.
        augmentation: how training pictures and latents are changed.
        loss: how the parts of the loss weigh.
        optimizer: AdamW, and how its rate rises and falls.
        momentum: share of the newest batch in the running statistics.

    Raises :class:`jdap.models.loading.WeightsError` for a folder that cannot be started from.
    """

    def __init__(
        self,
        init: str | None = None,
        freeze_encoder: bool = False,
        network: CodecNetworkSettings = CodecNetworkSettings(),
        augmentation: CodecAugmentationSettings = CodecAugmentationSettings(),
        loss: CodecLossSettings = CodecLossSettings(),
        optimizer: OptimizerSettings = CODEC_OPTIMIZER,
        momentum: float = 0.02,
    ) -> None:
        super().__init__()
        save_settings(self, locals())
        self.freeze_encoder, self.momentum, self.augmentation = freeze_encoder, momentum, augmentation
        self.loss_settings, self.optimizer_settings = loss, optimizer
        codec = ImageCodec(**dataclasses.asdict(network))
        if init is not None:
            _start(codec, init, freeze_encoder)
        elif freeze_encoder:
            raise ValueError("freeze_encoder needs init, the folder of a codec whose encoder is trained")
        codec.encoder.requires_grad_(not freeze_encoder)
        self.slopes = ColourSlopes()
        self.means = ValidationMeans(("psnr_rgb", "rmse_depth"))
        # a fifth faster on a CPU
        self.codec = codec.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def losses(self, batch: ImageBatch) -> CodecLoss:
        """The loss on the target pictures of a batch and their depth maps; the running statistics take a step."""
        weights, changes = self.loss_settings, self.augmentation
        rgb, skin = mosaics(dimmed(batch.rgb, changes.colour_gain), batch.skin.float(), changes.mosaic)
        pictures = torch.cat([rgb, depth_frames.to_codec(batch.depth)])
        latents = self._latents(pictures.contiguous(memory_format=torch.channels_last))
        made, depth = self._decode(latents).chunk(2)
        skin_weight = 1 + weights.rgb_skin * skin
        loss_rgb = rgb_loss(made, rgb, skin_weight)
        loss_depth = depth_loss(depth, batch.depth, batch.skin, weights.depth_skin)
        total = loss_rgb + weights.depth * loss_depth
        if weights.scale:
            small = self._decode(F.avg_pool2d(latents[: len(rgb)], 2))
            total = total + weights.scale * rgb_loss(small, F.avg_pool2d(rgb, 2), F.avg_pool2d(skin_weight, 2))
        return CodecLoss(total, loss_rgb, loss_depth)

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """One step on an :class:`ImageBatch`. Raises ValueError for latents."""
        if not isinstance(batch, ImageBatch):
            raise ValueError("data.train holds latents, and a codec trains on pictures: name the shards of pictures")
        loss = self.losses(batch)
        scalars = {"train/loss": loss.total, "train/loss_rgb": loss.rgb, "train/loss_depth": loss.depth}
        self.log_dict(scalars, batch_size=len(batch))
        self.log("loss", loss.total.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        return loss.total

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """PSNR of RGB, and depth RMSE on skin in the frame of the benchmarks, both per picture."""
        rgb, depth = reconstruct(self.codec, batch)
        psnr, rmse = psnr_rgb(rgb, batch.rgb), rmse_depth(depth, batch)
        self.means.add({"psnr_rgb": psnr.mean()}, len(batch))
        self.slopes.update(rgb, batch.rgb)
        if len(rmse):
            self.means.add({"rmse_depth": rmse.mean()}, len(rmse))
        if batch_idx == 0:
            self._show([batch.rgb, rgb, depth_picture(batch.depth), depth_picture(depth)], depth, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means, and how much of each axis of colour comes back."""
        self.log_dict({f"val/{name}": mean for name, mean in self.means.take(self).items()}, prog_bar=True)
        self.log_dict({f"val/slope_{axis}": slope for axis, slope in self.slopes.compute().items()})
        self.slopes.reset()

    def configure_optimizers(self) -> Any:
        """AdamW over what trains, with warm-up and a fall of its rate."""
        return warmed_optimizer(self, self.optimizer_settings)

    def on_fit_end(self) -> None:
        """Write the codec's folder."""
        if self.trainer.is_global_zero:
            export(self.codec, Path(self.trainer.default_root_dir) / "weights")

    def _decode(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents + self.augmentation.latent_noise * torch.randn_like(latents))

    def _latents(self, pictures: Tensor) -> Tensor:
        """Normalised by this batch, so that gradients see the statistics; by the codec's own where it is frozen."""
        if self.freeze_encoder:
            with torch.no_grad():
                return self.codec.encode(pictures)
        raw = self.codec.encode_raw(pictures).float()
        std_C, mean_C = torch.std_mean(raw, (0, 2, 3))
        self._keep_statistics(mean_C.detach(), std_C.detach())
        return (raw - mean_C[:, None, None]) / std_C[:, None, None]

    def _keep_statistics(self, mean_C: Tensor, std_C: Tensor) -> None:
        """Running means of the latents' mean and deviation, over the batches of all processes."""
        square_C = mean_C.square() + std_C.square()
        if self._trainer is not None and self._trainer.world_size > 1:
            mean_C, square_C = self._trainer.strategy.reduce(torch.stack([mean_C, square_C]), reduce_op="mean")
        std_C = (square_C - mean_C.square()).clamp_min(0).sqrt()
        self.codec.latent_mean.lerp_(mean_C, self.momentum)
        self.codec.latent_std.lerp_(std_C, self.momentum)

    def _show(self, columns: list[Tensor], depth: Tensor, batch: ImageBatch, rows: int = 8) -> None:
        columns = [c[:rows] for c in (*columns, error_picture(depth, batch.depth, batch.skin))]
        for logger in (x for x in self.loggers if isinstance(x, TensorBoardLogger)):
            image = np.asarray(labelled_grid(columns, GRID_COLUMNS))
            logger.experiment.add_image("reconstructions", image, self.global_step, dataformats="HWC")


def reconstruct(codec: ImageCodec, batch: ImageBatch) -> tuple[Tensor, Tensor]:
    """What comes back of a batch: ``rgb_B3HW`` and ``depth_B1HW``, both in [-1, 1]."""
    rgb = codec(batch.rgb).clamp(-1, 1)
    return rgb, depth_frames.from_codec(codec(depth_frames.to_codec(batch.depth)))


def psnr_rgb(rgb_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in [-1, 1] → (B,) dB."""
    return -10 * ((rgb_B3HW - target_B3HW) / 2).square().mean((1, 2, 3)).log10()


def rmse_depth(depth_B1HW: Tensor, batch: ImageBatch) -> Tensor:
    """RMSE on skin of each picture that has skin depth → (at most B,), in the benchmarks' frame (0.1 … 1)."""
    measured = batch.skin & depth_frames.has_range(batch.range_mm)[:, None, None, None]
    pixels = measured.sum((1, 2, 3))
    squares = ((depth_B1HW - batch.depth).square() * measured).sum((1, 2, 3))
    return BENCHMARK_FRAME * (squares / pixels)[pixels > 0].sqrt()


def dimmed(rgb_B3HW: Tensor, most: float) -> Tensor:
    """Pictures in [-1, 1] whose colour channels are each dimmed by a random share of at most ``most``."""
    if most == 0:
        return rgb_B3HW
    gain = 1 - most * torch.rand(len(rgb_B3HW), 3, 1, 1, device=rgb_B3HW.device)
    return (rgb_B3HW + 1) * gain - 1


def mosaics(rgb_B3HW: Tensor, skin_B1HW: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The same pictures and their skin, but that a ``share`` of them (rounded down) is four others at half the size."""
    count = int(share * len(rgb_B3HW))
    if count == 0:
        return rgb_B3HW, skin_B1HW

    def tiled(x: Tensor) -> Tensor:
        halves = F.avg_pool2d(x, 2)
        rows = [torch.cat([halves.roll(2 * i, 0)[:count], halves.roll(2 * i + 1, 0)[:count]], -1) for i in range(2)]
        return torch.cat([torch.cat(rows, -2), x[count:]])

    return tiled(rgb_B3HW), tiled(skin_B1HW)


def rgb_loss(rgb_B3HW: Tensor, target_B3HW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """L1 in YIQ, where a lost colour axis costs what a lost brightness does, plus half the L1 of RGB's edges.

    The axes weigh :data:`YIQ_WEIGHTS`, and pixels ``weight_B1HW`` (None: 1) over its mean. Edges are the differences
    between neighbours, at full and at half resolution.
    """
    error = (rgb_to_yiq(rgb_B3HW - target_B3HW).abs() * rgb_B3HW.new_tensor(YIQ_WEIGHTS)[:, None, None]).mean(1)
    pixels = error.mean() if weight_B1HW is None else (error * weight_B1HW[:, 0]).mean() / weight_B1HW.mean()
    halves = F.avg_pool2d(rgb_B3HW, 2), F.avg_pool2d(target_B3HW, 2)
    return pixels + 0.5 * (_difference_l1(rgb_B3HW, target_B3HW) + _difference_l1(*halves))


def depth_loss(picture_B3HW: Tensor, depth_B1HW: Tensor, skin_B1HW: Tensor, skin_weight: float) -> Tensor:
    """L1 / 2 + 8 L2 of the pixels, weighted 1 off the skin and 1 + ``skin_weight`` on it, plus L1 of differences / 4.

    Mostly L2: errors sit at the few pixels of occluding contours, and RMSE is what is measured.
    """
    target = depth_frames.to_codec(depth_B1HW)
    weight = 1 + skin_weight * skin_B1HW.float()
    error = picture_B3HW - target
    pixels = ((0.5 * error.abs() + 8 * error.square()) * weight).mean() / weight.mean()
    return pixels + 0.25 * _difference_l1(picture_B3HW, target)


def export(codec: ImageCodec, folder: Path) -> None:
    """Write the codec's folder beside, then put it in place."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    codec.to(memory_format=torch.contiguous_format).save_pretrained(part)  # type: ignore[call-arg]
    replace_folder(part, folder)


def _start(codec: ImageCodec, folder: str, same_encoder: bool) -> None:
    """Take over the codec of ``folder``."""
    begun = load_codec(resolve(folder))
    if not isinstance(begun, ImageCodec):
        raise WeightsError(f"{folder}: only an ImageCodec can be trained on, and this is a codec of diffusers")
    try:
        codec.start_from(begun)
    except ValueError as error:
        raise WeightsError(f"{folder}: {error}; change the settings, or give no init") from error
    grown = (len(codec.encoder), codec.latent_channels) != (len(begun.encoder), begun.latent_channels)
    if same_encoder and grown:
        raise WeightsError(
            f"{folder}: a frozen encoder must be whole; give its network.latent_channels and network.encoder_blocks"
        )


def _difference_l1(picture: Tensor, target: Tensor) -> Tensor:
    return sum(F.l1_loss(picture.diff(dim=d), target.diff(dim=d)) for d in (-2, -1))  # type: ignore[return-value]
