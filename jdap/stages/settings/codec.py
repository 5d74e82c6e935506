"""What can be set of the codec stage, by what is changed together."""

from __future__ import annotations

from dataclasses import dataclass

from jdap.stages.settings.checks import check_least, check_shares
from jdap.stages.settings.optimizer import LINE, OptimizerSettings

#: The rate falls in a line over the whole run.
CODEC_OPTIMIZER = OptimizerSettings(2e-3, 100, decay=1.0, decay_shape=LINE, weight_decay=1e-3, beta2=0.98)


@dataclass(frozen=True)
class CodecNetworkSettings:
    """Channels and blocks, as :class:`jdap.models.codec.ImageCodec` takes them.

    Args:
        latent_channels: C.
        factor: pixels a latent cell is wide.
        encoder_widths: channels of the encoder's levels.
        encoder_blocks: bottleneck blocks of each.
        decoder_widths, decoder_blocks: the same of the decoder.
    """

    latent_channels: int = 3
    factor: int = 4
    encoder_widths: tuple[int, ...] = (96,)
    encoder_blocks: tuple[int, ...] = (2,)
    decoder_widths: tuple[int, ...] = (128,)
    decoder_blocks: tuple[int, ...] = (6,)


@dataclass(frozen=True)
class CodecAugmentationSettings:
    """How training pictures and latents are changed.

    Args:
        latent_noise: standard deviation, from 0, of the noise on the (unit variance) latents. It makes the decoder
            smooth, so that a diffusion model's small errors stay small.
        colour_gain: how far each colour channel of a picture may be dimmed, 0 … 1, at random for each picture: colours
            that people and their rooms seldom have.
        mosaic: share, 0 … 1, of the pictures that are four others at half their size: finer detail than a face has.
    """

    latent_noise: float = 0.05
    colour_gain: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        check_least("augmentation", 0, latent_noise=self.latent_noise)
        check_shares("augmentation", colour_gain=self.colour_gain, mosaic=self.mosaic)


@dataclass(frozen=True)
class CodecLossSettings:
    """How the parts of the loss weigh, all from 0.

    Args:
        depth: weight of the depth loss against that of RGB.
        depth_skin: how much more a skin pixel weighs in the depth loss than one off the skin.
        rgb_skin: the same in the loss of RGB.
        scale: weight of a second loss of RGB: latents that are averaged over 2 x 2 cells must decode to the picture
            averaged over 2 x 2 pixels. It keeps their fine pattern from being a code of its own, which a diffusion
            model would have to learn (arXiv 2502.14831).
    """

    depth: float = 1.0
    depth_skin: float = 8.0
    rgb_skin: float = 2.0
    scale: float = 0.25

    def __post_init__(self) -> None:
        check_least("loss", 0, depth=self.depth, depth_skin=self.depth_skin, rgb_skin=self.rgb_skin, scale=self.scale)
