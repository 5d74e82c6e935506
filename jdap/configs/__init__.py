"""The YAML files of the presets, and which of them a training command reads where none is named."""

from pathlib import Path

CONFIGS = Path(__file__).parent
DEFAULTS = {
    "train-image": "image-tiny.yaml",
    "train-depth": "depth-tiny.yaml",
    "train-video": "video-tiny.yaml",
    "train-codec": "codec-tiny.yaml",
}
