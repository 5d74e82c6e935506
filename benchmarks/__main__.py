"""``python -m benchmarks COMMAND …``: measures JDAP and its baselines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jdap.commands.dispatch import Command, run_program

#: Name, module and, in a few words, what it does. The options of a command are those of its name in ``options/``.
_WHAT = (
    (
        "depth",
        "depth.command",
        "image-to-depth on shards or on photos with measured depth: ours, baselines and the models of others",
    ),
    (
        "steadiness",
        "steadiness.steadiness",
        "depth of photos without true depth, by what must hold anyway: mirrored, cut, grey, left as right",
    ),
    ("scan", "depth.scan", "the same on renders of a real, scanned head"),
    ("scale", "depth.scale", "how depth's error falls with the number of people: runs of `depth`, and a power law"),
    (
        "modes",
        "modes.modes",
        "image-to-depth, depth-to-image, joint generation and inpainting by one model, beside baselines",
    ),
    ("audit", "modes.audit", "whether the depth and the picture that a model draws together belong together"),
    ("kid", "modes.kid", "whether drawn portraits, as a set, look like true pictures: the kernel distance of features"),
    (
        "personal",
        "modes.personal",
        "frames that were kept aside of one person, drawn by a model that was fine-tuned to that person",
    ),
    ("paired", "modes.paired", "what one run of modes gained over others, picture by picture: how ablations are read"),
    ("pose", "pose.pose", "studio pictures with another expression and pose, against the true pictures"),
    ("relight", "relight.relight", "studio pictures brought into another light, against the true ones in that light"),
    ("mouth", "mouth.mouth", "readers of how far a mouth is open: trains them, and measures what they can see"),
    (
        "speaking",
        "speaking.speaking",
        "what a face does when it says a sound: trains what `jdap talk --by warp` hears by, and measures it",
    ),
    ("likeness", "likeness.likeness", "trains the network by which portraits are drawn of a moved reference"),
    ("hearing", "speaking.hearing", "by what a mouth hears best: log-mel against a speech recogniser's encoder"),
    ("parser", "parser.parser", "what a head's pixels show: trains the parser that ships, and measures parsers"),
    (
        "lipsync",
        "talking.lipsync",
        "whether drawn mouths move with the sound: correlation with the true opening, beside controls",
    ),
    (
        "talking",
        "talking.talking",
        "likeness, depth, steadiness and window borders of talking clips; memory and speed of a long one",
    ),
    (
        "kvd",
        "talking.kvd",
        "whether drawn clips, as a set, look and move like true ones: kernel distance by a video network of yours",
    ),
    ("drift", "talking.drift", "whether a long talking video stays who, and as, it was: a row a minute"),
    ("overfit", "modes.overfit", "samples of an overfitted model beside the codec's own reconstruction"),
    (
        "speed",
        "cost.speed",
        "what the reference costs in training and in sampling, and a training run's pictures a second",
    ),
    ("peers", "cost.peers", "ours beside what people use today: depth, a clip, reading and preparing a video"),
    ("codec", "codec.codec", "error of image codecs by factor and channels against seconds of training and sampling"),
    ("fit", "fit.fit", "how good fitted heads are: reprojection, depth against a scan, confidence, speed, ablation"),
    ("studio", "cost.studio", "pictures a second of the synthetic studio"),
    (
        "footprint",
        "cost.footprint",
        "memory and seconds of training and sampling at a preset's full size, with random weights",
    ),
    ("gpu", "cost.gpu", "everything that docs/gpu.md asks of a GPU, in nine minutes"),
    ("preparation", "cost.preparation", "frames a second of data preparation by step, and its memory on a long video"),
    ("coding", "cost.coding", "size and decode time of the ways to code frames and depth in shards"),
    ("report", "page.page", "one self-contained HTML page of what these have written, and the README's table"),
)
COMMANDS = {
    name: Command(f"benchmarks.{module}", does, options=f"benchmarks.options.{name}") for name, module, does in _WHAT
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns the exit status."""
    return run_program("python -m benchmarks", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
