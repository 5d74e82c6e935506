"""New portraits of a person: ``python examples/generate_from_a_reference.py me.png --count 4 --out out/me``.

One row a portrait: the reference, the new portrait and its depth. The reference must be a square crop of a head; for
any other photo use ``jdap generate``, which finds and crops the head.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdap.io.assets import resolve
from jdap.pipelines.grid import depth_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline


def main(argv: Sequence[str] | None = None) -> None:
    """Read the reference, sample portraits with their depth, write one sheet."""
    parser = argparse.ArgumentParser(description="New portraits of a person, each with its depth.")
    parser.add_argument("reference", type=Path)
    parser.add_argument("--weights", default="shipped:image-tiny", help="a weights folder, or shipped:NAME")
    parser.add_argument("--out", type=Path, default=Path("out/me"))
    parser.add_argument("--count", type=int, default=4, help="how many portraits")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps; more are slower and finer")
    parser.add_argument("--guidance", type=float, default=2.0, help="strength of the reference; 1 is as trained")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other portraits")
    args = parser.parse_args(argv)

    pipeline = PortraitPipeline.from_pretrained(resolve(args.weights))
    side = (pipeline.size_px, pipeline.size_px)
    pixels = np.asarray(Image.open(args.reference).convert("RGB").resize(side), np.float32)
    reference = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1  # (1, 3, H, W) in [-1, 1]
    references = reference.expand(args.count, -1, -1, -1)

    noise = torch.Generator().manual_seed(args.seed)
    made = pipeline.generate(references, steps=args.steps, guidance=args.guidance, generator=noise)

    args.out.mkdir(parents=True, exist_ok=True)
    sheet = labelled_grid([references, made.rgb, depth_picture(made.depth)], ["reference", "portrait", "its depth"])
    sheet.save(args.out / "portraits.png")
    print(f"wrote {args.out}/portraits.png")


if __name__ == "__main__":
    main()
