"""The image stage: trains the joint UNet and its ReferenceNet on pairs of pictures of one person.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from jdap import depth as depth_frames
from jdap.batch import ImageBatch, LatentBatch
from jdap.diffusion.denoiser import JointDenoiser, JointLoss, Pair
from jdap.diffusion.draws import StepSlice, draw_noise, draw_timesteps
from jdap.diffusion.schedule import TRAILING, NoiseSchedule
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, IMAGE_TO_DEPTH, LOG_SNR, TimestepLaw
from jdap.metrics import DepthMetrics
from jdap.models.codec import fingerprint
from jdap.models.image.lora import merge_lora
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.parts.depth_loss import depth_loss
from jdap.stages.parts.latents import NEED_PICTURES, latents_of
from jdap.stages.parts.lens import as_given
from jdap.stages.parts.lookup import ReferenceLookup
from jdap.stages.parts.networks import image_networks
from jdap.stages.parts.optimizers import warmed_optimizer
from jdap.stages.parts.report import DiffusionStage, HalfReport, StepOutput, StepReport
from jdap.stages.parts.sharding import shard, whole
from jdap.stages.parts.steps import place_of, step_losses
from jdap.stages.settings.checks import save_settings
from jdap.stages.settings.given import GivenSettings
from jdap.stages.settings.image import (
    ImageConditioningSettings,
    ImageLossSettings,
    ImageNetworkSettings,
    ImageNoiseSettings,
)
from jdap.stages.settings.onestep import OneStepLossSettings
from jdap.stages.settings.optimizer import OptimizerSettings


class Encoded(NamedTuple):
    """A batch as the loss reads it.

    ``clean`` latents of RGB and depth, ``reference`` latents; ``weight`` (B, 1, h, w): where depth is learnt, and
    ``confidence`` (B, 1, h, w) in [0, 1]: how far it is trusted there.
    """

    clean: Pair
    reference: Tensor
    weight: Tensor
    confidence: Tensor


class ImageStage(DiffusionStage):
    """Joint RGB-depth diffusion with a ReferenceNet.

    Args:
        preset: name of the builder of the networks (:data:`jdap.models.image.build.BUILDERS`).
        codec: folder of the image codec; ``shipped:image-tiny/codec`` ships. It stays frozen. null takes the
            VAE of ``sd``, or the codec of ``init``.
        init: weights folder to start from, for fine-tuning; null starts from random networks. It must be of the same
            preset, and have been trained on this codec's latents.
        sd: Stable Diffusion 1.x or 2.x to start preset ``sd15`` from: a folder of diffusers, or one ``.safetensors``
            file with the original names.
        size_px: side of the training pictures; stored with the weights.
        networks: which networks there are, and which of their weights train.
        noise: how noisy the halves of a sample are.
        conditioning: what a sample is given beside its noise.
        loss: how the parts of the loss weigh.
        optimizer: AdamW, and how its rate rises and falls.
        given: how pictures are changed that are given for their depth.
        validation_steps: sampling steps of the validation depth.
        gradient_checkpointing: keep few activations, and compute them again in the backward pass.
        compile: backend of ``torch.compile`` for the UNets (``inductor``), or null.
        seed: of timesteps, noise and dropped references, which are drawn alike on any number of processes.
    """

    def __init__(
        self,
        preset: str = "tiny",
        codec: str | None = "shipped:image-tiny/codec",
        init: str | None = None,
        sd: str | None = None,
        size_px: int = 128,
        networks: ImageNetworkSettings = ImageNetworkSettings(),
        noise: ImageNoiseSettings = ImageNoiseSettings(),
        conditioning: ImageConditioningSettings = ImageConditioningSettings(),
        loss: ImageLossSettings = ImageLossSettings(),
        optimizer: OptimizerSettings = OptimizerSettings(),
        given: GivenSettings = GivenSettings(),
        validation_steps: int = 1,
        gradient_checkpointing: bool = False,
        compile: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        save_settings(self, locals())
        if (networks.shared_timestep or not networks.joint) and (
            conditioning.image_to_depth or conditioning.depth_to_image
        ):
            raise ValueError(
                "model.networks.joint false and model.networks.shared_timestep train no half beside a given one: "
                "set model.conditioning.image_to_depth and model.conditioning.depth_to_image to 0"
            )
        if loss.decoded and not (conditioning.image_to_depth and noise.last_step_fraction):
            raise ValueError(
                "model.loss.decoded is of image-to-depth at the last timestep: set model.conditioning.image_to_depth "
                "and model.noise.last_step_fraction above 0"
            )
        if (given.grey or given.camera) and not conditioning.image_to_depth:
            raise ValueError(
                "model.given changes pictures that are given for their depth: set model.conditioning.image_to_depth "
                "above 0"
            )
        self.preset, self.size_px, self.seed, self.validation_steps = preset, size_px, seed, validation_steps
        self.conditioning, self.loss_settings, self.optimizer_settings = conditioning, loss, optimizer
        self.given = given
        self.joint, self.shared_timestep = networks.joint, networks.shared_timestep
        made = image_networks(preset, codec, init=init, sd=sd, settings=networks, checkpointing=gradient_checkpointing)
        self.codec, self.unet, self.reference, self.image_tokens, self.likeness_net = made
        for network in self.modules():
            if compile is not None and isinstance(network, UNet2DConditionModel):
                network.compile(backend=compile)
        self.codec_name = codec or ""
        self.codec_mark = fingerprint(self.codec)  # now, before a precision plugin may cast it
        self.schedule = NoiseSchedule(spacing=LOG_SNR if noise.density == LOG_SNR else TRAILING)
        self.denoiser = JointDenoiser(self.schedule, loss.gamma)
        self.law = TimestepLaw(
            conditioning.image_to_depth,
            conditioning.depth_to_image,
            noise.condition_noise,
            noise.last_step_fraction,
            density=noise.density,
        )
        self.validation_depth = DepthMetrics("normalised")
        self.lookup = ReferenceLookup()
        # plain dictionaries, of networks that are not the stage's children
        self._forms: dict[str, Any] = {}
        self._whole: dict[str, Any] = {}

    def configure_model(self) -> None:
        """Share the networks out to the processes where the strategy does: see :mod:`jdap.stages.parts.sharding`."""
        if self.device_mesh is not None and not isinstance(self, FSDPModule):
            self._forms = shard(self, self.device_mesh)

    def _put_together(self) -> dict[str, Any]:
        return {name: whole(getattr(self, name), form) for name, form in self._forms.items()}

    def on_validation_epoch_start(self) -> None:
        """Put shared out networks together: processes have more or fewer batches, and only one makes samples."""
        self._whole = self._put_together()

    def on_train_end(self) -> None:
        """Put shared out networks together for good, and LoRA into the weights; averages are in their place by now."""
        for name, network in self._put_together().items():
            setattr(self, name, network)
        self._forms = {}
        merge_lora(self)

    def pipeline(self) -> PortraitPipeline:
        """The networks as they are now, as a pipeline that shares them; in a validation, what was put together."""
        return PortraitPipeline(
            self.codec,
            self._whole.get("unet", self.unet),
            self._whole.get("reference", self.reference),
            self.schedule,
            preset=self.preset,
            size_px=self.size_px,
            shared_timestep=self.shared_timestep,
            image_tokens=self._whole.get("image_tokens", self.image_tokens),
            likeness_net=self.likeness_net,
        ).quiet()

    @torch.no_grad()
    def encode(self, batch: ImageBatch | LatentBatch) -> Encoded:
        """Latents of a batch, and the depth loss's weight and confidence per latent cell.

        Of a :class:`LatentBatch` they are there already; ValueError where they are another codec's.
        """
        named = f"model.codec {self.codec_name}"
        rgb, depth, reference, skin, confidence = latents_of(self.codec, batch, self.codec_mark, named)
        weight = depth_frames.loss_weight(skin, batch.depth_source, batch.range_mm, self.loss_settings.outside_skin)
        return Encoded(Pair(rgb, depth), reference, weight, confidence)

    def training_step(self, batch: ImageBatch | LatentBatch, batch_idx: int) -> StepOutput:
        """One step on pictures or latents: its loss, and for logs what each sample gave, decoded depth left out."""
        place = place_of(self, len(batch), batch_idx)
        targets = batch.targets
        t, kind, chance = draw_timesteps(self.law, self.schedule, self.seed, place, 1, targets)
        clean, reference, weight, confidence = self.encode(self._as_given(batch, kind, place))
        order, conditions = self._led(batch, reference, kind, chance[0])
        if not self.joint:
            conditions["clean_rgb_BChw"] = clean.rgb[order]
        noise = draw_noise(clean, self.seed, place)

        def ordered(pair: Pair) -> Pair:
            return Pair(*(x.to(self.device)[order] for x in pair))

        loss = self.denoiser.loss(
            partial(self.unet, **conditions),
            ordered(clean),
            ordered(t),
            ordered(noise),
            weight[order],
            confidence[order],
            drawn=ordered(Pair(kind != IMAGE_TO_DEPTH, kind != DEPTH_TO_IMAGE)),
        )
        rgb, depth = step_losses(self, loss, self.law, weight)
        total, parts = rgb + depth, {"train/loss_rgb": rgb, "train/loss_depth": depth}
        if self.loss_settings.decoded and isinstance(batch, ImageBatch):
            decoded = self._decoded(batch, loss, t, order, kind)
            total = total + self.loss_settings.decoded * decoded
            parts["train/loss_decoded"] = decoded
        self.log_dict({"train/loss": total} | parts, batch_size=len(batch))
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        back = order.argsort()
        self.report = StepReport(
            HalfReport(loss.rgb_B[back].detach(), loss.has_rgb_B[back], t.rgb),
            HalfReport(loss.depth_B[back].detach(), loss.has_depth_B[back], t.depth),
            back,
        )
        return {"loss": total, "report": self.report}

    def _as_given(self, batch: ImageBatch | LatentBatch, kind: Tensor, place: StepSlice) -> ImageBatch | LatentBatch:
        """The batch with those pictures changed that are given for their depth."""
        asks = self.given.grey or self.given.camera or self.loss_settings.decoded
        if isinstance(batch, LatentBatch):
            if asks:
                raise ValueError(
                    "model.given and model.loss.decoded are of pictures, and data.train holds latents: name the shards "
                    "of pictures"
                )
            return batch
        return batch.changed(rgb=as_given(batch.rgb, kind == IMAGE_TO_DEPTH, self.given, self.seed, place))

    def _decoded(self, batch: ImageBatch, loss: JointLoss, t: Pair, order: Tensor, kind: Tensor) -> Tensor:
        """The mean error of decoded depth over the samples of image-to-depth at the last timestep.

        Their number is what the law makes of a batch, so that parts of a step add up to it, however it was divided.
        """
        rows = ((kind == IMAGE_TO_DEPTH) & (t.depth == self.schedule.timesteps - 1)).nonzero().flatten()
        if not len(rows):
            return loss.depth.new_zeros(())
        asked = order.argsort()[rows.to(self.device)]
        noisy, v = (Pair(*(half[asked] for half in pair)) for pair in (loss.noisy, loss.v))
        latents = self.denoiser.clean(noisy, v, Pair(*(tt[rows].to(self.device) for tt in t))).depth
        settings = OneStepLossSettings(outside_skin=self.loss_settings.outside_skin)
        found = depth_loss(self.codec.decode(latents).mean(dim=1, keepdim=True), batch, settings, rows)
        return found.total_B.sum() / (len(batch) * self.law.image_to_depth * self.law.last_step_fraction)

    def _led(
        self, batch: ImageBatch | LatentBatch, reference: Tensor, kind: Tensor, chance: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """The order in which samples are asked for, and what the network is told of their references.

        Samples of image-to-depth come first, for they have no reference and pay for none.
        """
        targets = batch.targets
        alone = kind[::targets] == IMAGE_TO_DEPTH
        keep = (chance[::targets] >= self.conditioning.reference_drop) & ~alone
        groups = (~alone).int().argsort(stable=True)
        order = (groups[:, None] * targets + torch.arange(targets)).flatten()
        if self.reference is None:
            return order.to(self.device), {}
        # one at least runs, if unseen: every process must have a gradient of all that trains
        first = min(int(alone.sum()), len(groups) - 1)
        led = groups[first:]
        features = self.reference(reference[led.to(self.device)])
        conditions: dict[str, Any] = {
            "reference": self.unet.project_reference(features),
            "keep_reference_R": keep[led],
            "reference_from": first * targets,
            "targets": targets,
        }
        if self.image_tokens is not None:
            if isinstance(batch, LatentBatch):
                raise ValueError(NEED_PICTURES)
            tokens = self.image_tokens(batch.reference_rgb, keep.to(self.device)).repeat_interleave(targets, dim=0)
            conditions["tokens_BLD"] = tokens[order.to(self.device)]
        return order.to(self.device), conditions

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Image-to-depth on held-out pictures, scored in the normalised frame, and how references are looked up."""
        generator = torch.Generator().manual_seed(batch_idx)
        pipeline, steps = self.pipeline(), self.validation_steps
        depth = pipeline.image_to_depth(batch.rgb, steps=steps, generator=generator).depth
        self.validation_depth.update(depth, batch.depth_mm, batch.skin, batch.range_mm)
        if pipeline.reference is not None:
            clean, reference, _, _ = self.encode(batch)
            self.lookup.update(pipeline, clean, reference, batch.person_id, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log AbsRel, δ1 and RMSE, and the errors by what is shown as the reference."""
        self._whole = {}
        if self.reference is not None:
            self.log_dict({f"val/{name}": value for name, value in self.lookup.compute().items()})
            self.lookup.reset()
        scores = self.validation_depth.compute()
        self.log_dict({f"val/{name}": value for name, value in scores.items()}, prog_bar=True)
        self.validation_depth.reset()

    def configure_optimizers(self) -> Any:
        """AdamW over what trains, with warm-up and, if asked for, a fall of its rate."""
        return warmed_optimizer(self, self.optimizer_settings)
