"""Image codecs: pictures to latents of zero mean and unit variance, and back.

Everything that needs latents relies on five things only: ``encode``, ``decode``, ``latent_channels``, ``factor`` and
``save_pretrained``. Two classes have them: :class:`ImageCodec`, the project's own small autoencoder, and
:class:`DiffusersCodec`, which adapts an autoencoder of diffusers. :func:`load_codec` reads the folder of either.

A picture is RGB or a depth map in codec input (:func:`jdap.depth.to_codec`); both pass through the same weights and
the same statistics.

Shapes: B pictures, C latent channels, H x W pixels, h x w latent cells (H = h * factor).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """``x + conv(silu(conv(silu(norm(x)))))``, the second convolution zero at the start: (B, W, H, W) → the same."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) → the same shape."""
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class SelfAttention(nn.Module):
    """Residual self-attention over all cells, so that a cell may use what the whole face says: same shape out."""

    def __init__(self, width: int, head_width: int = 32):
        super().__init__()
        self.heads = width // head_width
        self.norm = nn.GroupNorm(8, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) → the same shape."""
        b, _, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, self.heads, -1, h * w).transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(x.shape))


class ImageCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small deterministic autoencoder whose first and last layers move blocks of pixels into channels.

    Working at 1/4 and 1/8 of the resolution (for ``factor`` 8) rather than on pixels makes it several times faster on
    a CPU than autoencoders that convolve the full picture.

    Args:
        latent_channels: C.
        factor: pixels per latent cell along each side; even.
        width: channels at the finer of the two inner resolutions, a multiple of 16; twice as many at the latents' own.
        encoder_blocks: residual blocks of the encoder at each of the two inner resolutions.
        decoder_blocks: the same for the decoder.

    The buffers ``latent_mean`` and ``latent_std`` (C,) hold the statistics of the raw latents over the RGB pictures
    and depth maps of the training set together.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 3,
        factor: int = 8,
        width: int = 64,
        encoder_blocks: tuple[int, int] = (2, 2),
        decoder_blocks: tuple[int, int] = (3, 4),
    ):
        super().__init__()
        if factor < 2 or factor % 2 or width % 16:
            raise ValueError(f"factor must be even and width a multiple of 16, got factor {factor}, width {width}")
        self.latent_channels, self.factor = latent_channels, factor
        stem, deep = factor // 2, 2 * width
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(stem),
            nn.Conv2d(3 * stem**2, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(encoder_blocks[0])),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, deep, 1),
            *(ResidualBlock(deep) for _ in range(encoder_blocks[1])),
            SelfAttention(deep),
            nn.GroupNorm(8, deep),
            nn.SiLU(),
            nn.Conv2d(deep, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, deep, 3, padding=1),
            ResidualBlock(deep),
            SelfAttention(deep),
            *(ResidualBlock(deep) for _ in range(decoder_blocks[1] - 1)),
            nn.Conv2d(deep, 4 * width, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(width) for _ in range(decoder_blocks[0])),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, 3 * stem**2, 3, padding=1),
            nn.PixelShuffle(stem),
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def encode(self, picture_B3HW: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] → latents (B, C, h, w); raises ValueError if ``factor`` does not divide."""
        raw = self.encode_raw(picture_B3HW)
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Latents (B, C, h, w) → pictures (B, 3, H, W), about [-1, 1] and not clamped."""
        return self.decoder(latents_BChw * self.latent_std[:, None, None] + self.latent_mean[:, None, None])

    def encode_raw(self, picture_B3HW: Tensor) -> Tensor:
        """Latents before the statistics are applied: for whoever measures them."""
        _check_picture(picture_B3HW, self.factor)
        return self.encoder(picture_B3HW)

    def forward(self, picture_B3HW: Tensor) -> Tensor:
        """The reconstruction of pictures (B, 3, H, W)."""
        return self.decode(self.encode(picture_B3HW))


class DiffusersCodec(nn.Module):
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

    def encode(self, picture_B3HW: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] → latents (B, C, h, w); raises ValueError if ``factor`` does not divide."""
        shift, scale = self._shift_and_scale(picture_B3HW)
        return (self._encode_raw(picture_B3HW) - shift) * scale

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

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the autoencoder in diffusers' layout; :func:`load_codec` reads it."""
        self.autoencoder.save_pretrained(folder)

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

    ``_class_name`` of its ``config.json`` says which of the two classes it is. Weights are safetensors and must fit
    exactly. Raises FileNotFoundError if a file is missing and ValueError for a class that is no codec or weights that
    do not fit, naming the folder and the keys: a codec with random weights is never returned.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{folder} is no codec folder: it has no config.json")
    try:
        name = json.loads(config_file.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config_file} is not a JSON object: {error}") from error
    classes = {"ImageCodec": ImageCodec, "AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    if name not in classes:
        raise ValueError(f"{config_file}: _class_name is {name!r}, and a codec is one of {sorted(classes)}")
    if not (folder / SAFETENSORS_WEIGHTS_NAME).is_file():
        raise FileNotFoundError(f"{folder} has no {SAFETENSORS_WEIGHTS_NAME}; convert its weights")
    try:
        model, info = classes[name].from_pretrained(
            str(folder),
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
        )
    except (OSError, RuntimeError, TypeError) as error:  # truncated file, wrong shapes, wrong parameters
        raise ValueError(f"{folder}: the weights cannot be read: {' '.join(str(error).split())}") from error
    wrong = {k: info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong:
        raise ValueError(f"{folder}: weights and config.json do not fit: {wrong}")
    return model.eval() if isinstance(model, ImageCodec) else DiffusersCodec(model).eval()


def _check_picture(picture_B3HW: Tensor, factor: int) -> None:
    if picture_B3HW.ndim != 4 or picture_B3HW.shape[1] != 3 or any(s % factor for s in picture_B3HW.shape[2:]):
        raise ValueError(f"pictures must be (B, 3, H, W) with H and W multiples of {factor}: {picture_B3HW.shape}")
