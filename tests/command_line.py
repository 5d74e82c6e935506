"""``jdap`` as from the command line, and what its files hold."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from jdap.__main__ import main


def jdap(*args: object) -> int:
    """The exit status."""
    return main([str(a) for a in args])


def rows(out: Path) -> list[dict[str, Any]]:
    """Of the one command that wrote into ``out``."""
    (file,) = out.glob("rows.*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def pixels(path: Path) -> np.ndarray:
    """As they are stored."""
    return np.asarray(Image.open(path))


def frames(path: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8 of a video."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
