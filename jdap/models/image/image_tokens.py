"""Image tokens: what CLIP sees in the reference picture, for the cross-attention that text had.

Shapes: B pictures, L tokens (the class token, then the patches), D = ``cross_attention_dim`` of the UNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from jdap.models.component import Component
from jdap.models.loading import WeightsError, check_class, fill_strict, load_strict, one_line, read_json, read_tensors

#: Mean and standard deviation of RGB in [0, 1], of the pictures that CLIP was trained on.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
#: Folders of the component's folder.
ENCODER, PROJECTION = "encoder", "projection"


class TokenProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """LayerNorm, linear layer, LayerNorm: features of CLIP → tokens of the UNet's cross-attention.

    The last norm's weight starts at zero, so that all tokens do: a fresh network answers as one without image tokens.

    Args:
        hidden_size: channels of CLIP's features.
        cross_attention_dim: channels of the tokens.
        image_mean, image_std: per channel of RGB in [0, 1], as CLIP wants its pictures.
    """

    @register_to_config
    def __init__(
        self,
        hidden_size: int,
        cross_attention_dim: int,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(hidden_size)
        self.project = nn.Linear(hidden_size, cross_attention_dim)
        self.norm_out = nn.LayerNorm(cross_attention_dim)
        nn.init.zeros_(self.norm_out.weight)

    def forward(self, features_BLC: Tensor) -> Tensor:
        """(B, L, hidden_size) → (B, L, D)."""
        return self.norm_out(self.project(self.norm_in(features_BLC)))


class ImageTokens(Component, ModelMixin):
    """A frozen CLIP vision encoder and the projection that trains.

    Args:
        encoder: its last hidden state is read: one token for the picture, and one for each patch.
        projection: from the encoder's channels to the UNet's.

    Raises:
        ValueError: where the two do not fit.
    """

    def __init__(self, encoder: CLIPVisionModelWithProjection, projection: TokenProjection) -> None:
        super().__init__()
        if encoder.config.hidden_size != projection.config["hidden_size"]:
            raise ValueError(
                f"image tokens: the encoder has {encoder.config.hidden_size} channels, "
                f"the projection {projection.config['hidden_size']}"
            )
        self.encoder = encoder.requires_grad_(False)
        self.projection = projection

    @property
    def cross_attention_dim(self) -> int:
        """D."""
        return self.projection.config["cross_attention_dim"]

    def forward(self, rgb: Tensor, keep_B: Tensor | None = None) -> Tensor:
        """Square pictures (B, 3, H, W) in [-1, 1], or (B, R, 3, H, W) of R each → tokens (B, L, D) or (B, R · L, D).

        Samples that ``keep_B`` bool does not name get zero tokens: they see what they would without a picture.
        """
        pictures = rgb.flatten(0, 1) if rgb.ndim == 5 else rgb
        with torch.no_grad():
            features = self.encoder(pixel_values=self._pixels(pictures)).last_hidden_state
        tokens = self.projection(features)
        tokens = tokens.reshape(len(rgb), -1, tokens.shape[-1])
        return tokens if keep_B is None else tokens * keep_B[:, None, None]

    def _pixels(self, rgb_B3HW: Tensor) -> Tensor:
        side: int = self.encoder.config.image_size  # type: ignore[assignment]
        unit = F.interpolate((rgb_B3HW.float() + 1) / 2, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (
            unit.new_tensor(self.projection.config[name])[:, None, None] for name in ("image_mean", "image_std")
        )
        return ((unit - mean) / std).to(rgb_B3HW.dtype)

    def write(self, folder: Path) -> None:
        """Write the two to ``encoder`` (transformers') and ``projection`` in a folder."""
        for name, part in ((ENCODER, self.encoder), (PROJECTION, self.projection)):
            part.save_pretrained(folder / name)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See :meth:`jdap.models.component.Component.read`."""
        encoder, projection = load_image_encoder(folder / ENCODER), load_strict(TokenProjection, folder / PROJECTION)
        try:
            return cls(encoder, projection).eval()
        except ValueError as error:
            raise WeightsError(f"{folder}: {error}") from error


def new_image_tokens(encoder: str | Path, cross_attention_dim: int) -> ImageTokens:
    """A fresh projection on the CLIP encoder of a folder, such as ``image_encoder`` of the image variations model.

    How pictures are normalised comes from ``preprocessor_config.json`` in it, or in ``feature_extractor/`` beside it;
    without one, it is as CLIP was trained.
    """
    folder = Path(encoder)
    network = load_image_encoder(folder)
    files = [folder / "preprocessor_config.json", folder.parent / "feature_extractor" / "preprocessor_config.json"]
    found = next((read_json(file) for file in files if file.is_file()), {})
    norms = {name: found.get(name, default) for name, default in (("image_mean", CLIP_MEAN), ("image_std", CLIP_STD))}
    for name, values in norms.items():
        if not (
            isinstance(values, list | tuple) and len(values) == 3 and all(isinstance(v, int | float) for v in values)
        ):
            raise WeightsError(
                f"{folder}: {name} of its preprocessor_config.json must be three numbers, got {values!r}"
            )
    return ImageTokens(network, TokenProjection(network.config.hidden_size, cross_attention_dim, **norms))


def load_image_encoder(folder: str | Path) -> CLIPVisionModelWithProjection:
    """The CLIP vision encoder of a transformers folder: float32, evaluation mode, strictly, or WeightsError."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    check_class(config, CLIPVisionModelWithProjection, folder / "config.json")
    tensors = read_tensors(folder / "model.safetensors")
    # old exports hold a table of 0, 1, 2, … that the class has since computed
    tensors.pop("vision_model.embeddings.position_ids", None)
    try:
        network = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    except Exception as error:  # whatever a config makes the constructor stumble over is the config's fault
        raise WeightsError(f"{folder}: cannot be read as CLIPVisionModelWithProjection: {one_line(error)}") from error
    fill_strict(network, tensors, folder)
    return network.eval()
