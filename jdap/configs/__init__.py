"""The YAML files of the presets, what lies under them, and which preset a training command reads by default."""

from pathlib import Path

CONFIGS = Path(__file__).parent
#: The preset of a training command where none is named.
DEFAULTS = {
    "train-image": "image-tiny.yaml",
    "train-depth": "depth-tiny.yaml",
    "train-video": "video-tiny.yaml",
    "train-codec": "codec-tiny.yaml",
}
BASE = "_base.yaml"
#: What a training command reads before any preset, in this order.
UNDER = {
    "train-image": (BASE, "_image.yaml"),
    "train-depth": (BASE,),
    "train-video": (BASE, "_video.yaml"),
    "train-codec": (BASE,),
}


def presets() -> list[str]:
    """The names of the files that ``--config`` may be given by name."""
    return sorted(path.name for path in CONFIGS.glob("*.yaml") if not path.name.startswith("_"))


def find_config(name: str) -> str:
    """The path of a YAML file: a path as it is, or one that ships by its name, with ``.yaml`` or without it.

    What is neither is given back, for whoever reads it to say so.
    """
    shipped = name if name.endswith(".yaml") else f"{name}.yaml"
    return str(CONFIGS / shipped) if not Path(name).is_file() and shipped in presets() else name
