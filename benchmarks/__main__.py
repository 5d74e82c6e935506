"""``python -m benchmarks COMMAND …``: measures JDAP and its baselines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jdap.commands.dispatch import Command, run_program

COMMANDS = {
    "depth": Command(
        "benchmarks.depth.command",
        "AbsRel, delta1 and RMSE of image-to-depth on shards or on photos with measured depth, ours beside baselines",
    ),
    "scan": Command("benchmarks.depth.scan", "the same on renders of a real, scanned head"),
    "modes": Command(
        "benchmarks.modes.modes",
        "image-to-depth, depth-to-image, joint generation and inpainting by one model, beside baselines",
    ),
    "personal": Command(
        "benchmarks.modes.personal",
        "frames that were kept aside of one person, drawn by a model that was fine-tuned to that person",
    ),
    "paired": Command(
        "benchmarks.modes.paired",
        "what one run of modes gained over others, picture by picture: how ablations are read",
    ),
    "mouth": Command(
        "benchmarks.mouth.mouth", "readers of how far a mouth is open: trains them, and measures what they can see"
    ),
    "lipsync": Command(
        "benchmarks.talking.lipsync",
        "whether drawn mouths move with the sound: correlation with the true opening, beside controls",
    ),
    "talking": Command(
        "benchmarks.talking.talking",
        "likeness, depth, steadiness and window borders of talking clips; memory and speed of a long one",
    ),
    "overfit": Command(
        "benchmarks.modes.overfit", "samples of an overfitted model beside the codec's own reconstruction"
    ),
    "speed": Command(
        "benchmarks.cost.speed",
        "what the reference costs in training and in sampling, and a training run's pictures a second",
    ),
    "codec": Command(
        "benchmarks.codec.codec",
        "error of image codecs by factor and channels against seconds of training and sampling",
    ),
    "fit": Command(
        "benchmarks.fit.fit",
        "how good fitted heads are: reprojection, depth against a scan, confidence, speed, ablation",
    ),
    "studio": Command("benchmarks.cost.studio", "pictures a second of the synthetic studio"),
    "footprint": Command(
        "benchmarks.cost.footprint",
        "memory and seconds of training and sampling at a preset's full size, with random weights",
    ),
    "preparation": Command(
        "benchmarks.cost.preparation", "frames a second of data preparation by stage, and its memory on a long video"
    ),
    "coding": Command("benchmarks.cost.coding", "size and decode time of the ways to code frames and depth in shards"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns the exit status."""
    return run_program("python -m benchmarks", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
