"""Speech networks in the shape of the real ones, small."""

from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

LAYERS, WIDTH = 2, 16


def wav2vec_config(**changes) -> Wav2Vec2Config:
    """The kernels and strides of the real one, and everything that training drops turned up."""
    return Wav2Vec2Config(
        **{
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "conv_dim": (8,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
            "vocab_size": 12,
            "hidden_dropout": 0.5,
            "layerdrop": 0.5,
            **changes,
        }
    )


def write_wav2vec(folder: Path) -> Path:
    torch.manual_seed(6)
    Wav2Vec2Model(wav2vec_config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder
