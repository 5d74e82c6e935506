"""What can be set of the image stage, by what is changed together."""

from __future__ import annotations

from dataclasses import dataclass

from jdap.diffusion.timesteps import LOG_SNR, UNIFORM
from jdap.stages.settings.checks import check_choice, check_given, check_least, check_shares


@dataclass(frozen=True)
class ImageNetworkSettings:
    """Which networks there are, and which of their weights train.

    Args:
        widths: channels of the levels of networks from scratch; null: the preset's.
        joint: one UNet for both halves; false is an ablation: separate ones, which share nothing
            (:class:`jdap.models.image.separate.SeparateUNets`). They are asked nothing but RGB, and depth from clean
            RGB, so ``conditioning.image_to_depth`` and ``conditioning.depth_to_image`` must be 0.
        reference: whether there is a ReferenceNet; false is an ablation: nothing tells the networks who it is.
        copy_reference: start the ReferenceNet of ``init`` anew, as a copy of the joint UNet's RGB half. For weights
            whose UNet has learnt to make pictures before its ReferenceNet was of use.
        image_encoder: folder of a CLIP vision encoder (transformers' ``CLIPVisionModelWithProjection``) that stays
            frozen; tokens of the reference picture then go to the cross-attention. null: none, or those of ``init``.
        likeness_net: folder of a network that betters drawn RGB by a moved reference, of the same codec's latents; it
            goes along as it is into the weights that are written. null: none, or that of ``init``.
        lora_rank: above 0 only LoRA of this rank trains, beside the attention of both UNets; export merges it.
        shared_timestep: an ablation: both halves always have the same timestep, so ``conditioning.image_to_depth`` and
            ``conditioning.depth_to_image`` must be 0, and what is given can only be given by channel-wise inpainting.
    """

    widths: list[int] | None = None
    joint: bool = True
    reference: bool = True
    copy_reference: bool = False
    image_encoder: str | None = None
    likeness_net: str | None = None
    lora_rank: int = 0
    shared_timestep: bool = False

    def __post_init__(self) -> None:
        check_least("networks", 0, lora_rank=self.lora_rank)


@dataclass(frozen=True)
class ImageNoiseSettings:
    """How noisy the halves of a sample are (:class:`jdap.diffusion.timesteps.TimestepLaw`).

    Args:
        density: of halves that are to be denoised: ``log_snr``, evenly over the logarithm of the signal-to-noise
            ratio, or ``uniform`` in the timestep. Sampling's steps are spaced alike.
        last_step_fraction: extra share, 0 … 1, of image-to-depth samples at the last timestep, where one-step
            prediction happens.
        condition_noise: how noisy a given half may be, as a share, 0 … 1, of the timesteps.
    """

    density: str = LOG_SNR
    last_step_fraction: float = 0.0
    condition_noise: float = 0.05

    def __post_init__(self) -> None:
        check_choice("noise.density", self.density, (LOG_SNR, UNIFORM))
        check_shares("noise", last_step_fraction=self.last_step_fraction, condition_noise=self.condition_noise)


@dataclass(frozen=True)
class ImageConditioningSettings:
    """What a sample is given beside its noise; shares of the samples, 0 … 1.

    Args:
        image_to_depth: share with RGB given.
        depth_to_image: share with depth given; the rest, with neither, is joint.
        reference_drop: share of references that may not be seen. Image-to-depth never sees one: it gains nothing by it.
    """

    image_to_depth: float = 0.25
    depth_to_image: float = 0.25
    reference_drop: float = 0.05

    def __post_init__(self) -> None:
        shares = {"image_to_depth": self.image_to_depth, "depth_to_image": self.depth_to_image}
        check_shares("conditioning", **shares, reference_drop=self.reference_drop)
        check_given(**shares)


@dataclass(frozen=True)
class ImageLossSettings:
    """How the parts of the loss weigh.

    Args:
        gamma: cap of the Min-SNR weight, above 0.
        outside_skin: weight, from 0, of the depth loss off the skin, on studio samples only: there the depth of the
            whole head is true, while fitted depth is only trusted on skin.
        decoded: weight, from 0, of the error of decoded depth where a sample of image-to-depth is at the last timestep:
            the loss of ``jdap train-depth`` with its defaults, in the midst of diffusion. Needs pictures, not latents.
    """

    gamma: float = 5.0
    outside_skin: float = 0.1
    decoded: float = 0.0

    def __post_init__(self) -> None:
        check_least("loss", 0, gamma=self.gamma, outside_skin=self.outside_skin, decoded=self.decoded)
