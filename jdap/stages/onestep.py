"""The one-step stage: fine-tunes an image model to depth in one step, end to end through the frozen decoder.

A diffusion loss teaches the latents of depth, each cell as much as the next, wherever the codec's errors lie. Here the
one step that ``jdap depth`` takes is what trains, up to its pixels, on what is measured: depth up to a scale and a
shift (E2E-FT, arXiv 2409.11355). What comes out knows depth and nothing else: it has weights of its own.

From ``head`` layers beside the UNet's own learn to better what a head fitted to the picture's landmarks says of its
depth (:class:`jdap.models.image.face_layers.FaceLayers`); everything else stays as it was and answers as before. Such
heads are made of true depth (:mod:`jdap.stages.parts.rough_head`); real ones are only needed when it is asked.

Shapes: B pictures, H x W pixels, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.batch import ImageBatch
from jdap.diffusion.denoiser import JointDenoiser
from jdap.diffusion.draws import StepSlice, draw_generators
from jdap.diffusion.onestep import DEPTH_STARTS, ZEROS, depth_start, from_head, one_step_depth
from jdap.io.assets import resolve
from jdap.metrics import DepthMetrics
from jdap.models.codec import load_codec, same_latents
from jdap.models.image.face_layers import FaceLayers
from jdap.models.image.joint_unet import JointUNet
from jdap.models.loading import WeightsError
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.parts.depth_loss import depth_loss
from jdap.stages.parts.lens import as_given
from jdap.stages.parts.networks import freeze_unasked
from jdap.stages.parts.optimizers import warmed_optimizer
from jdap.stages.parts.report import DiffusionStage, HalfReport, StepOutput, StepReport
from jdap.stages.parts.rough_head import rough_heads
from jdap.stages.parts.steps import place_of
from jdap.stages.settings.checks import check_choice, save_settings
from jdap.stages.settings.given import GivenSettings
from jdap.stages.settings.onestep import ONE_STEP_OPTIMIZER, OneStepLossSettings
from jdap.stages.settings.optimizer import OptimizerSettings

#: The start that is no input of one step but a head to better.
HEAD_START = "head"


class OneStepStage(DiffusionStage):
    """Depth from a picture in one step, by a scale-and-shift-invariant loss on the decoded depth.

    Args:
        init: weights folder of an image model to start from, ``shipped:image-tiny`` for the one that ships.
        codec: folder of a codec whose decoder is to be trained through, in the place of the one in ``init``; its
            encoder must be the same. Null: the one in ``init``. It stays frozen.
        start: what the depth half starts from, ``zeros`` or ``noise``, stored with the weights; or ``head``, which
            trains layers for fitted heads, a twentieth of preset ``tiny``, beside an image model that stays as it is.
        gradient_checkpointing: keep few activations, and compute them again in the backward pass.
        loss: how the parts of the loss weigh.
        optimizer: AdamW, and how its rate rises and falls.
        given: how the pictures are changed: for depth from photos that are not as clean as training's.
        seed: of those changes.

    Raises :class:`jdap.models.loading.WeightsError` for folders that cannot be started from.
    """

    def __init__(
        self,
        init: str,
        codec: str | None = None,
        start: str = ZEROS,
        gradient_checkpointing: bool = False,
        loss: OneStepLossSettings = OneStepLossSettings(),
        optimizer: OptimizerSettings = ONE_STEP_OPTIMIZER,
        given: GivenSettings = GivenSettings(),
        seed: int = 0,
    ) -> None:
        super().__init__()
        save_settings(self, locals())
        check_choice("start", start, (*DEPTH_STARTS, HEAD_START))
        self.start, self.loss_settings, self.optimizer_settings = start, loss, optimizer
        self.given, self.seed = given, seed
        begun = PortraitPipeline.from_pretrained(init)
        if not isinstance(begun.unet, JointUNet) or begun.reference is None or begun.shared_timestep:
            raise WeightsError(
                f"model.init {init}: the weights of an ablation; depth in one step starts from a full model"
            )
        self.codec = begun.codec
        if codec is not None:
            self.codec = load_codec(resolve(codec))
            if not same_latents(begun.codec, self.codec):
                raise WeightsError(f"model.codec {codec}: its encoder is not that of model.init {init}")
        self.codec.requires_grad_(False)
        self.unet, self.reference, self.image_tokens = begun.unet, begun.reference, begun.image_tokens
        freeze_unasked(self.unet)
        self.one_step_start = begun.one_step_start if start == HEAD_START else start
        self.face_layers: FaceLayers | None = None
        if start == HEAD_START and gradient_checkpointing:  # it would compute again with the UNet's own layers
            raise ValueError("model.gradient_checkpointing does not go with model.start head: leave it out")
        if start == HEAD_START:
            self.face_layers = FaceLayers.of(self.unet)
            self.unet.requires_grad_(False)
        # channels last: a fifth faster on a CPU, and what tensor cores want
        self.unet.train().to(memory_format=torch.channels_last)  # type: ignore[call-arg]
        if gradient_checkpointing:
            self.unet.unet.enable_gradient_checkpointing()
        for kept in filter(None, (self.reference, self.image_tokens)):  # depth asks nobody who it is
            kept.requires_grad_(False)
        self.schedule = begun.schedule
        self.preset, self.size_px, self.validation_steps = begun.preset, begun.size_px, 1
        self.denoiser = JointDenoiser(self.schedule)
        self.validation_depth = DepthMetrics("normalised")

    def pipeline(self) -> PortraitPipeline:
        """The networks as they are now, as a pipeline that shares them."""
        return PortraitPipeline(
            self.codec,
            self.unet,
            self.reference,
            self.schedule,
            preset=self.preset,
            size_px=self.size_px,
            image_tokens=self.image_tokens,
            face_layers=self.face_layers,
            one_step_start=self.one_step_start,
        ).quiet()

    def depth(self, rgb_B3HW: Tensor, head_B1HW: Tensor | None = None) -> Tensor:
        """RGB in [-1, 1] → depth (B, 1, H, W), about [-1, 1]: what a pipeline clips there. Differentiable.

        ``head_B1HW``: normalised depth of rough heads, for the layers that better them.
        """
        with torch.no_grad():
            rgb = self.codec.encode(rgb_B3HW)
        if head_B1HW is None or self.face_layers is None:
            latents = one_step_depth(self.denoiser, self.unet, rgb, depth_start(self.start, rgb))
        else:
            with torch.no_grad():
                head = self.codec.encode(depth_frames.to_codec(head_B1HW))
            latents = from_head(self.denoiser, self.face_layers.around(self.unet), rgb, head)
        return self.codec.decode(latents).mean(dim=1, keepdim=True)

    def rough_head(self, batch: ImageBatch, place: StepSlice) -> Tensor | None:
        """For the layers of fitted heads, a rough one for each picture (B, 1, H, W), by chances of its place in the
        step."""
        if self.face_layers is None:
            return None
        if batch.mean_head_mm is None:
            raise ValueError(
                "start head needs shards with the posed mean head's depth: make them with `python -m data_prep` … "
                "--mean-head"
            )
        generators = draw_generators(self.seed + 1, place)
        return rough_heads(batch.depth_mm, batch.mean_head_mm, batch.skin, generators)

    def training_step(self, batch: ImageBatch, batch_idx: int) -> StepOutput:
        """One step on an :class:`ImageBatch`: its loss, and what each sample gave to it, for the logs.

        Raises ValueError for latents.
        """
        if not isinstance(batch, ImageBatch):
            raise ValueError("data.train holds latents, and this loss is of pixels: name the shards of pictures")
        place = place_of(self, len(batch), batch_idx)
        rgb = as_given(batch.rgb, torch.ones(len(batch), dtype=torch.bool), self.given, self.seed, place)
        free_B, framed_B, has_depth_B, depth_B = depth_loss(
            self.depth(rgb, self.rough_head(batch, place)), batch, self.loss_settings
        )
        pictures = has_depth_B.sum().clamp_min(1)
        loss = depth_B.sum() / pictures
        scalars = {"train/loss": loss, "train/loss_free": free_B.sum() / pictures}
        scalars["train/loss_framed"] = (framed_B * has_depth_B).sum() / pictures
        self.log_dict(scalars, batch_size=len(batch))
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        self.report = StepReport(depth=HalfReport(depth_B.detach(), has_depth_B))
        return {"loss": loss, "report": self.report}

    def validation_head(self, batch: ImageBatch, batch_idx: int) -> FittedDepth | None:
        """What validation starts from: of start ``head`` rough heads, made as in training, the same ones each time; the
        skin is their face."""
        rough = self.rough_head(batch, StepSlice.of(batch_idx, len(batch)))
        return None if rough is None else FittedDepth(rough, batch.skin & (rough < depth_frames.NO_DEPTH))

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Image-to-depth on held-out pictures, scored in the normalised frame after scale and shift."""
        head = self.validation_head(batch, batch_idx)
        generator = torch.Generator().manual_seed(batch_idx)
        found = self.pipeline().image_to_depth(batch.rgb, head=head, generator=generator)
        self.validation_depth.update(found.depth, batch.depth_mm, batch.skin, batch.range_mm)

    def on_validation_epoch_end(self) -> None:
        """Log AbsRel, δ1 and RMSE."""
        scores = self.validation_depth.compute()
        self.log_dict({f"val/{name}": value for name, value in scores.items()}, prog_bar=True)
        self.validation_depth.reset()

    def configure_optimizers(self) -> Any:
        """AdamW over what trains, with warm-up and a fall of its rate."""
        return warmed_optimizer(self, self.optimizer_settings)
