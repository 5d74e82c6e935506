"""Write shards of your own: ``python examples/write_a_shard.py --out out/balls``, then train on ``out/balls``.

Here the people are balls, photographed twice each; put your pictures and depth in their place. ``make_sample`` shows
all that a sample must hold. ``python -m data_prep verify out/balls`` checks the result.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jdap.shards.sample import Sample
from jdap.shards.schema import STUDIO, Record
from jdap.shards.writer import ShardWriter


def photograph_ball(
    colour: np.ndarray, position_mm: np.ndarray, focal_px: float, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """A ball with a radius of 90 mm, lit from the camera.

    Returns the picture (S, S, 3) uint8 and z-depth in millimetres (S, S) float32, where 0 means "no value".
    """
    v, u = np.mgrid[:size_px, :size_px] + 0.5  # pixel centres
    rays = np.stack([u - size_px / 2, v - size_px / 2, np.full_like(u, focal_px)], -1) / focal_px
    # The nearest z at which the point z * ray lies on the ball: a quadratic equation.
    a, b = (rays**2).sum(-1), rays @ position_mm
    root = b**2 - a * (position_mm @ position_mm - 90.0**2)
    z = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal_z = (z - position_mm[2]) / 90.0
    light = np.where(z > 0, np.clip(-normal_z, 0.1, 1), 0)
    return np.rint(255 * light[..., None] * colour).astype(np.uint8), z.astype(np.float32)


def make_sample(index: int, frames: int, size_px: int) -> Sample:
    """Pictures of one person, with the depth, the skin and the camera of each."""
    rng = np.random.default_rng(index)
    colour = rng.uniform(0.4, 1.0, 3)
    focal_px = 2.9 * size_px
    positions_mm = np.array([0.0, 0.0, 700.0]) + rng.uniform(-20, 20, (frames, 3))
    pictures, depths = zip(*(photograph_ball(colour, p, focal_px, size_px) for p in positions_mm), strict=True)
    depth_mm = np.stack(depths)
    return Sample(
        record=Record(
            clip_id=f"ball-{index:04d}",
            person_id=f"ball-{index:04d}",  # a reference and its targets always show the same person
            depth_source=STUDIO,  # "studio": the depth is true; "fitted": estimated, and trusted on skin alone
            frames=frames,
            size_px=size_px,
            fps=0.0,  # 0: still pictures; 25: consecutive frames of a clip
            source="examples/write_a_shard.py",
        ),
        rgb_FHW3=np.stack(pictures),
        depth_mm_FHW=depth_mm,
        skin_FHW=depth_mm > 0,  # loss and metrics look here
        arrays={
            "camera_px": np.tile(np.array([focal_px, size_px / 2, size_px / 2], np.float32), (frames, 1)),
            "rotation": np.zeros((frames, 3), np.float32),
            "translation_mm": positions_mm.astype(np.float32),
            "identity": np.zeros((frames, 1), np.float32),
            "expression": np.zeros((frames, 1), np.float32),
        },
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write one shard."""
    parser = argparse.ArgumentParser(description="Write a shard of drawn balls.")
    parser.add_argument("--out", type=Path, default=Path("out/balls"), help="a folder without shards of this name")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--frames", type=int, default=2, help="pictures of each person; at least 2")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    args = parser.parse_args(argv)

    with ShardWriter(args.out, "balls") as writer:
        for index in range(args.people):
            writer.write(make_sample(index, args.frames, args.size))
    print(f"wrote {', '.join(map(str, writer.shards))}")


if __name__ == "__main__":
    main()
