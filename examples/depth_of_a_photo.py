"""Depth of one photo: ``python examples/depth_of_a_photo.py photo.png --out out/depth``.

Writes ``depth.npy`` (float32, -1 is near, +1 is far) and ``preview.png`` (photo, depth in colour, uncertainty).
The photo must be a square crop of a head. For any other photo use ``jdap depth``, which finds and crops the head.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdap.io.assets import resolve
from jdap.pipelines.grid import depth_picture, error_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline


def read_square(path: Path, size_px: int) -> torch.Tensor:
    """A picture file → (1, 3, size_px, size_px) in [-1, 1]. Raises ValueError unless the picture is square."""
    picture = Image.open(path).convert("RGB")
    if picture.width != picture.height:
        raise ValueError(f"{path}: {picture.width} x {picture.height} is not square: crop it around the head first")
    pixels = np.asarray(picture.resize((size_px, size_px), Image.Resampling.LANCZOS), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1


def main(argv: Sequence[str] | None = None) -> None:
    """Read the photo, ask the model for its depth, write it and a picture."""
    parser = argparse.ArgumentParser(description="Depth of one photo.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--weights", default="shipped:image-tiny", help="a weights folder, or shipped:NAME")
    parser.add_argument("--out", type=Path, default=Path("out/depth"))
    parser.add_argument("--ensemble", type=int, default=4, help="answers that are averaged; they tell the uncertainty")
    args = parser.parse_args(argv)

    pipeline = PortraitPipeline.from_pretrained(resolve(args.weights))
    photo = read_square(args.photo, pipeline.size_px)
    noise = torch.Generator().manual_seed(0)  # the same seed gives the same depth
    found = pipeline.image_to_depth(photo, ensemble=args.ensemble, generator=noise)

    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "depth.npy", found.depth[0, 0].numpy())
    columns, labels = [photo, depth_picture(found.depth)], ["photo", "depth"]
    if found.uncertainty is not None:
        everywhere = torch.ones_like(found.depth, dtype=torch.bool)
        columns.append(error_picture(found.uncertainty, torch.zeros_like(found.uncertainty), everywhere))
        labels.append("uncertainty")
    labelled_grid(columns, labels).save(args.out / "preview.png")
    print(f"wrote {args.out}/depth.npy and preview.png")


if __name__ == "__main__":
    main()
