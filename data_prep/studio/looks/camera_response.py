"""What a camera's software and the way to the user do to an exposed picture: sharpening, another resolution, JPEG.

Shapes: S x S pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Process:
    """``sharpen``: strength of an unsharp mask, 0 … 1; ``scale``: share of the resolution that is kept, 0 … 1;
    ``quality`` of JPEG, 0: none; ``subsampled`` chroma (4:2:0). The default changes nothing."""

    sharpen: float = 0.0
    scale: float = 1.0
    quality: int = 0
    subsampled: bool = False


AS_IT_IS = Process()


def draw_process(rng: np.random.Generator) -> Process:
    """Sharpened 35 %, of lower resolution 25 %, JPEG 70 %; the distributions are described in docs/studio.md."""
    sharpened, reduced, packed = rng.uniform(size=3) < (0.35, 0.25, 0.7)
    return Process(
        sharpen=rng.uniform(0.2, 1.0) * float(sharpened),
        scale=rng.uniform(0.4, 0.95) if reduced else 1.0,
        quality=int(rng.integers(35, 97)) * int(packed),
        subsampled=bool(rng.uniform() < 0.7),
    )


def develop(rgb_SS3: np.ndarray, process: Process) -> np.ndarray:
    """RGB uint8 (S, S, 3) → the same, processed."""
    image = Image.fromarray(rgb_SS3)
    if process.scale < 1:
        side = max(8, round(process.scale * image.width))
        small = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        image = small.resize(image.size, Image.Resampling.BICUBIC)
    if process.sharpen > 0:
        image = image.filter(ImageFilter.UnsharpMask(radius=1.2, percent=round(90 * process.sharpen), threshold=0))
    if process.quality:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=process.quality, subsampling=2 if process.subsampled else 0)
        image = Image.open(buffer)
    return np.asarray(image)
