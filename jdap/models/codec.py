"""Image codecs: pictures to latents of zero mean and unit variance, and back.

Everything that needs latents relies on five things only: ``encode``, ``decode``, ``latent_channels``, ``factor`` and
``save_pretrained``. Two classes have them: :class:`ImageCodec`, the project's own small autoencoder, and
:class:`DiffusersCodec`, which adapts an autoencoder of diffusers. :func:`load_codec` reads the folder of either.

A picture is RGB or a depth map in codec input (:func:`jdap.depth.to_codec`); both pass through the same weights and
the same statistics.

Shapes: B pictures, C latent channels, H x W pixels, h x w latent cells (H = h * factor).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from jdap.models.component import Component
from jdap.models.loading import WeightsError, load_strict, read_json


class ResidualBlock(nn.Module):
    """A bottleneck: ``x + conv1(silu(conv3(silu(conv1(silu(x))))))``, inside with half of the channels.

    At equal time on a CPU it learnt more than two full 3 x 3 convolutions. Without a norm it is faster, and what a
    cell means does not depend on the rest of the picture; the last convolution, zero at the start, keeps it stable.
    """

    def __init__(self, width: int):
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 2, 1)
        self.conv = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.expand = nn.Conv2d(width // 2, width, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → the same shape."""
        y = F.silu(self.reduce(F.silu(x)))
        return x + self.expand(F.silu(self.conv(y)))


class ImageCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small deterministic autoencoder whose first and last layers move blocks of pixels into channels.

    It works at the latents' resolution and, with more than one width, at the next finer ones, never on pixels. That
    makes it several times faster on a CPU than autoencoders that convolve the full picture.

    Args:
        latent_channels: C.
        factor: pixels per latent cell along each side; a multiple of 2^(number of widths − 1).
        encoder_widths: channels at each resolution, from the finest to the latents'; even.
        encoder_blocks: residual blocks at each of them.
        decoder_widths, decoder_blocks: the same for the decoder, from the finest to the latents' as well.
        activated: whether an activation stands before the latents. Without one colours reach them along a path that is
            linear; with one, an axis of colour was lost in training and never found again.

    The buffers ``latent_mean`` and ``latent_std`` (C,) hold the statistics of the raw latents over the RGB pictures
    and depth maps of the training set together. The decoder reads normalised latents, so nothing undoes them.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 3,
        factor: int = 4,
        encoder_widths: tuple[int, ...] = (96,),
        encoder_blocks: tuple[int, ...] = (2,),
        decoder_widths: tuple[int, ...] = (128,),
        decoder_blocks: tuple[int, ...] = (6,),
        activated: bool = False,
    ):
        super().__init__()
        _check_levels("encoder", factor, encoder_widths, encoder_blocks)
        _check_levels("decoder", factor, decoder_widths, decoder_blocks)
        self.latent_channels, self.factor = latent_channels, factor
        stem = factor >> (len(encoder_widths) - 1)
        encoder: list[nn.Module] = [nn.PixelUnshuffle(stem), nn.Conv2d(3 * stem**2, encoder_widths[0], 3, padding=1)]
        for level, (width, blocks) in enumerate(zip(encoder_widths, encoder_blocks, strict=True)):
            if level:
                encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * encoder_widths[level - 1], width, 1)]
            encoder += [ResidualBlock(width) for _ in range(blocks)]
        encoder += [nn.SiLU()] * activated
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(encoder_widths[-1], latent_channels, 1))
        stem = factor >> (len(decoder_widths) - 1)
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, decoder_widths[-1], 3, padding=1)]
        for level in reversed(range(len(decoder_widths))):
            decoder += [ResidualBlock(decoder_widths[level]) for _ in range(decoder_blocks[level])]
            if level:
                decoder += [nn.Conv2d(decoder_widths[level], 4 * decoder_widths[level - 1], 1), nn.PixelShuffle(2)]
        last = nn.Conv2d(decoder_widths[0], 3 * stem**2, 3, padding=1)
        self.decoder = nn.Sequential(*decoder, nn.SiLU(), last, nn.PixelShuffle(stem))
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @apply_forward_hook
    def encode(self, picture_B3HW: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] → latents (B, C, h, w); raises ValueError if ``factor`` does not divide."""
        raw = self.encode_raw(picture_B3HW)
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    @apply_forward_hook
    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents (B, C, h, w) → pictures (B, 3, H, W), about [-1, 1] and not clamped."""
        return self.decoder(latents_BChw)

    def encode_raw(self, picture_B3HW: Tensor) -> Tensor:
        """Latents before the statistics are applied: for whoever measures them."""
        _check_picture(picture_B3HW, self.factor)
        return self.encoder(picture_B3HW)

    def forward(self, picture_B3HW: Tensor) -> Tensor:
        """The reconstruction of pictures (B, 3, H, W)."""
        return self.decode(self.encode(picture_B3HW))

    @torch.no_grad()
    def start_from(self, other: ImageCodec) -> None:
        """Take over what a smaller codec has learnt: what comes back of a picture stays the same, to rounding.

        This one may have more latent channels and more residual blocks. The decoder starts by not looking at further
        channels, and further blocks start as the identity, so both can only add (arXiv 1511.05641). Raises ValueError
        for another ``factor`` or other widths, or where ``other`` has more of anything.
        """
        same = ("factor", "encoder_widths", "decoder_widths", "activated")
        at_least = ("latent_channels", "encoder_blocks", "decoder_blocks")
        mine, its = self.config, other.config
        if any(_plain(mine[k]) != _plain(its[k]) for k in same) or any(_any_less(mine[k], its[k]) for k in at_least):
            shapes = [", ".join(f"{k} {c[k]}" for k in (*same, *at_least)) for c in (its, mine)]
            raise ValueError(f"a codec of {shapes[0]} cannot go into one of {shapes[1]}")
        for new, old in ((self.encoder, other.encoder), (self.decoder, other.decoder)):
            _take_over(new, old)
        channels = other.latent_channels
        self.latent_mean[:channels], self.latent_std[:channels] = other.latent_mean, other.latent_std


class DiffusersCodec(Component, ModelMixin):
    """An ``AutoencoderKL`` or ``AutoencoderTiny`` of diffusers behind the same two methods.

    The autoencoder's own config says how raw latents become those of unit variance, as in diffusers' pipelines:
    ``(raw - shift) * scaling_factor``, and if per-channel ``latents_mean`` and ``latents_std`` are there,
    ``(raw - latents_mean) * scaling_factor / latents_std``. The mode of a KL posterior is taken, so that encoding is
    deterministic. For an autoencoder without statistics, :meth:`measure` finds them.
    """

    def __init__(self, autoencoder: AutoencoderKL | AutoencoderTiny):
        super().__init__()
        self.autoencoder = autoencoder
        config = autoencoder.config
        widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
        self.latent_channels = int(config["latent_channels"])
        self.factor = 2 ** (len(widths) - 1)

    @apply_forward_hook
    def encode(self, picture_B3HW: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] → latents (B, C, h, w); raises ValueError if ``factor`` does not divide."""
        shift, scale = self._shift_and_scale(picture_B3HW)
        return (self._encode_raw(picture_B3HW) - shift) * scale

    @apply_forward_hook
    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents (B, C, h, w) → pictures (B, 3, H, W), about [-1, 1] and not clamped."""
        shift, scale = self._shift_and_scale(latents_BChw)
        return self.autoencoder.decode(latents_BChw / scale + shift).sample

    @torch.no_grad()
    def measure(self, picture_B3HW: Tensor) -> None:
        """Set ``scaling_factor`` and ``shift_factor`` so that these pictures' latents have mean 0 and variance 1."""
        raw = self._encode_raw(picture_B3HW)
        self.autoencoder.register_to_config(
            scaling_factor=1 / raw.std().item(), shift_factor=raw.mean().item(), latents_mean=None, latents_std=None
        )

    def write(self, folder: Path) -> None:
        """Write the autoencoder in diffusers' layout; :func:`load_codec` reads it."""
        self.autoencoder.save_pretrained(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        name = read_json(folder / "config.json").get("_class_name")
        kind = AutoencoderTiny if name == AutoencoderTiny.__name__ else AutoencoderKL
        return cls(load_strict(kind, folder)).eval()

    def _encode_raw(self, picture_B3HW: Tensor) -> Tensor:
        _check_picture(picture_B3HW, self.factor)
        encoded = self.autoencoder.encode(picture_B3HW)
        return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents

    def _shift_and_scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.autoencoder.config
        scale = like.new_tensor(config["scaling_factor"])
        if config.get("latents_mean") is not None and config.get("latents_std") is not None:
            mean, std = (like.new_tensor(config[k])[:, None, None] for k in ("latents_mean", "latents_std"))
            return mean, scale / std
        return like.new_tensor(config.get("shift_factor") or 0.0), scale


Codec = ImageCodec | DiffusersCodec


def load_codec(folder: str | Path) -> Codec:
    """The codec that ``save_pretrained`` wrote to ``folder``: float32, in evaluation mode.

    ``_class_name`` of its ``config.json`` says which of the two classes it is. Raises
    :class:`jdap.models.loading.WeightsError` as :func:`jdap.models.loading.load_strict` does, and for other classes.
    """
    config_file = Path(folder) / "config.json"
    name = read_json(config_file).get("_class_name")
    kinds = [kind.__name__ for kind in (ImageCodec, AutoencoderKL, AutoencoderTiny)]
    if name not in kinds:
        raise WeightsError(f"{config_file}: _class_name is {name!r}, and a codec is one of {', '.join(kinds)}")
    return load_strict(ImageCodec, folder) if name == ImageCodec.__name__ else DiffusersCodec.read(Path(folder))


def fingerprint(codec: Codec) -> str:
    """A hash of what decides a codec's latents: class, settings, weights and statistics, without those of its decoder.

    Two codecs of one fingerprint make the same latents, to the bit on the same machine; a decoder that is trained on
    changes nothing. Take it of a codec as :func:`load_codec` gives it: a cast to another type changes it.
    """
    model = codec if isinstance(codec, ImageCodec) else codec.autoencoder
    digest = hashlib.sha256(type(model).__name__.encode())
    settings = {k: v for k, v in model.config.items() if not k.startswith("_") and "decoder" not in k}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith(("decoder.", "post_quant_conv.")):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(setting: int | Sequence[int]) -> int | list[int]:
    return setting if isinstance(setting, int) else list(setting)  # a tuple from the constructor, a list from JSON


def _check_levels(name: str, factor: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
    if not widths or len(widths) != len(blocks) or any(width < 2 or width % 2 for width in widths) or min(blocks) < 0:
        raise ValueError(f"{name}: a width (even) and a count of blocks for each resolution, got {widths} and {blocks}")
    if factor < 2 ** max(1, len(widths) - 1) or factor % 2 ** (len(widths) - 1):
        raise ValueError(f"{name}: {len(widths)} resolutions need a factor that halves as often, got {factor}")


def _any_less(mine: int | Sequence[int], its: int | Sequence[int]) -> bool:
    if isinstance(mine, int) or isinstance(its, int):
        return mine < its  # type: ignore[operator]
    return any(a < b for a, b in zip(mine, its, strict=True))


def _take_over(new: nn.Sequential, old: nn.Sequential) -> None:
    """Layer by layer; where ``new`` has more residual blocks in a row, the last of them stay as they are."""
    rest = list(old)
    for layer in new:
        if isinstance(layer, ResidualBlock) and not isinstance(rest[0], ResidualBlock):
            continue
        state = layer.state_dict()
        for name, value in rest.pop(0).state_dict().items():
            if state[name].ndim > 1 and state[name].shape[1] > value.shape[1]:
                state[name].zero_()  # the decoder's first layer
            state[name][tuple(slice(n) for n in value.shape)] = value


def _check_picture(picture_B3HW: Tensor, factor: int) -> None:
    if picture_B3HW.ndim != 4 or picture_B3HW.shape[1] != 3 or any(s % factor for s in picture_B3HW.shape[2:]):
        raise ValueError(f"pictures must be (B, 3, H, W) with H and W multiples of {factor}: {picture_B3HW.shape}")


def same_latents(first: Codec, second: Codec) -> bool:
    """Whether two codecs of this project have the same encoder and statistics, up to rounding.

    Folders that were trained while the frozen codec was averaged along hold it rounded by a few parts in a million.
    """
    if not (isinstance(first, ImageCodec) and isinstance(second, ImageCodec)):
        return False
    mine, other = first.state_dict(), second.state_dict()
    encoder = {name for name in mine if not name.startswith("decoder.")}
    return encoder == {name for name in other if not name.startswith("decoder.")} and all(
        torch.allclose(mine[name], other[name], rtol=1e-4, atol=1e-6) for name in encoder
    )
