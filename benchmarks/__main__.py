"""``python -m benchmarks NAME …``: runs one benchmark. Only the one that is asked for is imported.

Exit status: what the benchmark returns; 2 for a mistake of the user's or bad input, told in one line on stderr; 130
when interrupted. Any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from benchmarks import BenchmarkError
from data_prep.__main__ import is_users

#: name -> what it measures. ``benchmarks.NAME`` has ``add_arguments(parser)`` and ``run(args) -> exit status``.
COMMANDS = {
    "depth": "AbsRel, delta1 and RMSE of image-to-depth, ours beside baselines",
    "scan": "the same on renders of a real, scanned head",
    "modes": "image-to-depth, depth-to-image, joint generation and inpainting by one model, beside baselines",
    "personal": "frames that were kept aside of one person, drawn by a model that was fine-tuned to that person",
    "paired": "what one run of modes gained over others, picture by picture: how ablations are read",
    "mouth": "readers of how far a mouth is open: trains them, and measures what they can see",
    "lipsync": "whether drawn mouths move with the sound: correlation with the true opening, beside controls",
    "talking": "likeness, depth, steadiness and window borders of talking clips; memory and speed of a long one",
    "overfit": "samples of an overfitted model beside the codec's own reconstruction",
    "speed": "what the reference costs in training and in sampling, and a training run's pictures a second",
    "codec": "error of image codecs by factor and channels against seconds of training and sampling",
    "fit": "how good fitted heads are: reprojection, depth against a scan, confidence, speed, ablation",
    "studio": "pictures a second of the synthetic studio",
    "footprint": "memory and seconds of training and sampling at a preset's full size, with random weights",
    "preparation": "frames a second of data preparation by stage, and its memory on a long video",
    "coding": "size and decode time of the ways to code frames and depth in shards",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns the exit status."""
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not (isinstance(error, BenchmarkError) or is_users(error)):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure JDAP and its baselines.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if argv[:1] == [name]:
            module = importlib.import_module(f"benchmarks.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
